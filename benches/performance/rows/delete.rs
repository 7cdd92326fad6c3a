//! Rows 6 and 7: DeleteUserMessages of large users.

use sea_orm::ConnectionTrait;

use super::WARMING;
use crate::{
    client::Client,
    database::Engine,
    dataset::Dataset,
    layout, proof,
    rounds::{Goal, Outcome, Sample, alternate, measure, time},
    server::Server,
    shell::{SQLITE_PRAGMAS, Shell},
    world::World,
};

/// Small users, who are erased before anything is timed.
fn small() -> impl Iterator<Item = String> {
    (0..WARMING).map(|nth| format!("small_{nth}"))
}

pub(crate) async fn beside_raw(world: &mut World, engine: Engine) -> anyhow::Result<Vec<Outcome>> {
    let data = world.main(engine)?;
    let sizes = [world.largest / 10, world.largest];
    let pairs = alternate(world.rounds, async || ours(world, &data, sizes).await, async || raw(world, &data, sizes).await).await?;
    let mut outcomes = Vec::new();
    for (nth, size) in sizes.into_iter().enumerate() {
        let against = |place: usize| pairs.iter().map(|(ours, raw)| (ours[nth], raw[place + nth])).collect();
        let what = format!("erasure of {size} messages");
        let goal = (Goal::AtMost(1.3), 1.15);
        if engine == Engine::Postgres {
            outcomes.push(Outcome::of((6, engine), (what.clone(), "DELETE in psql"), goal, against(0), time));
            if world.quick {
                continue;
            }
            let with_counts = "the same in psql, with the counts in conversations, and a look at what there is";
            outcomes.push(Outcome::of((6, engine), (what, with_counts), (Goal::None, 1.15), against(2), time));
        } else {
            outcomes.push(Outcome::of((7, engine), (what.clone(), "DELETE in sqlite3 shell"), goal, against(0), time));
            if world.quick {
                continue;
            }
            outcomes.push(Outcome::of((7, engine), (what, "DELETE by the service's own SQLite"), (Goal::None, 1.15), against(2), time));
        }
    }
    Ok(outcomes)
}

async fn ours(world: &World, data: &Dataset, sizes: [u32; 2]) -> anyhow::Result<Vec<Sample>> {
    let copy = data.database.copy("bench_copy")?;
    let server = Server::ours(&copy, world.folder(), &[])?;
    let client = Client::connect(&server, &data.key).await?;
    for token in small() {
        client.delete_messages(&token).await?;
    }
    let mut samples = Vec::new();
    for size in sizes {
        let token = World::user_of(size);
        copy.settle()?;
        let sample = measure(server.pid(), &copy, async { Ok(f64::from(client.delete_messages(&token).await?.messages_deleted)) }).await?;
        anyhow::ensure!(sample.units == f64::from(size), "{} of {size} messages were deleted", sample.units);
        proof::none_left(&copy, data.subject(&token)?)?;
        samples.push(sample);
    }
    server.stop().await?;
    Ok(samples)
}

/// By the engine's shell; then, unless quick, on PostgreSQL with what the service has to do besides, and on SQLite by the library that the
/// service is built with, which is newer than the shell.
async fn raw(world: &World, data: &Dataset, sizes: [u32; 2]) -> anyhow::Result<Vec<Sample>> {
    let mut samples = by_shell(data, sizes, layout::delete_messages).await?;
    if !world.quick {
        samples.extend(match data.database.engine {
            Engine::Postgres => by_shell(data, sizes, layout::delete_messages_and_counts).await?,
            Engine::Sqlite => by_library(data, sizes).await?,
        });
    }
    Ok(samples)
}

async fn by_shell(data: &Dataset, sizes: [u32; 2], delete_messages: fn(i64) -> String) -> anyhow::Result<Vec<Sample>> {
    let copy = data.database.copy("bench_copy")?;
    let mut shell = Shell::open(&copy)?;
    for token in small() {
        shell.run(&delete_messages(data.subject(&token)?))?;
    }
    let mut samples = Vec::new();
    for size in sizes {
        let subject = data.subject(&World::user_of(size))?;
        copy.settle()?;
        let sample = measure(shell.pid(), &copy, async {
            shell.run(&delete_messages(subject))?;
            if copy.engine == Engine::Sqlite {
                shell.run(layout::EMPTY_LOG)?;
            }
            Ok(f64::from(size))
        });
        samples.push(sample.await?);
        proof::none_left(&copy, subject)?;
    }
    Ok(samples)
}

async fn by_library(data: &Dataset, sizes: [u32; 2]) -> anyhow::Result<Vec<Sample>> {
    let copy = data.database.copy("bench_copy")?;
    let connection = sea_orm::Database::connect(&copy.url).await?;
    connection.execute_unprepared(SQLITE_PRAGMAS).await?;
    for token in small() {
        connection.execute_unprepared(&layout::delete_messages(data.subject(&token)?)).await?;
    }
    let mut samples = Vec::new();
    for size in sizes {
        let subject = data.subject(&World::user_of(size))?;
        copy.settle()?;
        let sample = measure(std::process::id(), &copy, async {
            connection.execute_unprepared(&layout::delete_messages(subject)).await?;
            connection.execute_unprepared(layout::EMPTY_LOG).await?;
            Ok(f64::from(size))
        });
        samples.push(sample.await?);
        proof::none_left(&copy, subject)?;
    }
    connection.close().await?;
    Ok(samples)
}
