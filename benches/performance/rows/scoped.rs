//! Rows 8 and 13: ScopedDelete.

use std::ops::RangeInclusive;

use anyhow::ensure;
use sha2::{Digest, Sha256};
use userdata::grpc::proto::{ScopedDeleteRequest, ScopedDeleteResponse};

use super::WARMING;
use crate::{
    client::Client,
    database::{Database, Engine},
    dataset::Dataset,
    everything, layout,
    population::Population,
    rounds::{Goal, Outcome, Sample, alternate, measure, time},
    server::Server,
    shell::Shell,
    world::World,
};

/// How much the users hold.
const RECORDS: [u32; 2] = [80, 300];
/// Users of each erased in each round, one after the other, for there are few records to each.
const USERS: usize = 30;
/// How often a user's dialogues are forgotten in each round.
const REPEATED: u32 = 10;
/// Conversations of the users whose dialogues are forgotten.
const DIALOGUES: u32 = 100;

fn records_in(erased: &ScopedDeleteResponse) -> i32 {
    let ScopedDeleteResponse { dialogues_forgotten, uploads_deleted, memory_deleted, assistants_deleted, .. } = erased;
    let others = erased.feedback_deleted + erased.sessions_deleted + erased.compaction_cache_purged;
    dialogues_forgotten + uploads_deleted + memory_deleted + assistants_deleted + others
}

/// Row 8: everything, of small users, with a `request_id`, which both keep; unless quick, also without one, and the least that a service
/// needs for it.
pub(crate) async fn beside_sql(world: &World, engine: Engine) -> anyhow::Result<Vec<Outcome>> {
    let database = Database::create(engine, "bench_everything", world.folder())?;
    let key = database.migrate()?;
    let server = Server::ours(&database, world.folder(), &[])?;
    let client = Client::connect(&server, &key).await?;
    for (records, token) in RECORDS.into_iter().flat_map(users) {
        client.import(everything::requests(&token, records)).await?;
    }
    server.stop().await?;
    if engine == Engine::Postgres {
        Shell::open(&database)?.run("VACUUM (ANALYZE);")?;
    }
    let mut outcomes = Vec::new();
    let mut compared = |what: &str, goal: Goal, pairs: Vec<(Vec<Sample>, Vec<Sample>)>| {
        outcomes.extend(RECORDS.into_iter().enumerate().map(|(nth, records)| {
            let pairs = pairs.iter().map(|(ours, sql)| (ours[nth], sql[nth])).collect();
            let what = (what.replace('#', &records.to_string()), "hand-written SQL");
            Outcome::of((8, engine), what, (goal, 1.1), pairs, time)
        }));
    };
    let without = (false, "ScopedDelete of everything, # records");
    let with = (true, "ScopedDelete of everything, # records, request_id");
    for (keeps_request, what) in [without, with].into_iter().skip(usize::from(world.quick)) {
        let by_us = async || erase_by_service(world, &database, &key, keeps_request).await;
        let pairs = alternate(world.rounds, by_us, async || erase_by_sql(&database, keeps_request).await).await?;
        compared(what, Goal::AtMost(1.3), pairs);
    }
    if world.quick {
        return Ok(outcomes);
    }
    let by_echo = async || erase_by_echo(world, &database).await;
    let pairs = alternate(world.rounds, by_echo, async || erase_by_sql(&database, true).await).await?;
    compared("an echo that has sea-orm do this and looks at nothing, # records, request_id", Goal::None, pairs);
    Ok(outcomes)
}

/// The users with so many records.
fn users(records: u32) -> impl Iterator<Item = (u32, String)> {
    (0..USERS).map(move |nth| (records, format!("user_{records}_{nth}")))
}

async fn erase_by_service(world: &World, database: &Database, key: &str, keeps_request: bool) -> anyhow::Result<Vec<Sample>> {
    let copy = database.copy("bench_copy")?;
    let server = Server::ours(&copy, world.folder(), &[])?;
    let client = Client::connect(&server, key).await?;
    // From the second on, of a subject that there is.
    for nth in 0..WARMING {
        let nobody = ScopedDeleteRequest { user_token: "nobody".to_owned(), ..everything(format!("nobody_{nth}"), keeps_request) };
        client.scoped_delete(nobody).await?;
    }
    let mut samples = Vec::new();
    for records in RECORDS {
        copy.settle()?;
        let sample = measure(server.pid(), &copy, async {
            for (records, token) in users(records) {
                let erased = client.scoped_delete(everything(token, keeps_request)).await?;
                ensure!(records_in(&erased) >= i32::try_from(records)?, "{erased:?} of {records} records");
            }
            Ok(USERS as f64)
        });
        samples.push(sample.await?);
    }
    nothing_left(&copy)?;
    server.stop().await?;
    Ok(samples)
}

