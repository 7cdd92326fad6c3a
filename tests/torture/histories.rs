//! Eight clients import, export and erase at once, on few subjects; what they did and what they were told is held against the model. With a
//! seed, each makes the same calls again; in which order they meet is chance.

use std::{
    fmt::Write,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::future::join_all;
use userdata::repository::Engine;

use crate::{
    calls::{Observed, make},
    history::{Call, Scope, What},
    model::violations,
    plan::{Plan, Planned, Planner, SCOPED},
    program::{Client, Stores},
    trial::Trial,
};

/// Clients of a history.
const CLIENTS: usize = 8;

/// Histories that run at once on a database, of other users.
const LANES: usize = 4;

const ABORTED: &str = "exports ended by erasures";
const LATE: &str = "imports that came too late";

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_concurrent_calls_answer_as_the_model_allows() {
    run(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_concurrent_calls_answer_as_the_model_allows() {
    run(Engine::Postgres).await;
}

async fn run(engine: Engine) {
    let trial = Arc::new(Trial::begin(format!("histories {engine:?}")));
    // An SQLite file is written by one call at a time: several keep the machine busy. On PostgreSQL the clients call two replicas in turn.
    let (databases, replicas) = if engine == Engine::Sqlite { (3, 1) } else { (1, 2) };
    let (mut stores, mut programs) = (Vec::new(), Vec::new());
    for _ in 0..databases {
        let (own, mut of_own) = (Stores::make(engine).await, Vec::new());
        for _ in 0..replicas {
            of_own.push(own.serve("").await);
        }
        programs.push(of_own);
        stores.push(own);
    }
    let (count, all) = (trial.size(1_000, 10_000), LANES * databases);
    let lanes = (0..all).map(|lane| {
        let programs = &programs[lane % databases];
        let trial = Arc::clone(&trial);
        let clients: Vec<Client> = (0..CLIENTS).map(|client| programs[client % replicas].client()).collect();
        tokio::spawn(async move {
            for number in (lane..count).step_by(all) {
                History::of(&trial, number).play(&trial, &clients).await;
            }
        })
    });
    for lane in join_all(lanes).await {
        lane.unwrap();
    }
    let trial = Arc::into_inner(trial).unwrap();
    // Else nothing happened at once, and the model had nothing to say.
    for what in [ABORTED, LATE] {
        trial.check(trial.times(what) > 0, || format!("no {what}"));
    }
    trial.end();
}

/// The calls of one history, of each client in order.
struct History {
    number: usize,
    subjects: usize,
    first: Vec<Plan>,
    clients: Vec<Vec<Planned>>,
}

impl History {
    fn of(trial: &Trial, number: usize) -> Self {
        let mut random = trial.random(&format!("history {number}"));
        let subjects = if random.percent(25) { 3 } else { 2 };
        let mut planner = Planner::new(&mut random, CLIENTS);
        let first = (0..subjects).map(|subject| Plan::Import { records: planner.import(subject), observed: None }).collect();
        let client = |client| {
            let calls = random.between(3, 4);
            let mut planner = Planner::new(&mut random, client);
            (0..calls).map(|_| planner.call(subjects)).collect()
        };
        Self { number, subjects, first, clients: (0..CLIENTS).map(client).collect() }
    }

    async fn play(self, trial: &Trial, clients: &[Client]) {
        let number = self.number;
        let told: Vec<Mutex<Vec<Call>>> = (0..self.subjects).map(|_| Mutex::default()).collect();
        let call = async |client: usize, subject: usize, plan: Plan, observed: Option<Observed>| {
            let asked = now();
            let what = make(&mut clients[client].clone(), &format!("history {number} {subject}"), plan, asked, observed).await;
            let returned = now();
            let what = what.map(Some).unwrap_or_else(|(answer, perhaps)| {
                trial.violated(format!("history {number}: client {client} was told: {answer}"));
                perhaps
            })?;
            let epoch = if let What::Status { epoch } = what { epoch } else { 0 };
            told[subject].lock().unwrap().push(Call { client, invoked: asked, returned, what });
            Some(Observed { epoch, asked, told: returned })
        };
        for (subject, plan) in self.first.into_iter().enumerate() {
            call(0, subject, plan, None).await;
        }
        let act = async |(client, calls): (usize, Vec<Planned>)| {
            for Planned { subject, pause, plan } in calls {
                wait(pause).await;
                let mut observed = None;
                if let Plan::Import { observed: Some(pause), .. } = plan {
                    observed = call(client, subject, Plan::Status, None).await;
                    wait(pause).await;
                }
                call(client, subject, plan, observed).await;
            }
        };
        join_all(self.clients.into_iter().enumerate().map(act)).await;
        for subject in 0..self.subjects {
            let erasure = |scopes| Plan::Erasure { scopes, request_id: String::new() };
            let messages = [Scope::Messages].into();
            for plan in [Plan::Export, erasure(messages), erasure(SCOPED.into()), Plan::Status, Plan::Export] {
                call(0, subject, plan, None).await;
            }
        }
        for (subject, calls) in told.into_iter().enumerate() {
            check(trial, &format!("history {number} subject {subject}"), calls.into_inner().unwrap());
        }
        trial.tried("histories", 1);
    }
}

fn check(trial: &Trial, name: &str, calls: Vec<Call>) {
    let count = |is: fn(&What) -> bool| calls.iter().filter(|call| is(&call.what)).count();
    trial.tried("calls", calls.len());
    trial.tried(ABORTED, count(|what| matches!(what, What::Export(None))));
    let rejected = |what: &What| matches!(what, What::Import { rejected: Some(rejected), .. } if !rejected.records.is_empty());
    trial.tried(LATE, count(rejected));
    let conflicts = |what: &What| matches!(what, What::Import { rejected: None, .. } | What::Erasure { report: None, .. });
    trial.tried("conflicts", count(conflicts));
    let found = violations(&calls);
    if !found.is_empty() {
        let mut text = format!("{name}:");
        for (rule, what) in found {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n  {rule:?}: {what}");
        }
        for Call { client, invoked, returned, what } in calls {
            let _ = write!(text, "\n  client {client} from {invoked} to {returned}: {what:?}");
        }
        trial.violated(text);
    }
}

async fn wait(pause: Duration) {
    if pause > Duration::ZERO {
        tokio::time::sleep(pause).await;
    }
}

/// The moment, by the clock that the program reads too.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64
}
