//! Erasures with a `request_id`, each sent up to 64 times at once, and again across restarts: one effect, one answer, and the id serves for
//! nothing else.

use std::time::Duration;

use futures::future::join_all;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use userdata::{
    grpc::proto::{DeleteUserMessagesRequest, ScopedDeleteRequest},
    repository::Engine,
};

use crate::{
    batch::Kind,
    held::{Answer, Erasure, difference},
    patience::is_of_server,
    person::Person,
    program::{Client, Program, Stores},
    trial::{Random, Trial},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_sent_many_times_happens_once_on_sqlite() {
    happens_once(Trial::begin("idempotency SQLite"), Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_sent_many_times_happens_once_on_postgres() {
    happens_once(Trial::begin("idempotency PostgreSQL"), Engine::Postgres).await;
}

/// How many requests are under way at once.
const AT_ONCE: usize = 8;

/// Of so many groups of requests, the server ends in the middle of one.
const RESTART_EVERY: usize = 5;

/// The longest that requests are under way before it does, in milliseconds.
const MOMENTS: usize = 60;

/// How many requests from earlier are sent again after a restart.
const ASKED_AGAIN: usize = 20;

/// A request and the one answer to it.
struct Case {
    person: Person,
    erasure: Erasure,
    answer: Option<Answer>,
    copies: usize,
    random: Random,
}

async fn happens_once(trial: Trial, engine: Engine) {
    let stores = Stores::make(engine).await;
    let mut random = trial.random("groups");
    let mut server = stores.serve("").await;
    let mut done: Vec<Case> = Vec::new();
    for group in 0..trial.size(1_000, 3_000) / AT_ONCE {
        let mut cases = join_all((0..AT_ONCE).map(|nth| new_case(format!("user {group} {nth}"), &server, &trial))).await;
        if group % RESTART_EVERY == RESTART_EVERY - 1 {
            server = in_the_middle(&mut cases, &stores, server, &mut random, &trial).await;
            for _ in 0..ASKED_AGAIN.min(done.len()) {
                let nth = random.below(done.len());
                done[nth].storm(&connections(&server), 1, &trial).await;
            }
        }
        let clients = connections(&server);
        join_all(cases.iter_mut().map(|case| case.check(&clients, &trial))).await;
        contest(format!("user {group}"), &server, &mut random, &trial).await;
        done.extend(cases);
    }
    drop(server);
    trial.end();
}

/// Several connections, for one does not take all calls at once.
fn connections(server: &Program) -> Vec<Client> {
    (0..4).map(|_| server.client()).collect()
}

async fn new_case(token: String, server: &Program, trial: &Trial) -> Case {
    let mut random = trial.random(&format!("the request of {token}"));
    let mut person = Person::new(token.clone(), trial);
    person.settle_in(&mut server.client(), if random.percent(15) { Kind::Mixed } else { Kind::Tiny }).await;
    let erasure = erasure(&token, random.request_id(), &mut random);
    // As many small numbers as great ones.
    let most = 2 << random.below(6);
    let copies = random.between(2, most);
    Case { person, erasure, answer: None, copies, random }
}

fn erasure(token: &str, request_id: String, random: &mut Random) -> Erasure {
    let user_token = token.to_owned();
    match random.below(3) {
        0 => {
            Erasure::Messages(DeleteUserMessagesRequest { user_token, request_id, scrub_residue: random.percent(50), ..Default::default() })
        }
        1 => Erasure::Scopes(ScopedDeleteRequest { user_token, request_id, dialogues: true, memory: true, ..Default::default() }),
        _ => Erasure::everything(token, request_id),
    }
}

/// Ends the server while the requests are under way, and starts another.
async fn in_the_middle(cases: &mut [Case], stores: &Stores, mut server: Program, random: &mut Random, trial: &Trial) -> Program {
    let clients = connections(&server);
    let moment = Duration::from_micros(random.below(MOMENTS * 1000) as u64);
    let by_kill = random.percent(60);
    let ended = async {
        tokio::time::sleep(moment).await;
        if by_kill { server.kill() } else { server.stop().await }
    };
    tokio::join!(join_all(cases.iter_mut().map(|case| case.storm_until_the_end(&clients, trial))), ended);
    trial.tried(if by_kill { "restarts after kill -9" } else { "restarts after SIGTERM" }, 1);
    stores.serve("").await
}

impl Case {
    /// Sends the request so often at once; each must be answered, as it was before.
    async fn storm(&mut self, clients: &[Client], copies: usize, trial: &Trial) {
        for outcome in send(&self.erasure, clients, copies).await {
            match outcome {
                Ok(answer) => self.note(answer, trial),
                Err(status) => trial.violated(format!("{:?} was answered with {status:?}", self.erasure)),
            }
        }
    }

    /// The same, of a server that ends meanwhile.
    async fn storm_until_the_end(&mut self, clients: &[Client], trial: &Trial) {
        for outcome in send(&self.erasure, clients, self.copies).await {
            match outcome {
                Ok(answer) => self.note(answer, trial),
                Err(status) if is_of_server(&status) && status.code() != Code::Unavailable => {
                    trial.violated(format!("{:?} was answered with {status:?}", self.erasure));
                }
                Err(_) => {}
            }
        }
    }

    fn note(&mut self, answer: Answer, trial: &Trial) {
        trial.tried("answers", 1);
        match &self.answer {
            None => {
                trial.tried("requests", 1);
                let expected = self.person.held.erase(&self.erasure);
                trial.check(answer.without_residue() == expected, || {
                    format!("{:?} was answered with\n{answer:?}\nwhere it has to be\n{expected:?}", self.erasure)
                });
                self.answer = Some(answer);
            }
            Some(first) => trial.check(first.bytes() == answer.bytes(), || {
                format!("{:?} was answered with\n{first:?}\nand then\n{answer:?}", self.erasure)
            }),
        }
    }

    /// The request has one effect, and its id is refused for any other.
    async fn check(&mut self, clients: &[Client], trial: &Trial) {
        let mut client = clients[0].clone();
        self.storm(clients, self.copies, trial).await;
        self.check_shown(&mut client, "after the request", trial).await;
        // A second effect would take these.
        self.person.settle_in(&mut client, Kind::Tiny).await;
        self.storm(clients, 2, trial).await;
        self.check_shown(&mut client, "after a repetition", trial).await;
        for other in self.other_requests() {
            trial.tried("other requests with an id that was used", 1);
            let outcome = client.erase_patiently(&other).await;
            let is_refused = outcome.as_ref().is_err_and(is_reused);
            trial.check(is_refused, || format!("after {:?}, {other:?} was answered with {outcome:?}", self.erasure));
        }
        self.check_shown(&mut client, "after another request with the id", trial).await;
        self.storm(clients, 1, trial).await;
    }

    async fn check_shown(&self, client: &mut Client, when: &str, trial: &Trial) {
        let seen = client.shown(&self.person.token).await.unwrap();
        if let Some(difference) = difference(&self.person.held.shown(), &seen, &std::collections::BTreeSet::new()) {
            trial.violated(format!("{when}, {:?}: {difference}", self.erasure));
        }
    }

    /// Requests with the same id that are not the same.
    fn other_requests(&mut self) -> Vec<Erasure> {
        let (user_token, stranger) = (self.person.token.clone(), "a stranger".to_owned());
        let mut others = match &self.erasure {
            Erasure::Messages(request) => vec![
                Erasure::Messages(DeleteUserMessagesRequest { scrub_residue: !request.scrub_residue, ..request.clone() }),
                Erasure::Messages(DeleteUserMessagesRequest { user_token: stranger, ..request.clone() }),
                Erasure::everything(&user_token, request.request_id.clone()),
            ],
            Erasure::Scopes(request) => vec![
                Erasure::Scopes(ScopedDeleteRequest { sessions: !request.sessions, ..request.clone() }),
                Erasure::Scopes(ScopedDeleteRequest { user_token: stranger, ..request.clone() }),
                Erasure::Messages(DeleteUserMessagesRequest { user_token, request_id: request.request_id.clone(), ..Default::default() }),
            ],
        };
        others.remove(self.random.below(others.len()));
        others
    }
}

/// Two requests of different users with one id, at once: one of them happens.
async fn contest(name: String, server: &Program, random: &mut Random, trial: &Trial) {
    let (mut one, mut other) =
        tokio::join!(new_case(format!("{name} one"), server, trial), new_case(format!("{name} other"), server, trial));
    let request_id = random.request_id();
    for case in [&mut one, &mut other] {
        case.erasure = erasure(&case.person.token, request_id.clone(), random);
    }
    let clients = connections(server);
    let outcomes =
        tokio::join!(send(&one.erasure, &clients, one.copies.div_ceil(2)), send(&other.erasure, &clients, other.copies.div_ceil(2)));
    let mut winners = 0;
    for (case, outcomes) in [(&mut one, outcomes.0), (&mut other, outcomes.1)] {
        let all = outcomes.len();
        let refused = outcomes.iter().filter(|outcome| outcome.as_ref().is_err_and(is_reused)).count();
        if refused == 0 {
            winners += 1;
            for outcome in outcomes {
                match outcome {
                    Ok(answer) => case.note(answer, trial),
                    Err(status) => trial.violated(format!("{:?} was answered with {status:?}", case.erasure)),
                }
            }
        } else {
            trial.check(refused == all, || format!("{:?} was refused {refused} times of {all}: {outcomes:?}", case.erasure));
        }
        case.check_shown(&mut clients[0].clone(), "after two requests with one id", trial).await;
    }
    trial.check(winners == 1, || format!("{winners} of two requests with one id happened: {:?}, {:?}", one.erasure, other.erasure));
    trial.tried("ids used for two requests at once", 1);
}

async fn send(erasure: &Erasure, clients: &[Client], copies: usize) -> Vec<Result<Answer, Status>> {
    join_all((0..copies).map(|nth| {
        let mut client = clients[nth % clients.len()].clone();
        async move { client.erase_patiently(erasure).await }
    }))
    .await
}

fn is_reused(status: &Status) -> bool {
    let reason = status.get_details_error_info().map(|info| info.reason);
    status.code() == Code::FailedPrecondition && reason.as_deref() == Some("ERROR_REASON_REQUEST_ID_REUSED")
}