fn everything(user_token: String, keeps_request: bool) -> ScopedDeleteRequest {
    ScopedDeleteRequest {
        request_id: if keeps_request { hex::encode(&Sha256::digest(&user_token)[..16]) } else { String::new() },
        user_token,
        dialogues: true,
        vault: true,
        memory: true,
        assistants: true,
        feedback: true,
        sessions: true,
        ..Default::default()
    }
}

async fn erase_by_echo(world: &World, database: &Database) -> anyhow::Result<Vec<Sample>> {
    let copy = database.copy("bench_copy")?;
    let server = Server::erasing_echo(&copy, world.folder())?;
    let client = Client::connect(&server, "none").await?;
    for nobody in nobodies() {
        client.scoped_delete(everything(nobody.to_string(), true)).await?;
    }
    let mut samples = Vec::new();
    for subjects in subjects() {
        copy.settle()?;
        let sample = measure(server.pid(), &copy, async {
            for subject in subjects {
                client.scoped_delete(everything(subject.to_string(), true)).await?;
            }
            Ok(USERS as f64)
        });
        samples.push(sample.await?);
    }
    nothing_left(&copy)?;
    server.stop().await?;
    Ok(samples)
}

/// The numbers of the users with so many records, as they were imported.
fn subjects() -> impl Iterator<Item = RangeInclusive<i64>> {
    (0..).zip(RECORDS).map(|(nth, _)| nth * USERS as i64 + 1..=(nth + 1) * USERS as i64)
}

/// Numbers that no subject has.
fn nobodies() -> impl Iterator<Item = i64> {
    (0..WARMING).map(|nth| -i64::from(nth))
}

fn nothing_left(database: &Database) -> anyhow::Result<()> {
    let left = Shell::open(database)?.run(layout::COUNT_WHAT_SCOPES_ERASE)?;
    ensure!(left.trim() == "0", "{}: {} records are left after a ScopedDelete", database.engine, left.trim());
    Ok(())
}

async fn erase_by_sql(database: &Database, keeps_request: bool) -> anyhow::Result<Vec<Sample>> {
    let copy = database.copy("bench_copy")?;
    let mut shell = Shell::open(&copy)?;
    for nobody in nobodies() {
        shell.run(&layout::erase_everything(copy.engine, nobody, keeps_request))?;
    }
    let mut samples = Vec::new();
    for subjects in subjects() {
        copy.settle()?;
        let sample = measure(shell.pid(), &copy, async {
            for subject in subjects {
                shell.run(&layout::erase_everything(copy.engine, subject, keeps_request))?;
            }
            Ok(USERS as f64)
        });
        samples.push(sample.await?);
    }
    nothing_left(&copy)?;
    Ok(samples)
}

/// Row 13: dialogues with many messages beside dialogues with few.
pub(crate) async fn beside_few_messages(world: &World, engine: Engine) -> anyhow::Result<Vec<Outcome>> {
    let messages = world.largest.min(100_000);
    let population = Population::default().with("many", 1, messages, messages / DIALOGUES, 60).with("few", 1, DIALOGUES, 1, 60);
    let data = Dataset::of_service(engine, "bench_dialogues", world.folder(), population)?;
    let server = Server::ours(&data.database, world.folder(), &[])?;
    let client = Client::connect(&server, &data.key).await?;
    let pairs = alternate(
        world.rounds,
        async || forget(&data, &server, &client, "many_0").await,
        async || forget(&data, &server, &client, "few_0").await,
    )
    .await?;
    server.stop().await?;
    let what = (format!("forgetting dialogues of {messages} messages"), format!("of {DIALOGUES} messages"));
    Ok(vec![Outcome::of((13, engine), what, (Goal::AtMost(1.2), 1.0), pairs, time)])
}

async fn forget(data: &Dataset, server: &Server, client: &Client, token: &str) -> anyhow::Result<Sample> {
    let mut sum = Sample::default();
    let mut shell = Shell::open(&data.database)?;
    for _ in 0..REPEATED {
        data.database.settle()?;
        let sample = measure(server.pid(), &data.database, async {
            let request = ScopedDeleteRequest { user_token: token.to_owned(), dialogues: true, ..ScopedDeleteRequest::default() };
            let forgotten = client.scoped_delete(request).await?.dialogues_forgotten;
            ensure!(u32::try_from(forgotten)? == DIALOGUES, "{forgotten} dialogues were forgotten");
            Ok(1.0)
        })
        .await?;
        shell.run(layout::REMEMBER_ALL_DIALOGUES)?;
        sum = Sample { peak: sum.peak.max(sample.peak), ..sum };
        sum.wall += sample.wall;
        sum.program_cpu += sample.program_cpu;
        sum.database_cpu += sample.database_cpu;
        sum.units += sample.units;
    }
    if data.database.engine == Engine::Postgres {
        shell.run("VACUUM;")?;
    }
    Ok(sum)
}
