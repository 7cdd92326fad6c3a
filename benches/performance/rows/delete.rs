//! Rows 6 and 7: DeleteUserMessages of large users.

use crate::{
    client::Client,
    database::Engine,
    dataset::Dataset,
    layout, proof,
    rounds::{Goal, Outcome, Sample, alternate, measure, time},
    server::Server,
    shell::Shell,
    world::World,
};

pub(crate) async fn beside_raw(world: &mut World, engine: Engine) -> anyhow::Result<Vec<Outcome>> {
    let data = world.main(engine)?;
    let sizes = [world.largest / 10, world.largest];
    let pairs = alternate(world.rounds, async || ours(world, &data, sizes).await, async || raw(&data, sizes).await).await?;
    let row = if engine == Engine::Postgres { 6 } else { 7 };
    let against = if engine == Engine::Postgres { "DELETE in psql" } else { "DELETE in sqlite3 shell" };
    let outcomes = sizes.iter().enumerate().map(|(nth, size)| {
        let pairs = pairs.iter().map(|(ours, raw)| (ours[nth], raw[nth])).collect();
        Outcome::of((row, engine), (format!("erasure of {size} messages"), against), (Goal::AtMost(1.3), 1.15), pairs, time)
    });
    Ok(outcomes.collect())
}

async fn ours(world: &World, data: &Dataset, sizes: [u32; 2]) -> anyhow::Result<[Sample; 2]> {
    let copy = data.database.copy("bench_copy")?;
    let server = Server::ours(&copy, world.folder(), &[])?;
    let client = Client::connect(&server, &data.key).await?;
    client.delete_messages("small_0").await?;
    let mut samples = [Sample::default(); 2];
    for (sample, size) in samples.iter_mut().zip(sizes) {
        let token = World::user_of(size);
        copy.settle()?;
        *sample = measure(server.pid(), &copy, async { Ok(f64::from(client.delete_messages(&token).await?.messages_deleted)) }).await?;
        anyhow::ensure!(sample.units == f64::from(size), "{} of {size} messages were deleted", sample.units);
        proof::none_left(&copy, data.subject(&token)?)?;
    }
    server.stop().await?;
    Ok(samples)
}

async fn raw(data: &Dataset, sizes: [u32; 2]) -> anyhow::Result<[Sample; 2]> {
    let copy = data.database.copy("bench_copy")?;
    let mut shell = Shell::open(&copy)?;
    shell.run(&layout::delete_messages(data.subject("small_0")?))?;
    let mut samples = [Sample::default(); 2];
    for (sample, size) in samples.iter_mut().zip(sizes) {
        let subject = data.subject(&World::user_of(size))?;
        copy.settle()?;
        *sample = measure(shell.pid(), &copy, async {
            shell.run(&layout::delete_messages(subject))?;
            if copy.engine == Engine::Sqlite {
                // Without this, what was deleted may still be in the log.
                shell.run("PRAGMA wal_checkpoint(TRUNCATE);")?;
            }
            Ok(f64::from(size))
        })
        .await?;
        proof::none_left(&copy, subject)?;
    }
    Ok(samples)
}
