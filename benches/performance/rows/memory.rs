//! Row 10: the memory of exports, and what they hold while their readers are slow.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use tokio::time::{sleep, timeout};

use crate::{
    client::Client,
    database::{Database, Engine},
    dataset::Dataset,
    process,
    rounds::{Goal, Outcome},
    server::Server,
    shell::Shell,
    world::World,
};

const READERS: usize = 64;
const BYTES_PER_SECOND: f64 = 1_000_000.0;
const MIB: f64 = 1_048_576.0;
/// How long a call of somebody else may take while readers wait.
const PROMPT: Duration = Duration::from_secs(2);

/// A statement that runs for longer than this, or a transaction that is open as long, is no call in passing.
const HELD: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND state <> 'idle' AND clock_timestamp() - greatest(state_change, query_start) > interval '50 ms';";

pub(crate) async fn of_exports(world: &mut World, engine: Engine) -> anyhow::Result<Vec<Outcome>> {
    let data = world.main(engine)?;
    let token = world.largest_user();
    let rounds = if world.quick { 1 } else { world.rounds };
    // One for each measurement. They settle at the same time.
    let servers = (0..rounds + 2).map(|_| Server::ours(&data.database, world.folder(), &[])).collect::<Result<Vec<_>, _>>()?;
    try_join_all(servers.iter().map(Server::settle)).await?;
    let mut fresh = servers.iter();

    let mut alone = Vec::new();
    for server in fresh.by_ref().take(rounds) {
        let export = async { Client::connect(server, &data.key).await?.export(&token).await.map(drop) };
        alone.push(above_idle(server, export).await?);
    }
    let time = world.time(16);
    let slow = fresh.zip([1, READERS]).map(|(server, readers)| above_idle(server, read_slowly(server, &data, &token, readers, time)));
    let slow = try_join_all(slow).await?;
    for server in servers {
        server.stop().await?;
    }
    let held = held_while_waiting(world, &data, &token).await?;

    let outcome = |what: String, unit, goal: f64, values: Vec<f64>| Outcome {
        row: 10,
        engine,
        what,
        against: "idle".to_owned(),
        unit,
        values,
        goal: Goal::AtMost(goal),
        want: None,
        pairs: Vec::new(),
    };
    Ok(vec![
        outcome(format!("memory of an export of {} messages", world.largest), " MiB", 16.0, alone),
        outcome("memory of an export to a reader of 1 MB/s".to_owned(), " MiB", 16.0, vec![slow[0]]),
        outcome(format!("memory per reader, {READERS} of 1 MB/s"), " MiB", 2.0, vec![slow[1] / READERS as f64]),
        outcome(format!("connections held while {READERS} readers wait"), "", 0.0, vec![held]),
    ])
}

/// How much more memory a server, now idle, has at most during some work, in MiB.
async fn above_idle(server: &Server, work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<f64> {
    let idle = process::memory_of(server.pid(), "VmRSS:")?;
    process::reset_peak(server.pid())?;
    work.await?;
    let peak = process::memory_of(server.pid(), "VmHWM:")?;
    Ok(peak.saturating_sub(idle) as f64 / MIB)
}

/// Reads as much as a line of 1 MB/s lets through, each reader on a connection of its own.
async fn read_slowly(server: &Server, data: &Dataset, token: &str, readers: usize, time: Duration) -> anyhow::Result<()> {
    let began = Instant::now();
    let reads = (0..readers).map(|_| async move {
        let client = Client::connect_slow(server, &data.key).await?;
        let mut stream = client.open_export(token).await?;
        let mut bytes = 0.0;
        while began.elapsed() < time {
            let Some(frame) = stream.message().await? else { return Ok(()) };
            bytes += frame.len() as f64;
            sleep(Duration::from_secs_f64(bytes / BYTES_PER_SECOND).saturating_sub(began.elapsed())).await;
        }
        ensure!(bytes > 0.5 * BYTES_PER_SECOND * time.as_secs_f64(), "a slow reader got {bytes} bytes only");
        anyhow::Ok(())
    });
    try_join_all(reads).await.map(drop)
}

/// Connections to the database in use while readers do not read at all. Fails where others' calls do not get through.
async fn held_while_waiting(world: &World, data: &Dataset, token: &str) -> anyhow::Result<f64> {
    let server = Server::ours(&data.database, world.folder(), &["--database-max-connections", "2"])?;
    let opened = (0..READERS).map(|_| async {
        let client = Client::connect_slow(&server, &data.key).await?;
        let mut stream = client.open_export(token).await?;
        stream.message().await?.context("an empty export")?;
        anyhow::Ok((client, stream))
    });
    let waiting = try_join_all(opened).await?;
    sleep(Duration::from_secs(1)).await;
    let other = Client::connect(&server, &data.key).await?;
    timeout(PROMPT, other.export("small_0")).await.context("while readers wait, no other call gets through")??;
    let held = most_held(&data.database).await?;
    drop(waiting);
    drop(other);
    server.stop().await?;
    Ok(held)
}

async fn most_held(database: &Database) -> anyhow::Result<f64> {
    let mut most = 0.0_f64;
    if database.engine == Engine::Postgres {
        let mut shell = Shell::open(database)?;
        for _ in 0..10 {
            most = most.max(shell.run(HELD)?.trim().parse()?);
            sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(most)
}
