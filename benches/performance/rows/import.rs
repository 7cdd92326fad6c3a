//! Row 14: imports.

use anyhow::ensure;

use crate::{
    client::Client,
    database::{Database, Engine},
    dataset::text_of,
    layout::{self, LAYOUT},
    population::Population,
    proof,
    rounds::{Goal, Outcome, Sample, alternate, measure, speed},
    server::Server,
    shell::Shell,
    world::{BODY_BYTES, World},
};

const USERS: u32 = 10;

pub(crate) async fn beside_raw(world: &World, engine: Engine) -> anyhow::Result<Vec<Outcome>> {
    let population = Population::default().with(
        "imported",
        USERS,
        world.largest.min(if world.quick { 10_000 } else { 100_000 }) / USERS,
        40,
        BODY_BYTES,
    );
    let messages: u32 = population.users.iter().map(|user| user.messages).sum();
    let empty = Database::create(engine, "bench_empty", world.folder())?;
    let key = empty.migrate()?;
    let text = text_of(&population, engine, &LAYOUT)?;
    let pairs = alternate(
        world.rounds,
        async || import(world, &empty, &key, &population).await,
        async || {
            let copy = empty.copy("bench_copy")?;
            let mut shell = Shell::open(&copy)?;
            copy.settle()?;
            let sample = measure(shell.pid(), &copy, async {
                shell.begin(b"BEGIN;\n")?;
                shell.begin(&text)?;
                shell.run("COMMIT;")?;
                Ok(f64::from(messages))
            })
            .await?;
            all_there(&copy, messages)?;
            Ok(sample)
        },
    )
    .await?;
    let against = if engine == Engine::Postgres { "COPY in psql" } else { "INSERTs in one transaction in sqlite3 shell" };
    Ok(vec![Outcome::of((14, engine), (format!("import of {messages} messages"), against), (Goal::AtLeast(0.5), 0.8), pairs, speed)])
}

async fn import(world: &World, empty: &Database, key: &str, population: &Population) -> anyhow::Result<Sample> {
    let copy = empty.copy("bench_copy")?;
    let server = Server::ours(&copy, world.folder(), &[])?;
    let client = Client::connect(&server, key).await?;
    let requests: Vec<_> = population.users.iter().flat_map(|user| proof::document(user).into_requests()).collect();
    copy.settle()?;
    let sample = measure(server.pid(), &copy, async { Ok(client.import(requests).await? as f64) }).await?;
    all_there(&copy, population.users.iter().map(|user| user.messages).sum())?;
    server.stop().await?;
    Ok(sample)
}

fn all_there(database: &Database, messages: u32) -> anyhow::Result<()> {
    let held = Shell::open(database)?.run(layout::COUNT_ALL_MESSAGES)?;
    ensure!(held.trim() == messages.to_string(), "{}: {} of {messages} messages are there", database.engine, held.trim());
    Ok(())
}
