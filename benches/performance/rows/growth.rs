//! Not a row but the curves behind rows 1, 2, 6, 7 and 11: the time for a message, by how many a user has and how large they are.

use crate::{
    client::Client,
    curves::Curve,
    database::Engine,
    dataset::Dataset,
    layout,
    population::Population,
    proof,
    rounds::{Sample, measure, median},
    server::Server,
    shell::Shell,
    world::{BODY_BYTES, World},
};

/// Sizes of messages' bodies.
const BODIES: [usize; 3] = [60, BODY_BYTES, 4_096];
/// Of bodies larger than the middle size, users have no more messages.
const MOST_OF_OTHERS: u32 = 100_000;
/// Small exports are repeated until they come to so many messages.
const REPEATED: u32 = 20_000;
const ROUNDS: usize = 3;

pub(crate) async fn curves(world: &World, engine: Engine) -> anyhow::Result<Vec<Curve>> {
    let mut curves = Vec::new();
    for body_bytes in BODIES {
        let largest = if body_bytes == BODY_BYTES { world.largest } else { world.largest.min(MOST_OF_OTHERS) };
        let sizes: Vec<u32> = (2..).map(|power| 10_u32.pow(power)).take_while(|size| *size <= largest).collect();
        let of_each = |population: Population, size: &u32| population.with(&format!("of_{size}"), 1, *size, 40, body_bytes);
        let population = sizes.iter().fold(Population::default(), of_each).with("other", (largest / 5_000).max(4), 2_500, 40, body_bytes);
        let data = Dataset::of_service(engine, &format!("bench_growth_{body_bytes}"), world.folder(), population)?;

        let server = Server::ours(&data.database, world.folder(), &[])?;
        let client = Client::connect(&server, &data.key).await?;
        let mut shell = Shell::open(&data.database)?;
        let (mut ours, mut reference) = (Vec::new(), Vec::new());
        for &size in &sizes {
            let (token, times) = (World::user_of(size), (REPEATED / size).max(1));
            let subject = data.subject(&token)?;
            let queries = [layout::select_conversations(subject), layout::select_messages(subject)];
            proof::export_is_whole(&server, &data, &token).await?;
            let (mut by_us, mut by_shell) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                by_us.push(
                    measure(server.pid(), &data.database, async {
                        for _ in 0..times {
                            client.export(&token).await?;
                        }
                        Ok(f64::from(size * times))
                    })
                    .await?,
                );
                by_shell.push(
                    measure(shell.pid(), &data.database, async {
                        for _ in 0..times {
                            shell.print_to_nowhere(&queries)?;
                        }
                        Ok(f64::from(size * times))
                    })
                    .await?,
                );
            }
            ours.push((size, micros(&by_us)));
            reference.push((size, micros(&by_shell)));
        }
        drop(shell);
        server.stop().await?;
        let erased = erasures(world, &data, &sizes).await?;
        let curve = |call, who: &str, points| Curve { engine, call, label: format!("{who}, {body_bytes} B"), points };
        curves.extend([
            curve("export", "ours", ours),
            curve("export", shell_of(engine), reference),
            curve("erasure", "ours", erased.0),
            curve("erasure", shell_of(engine), erased.1),
        ]);
    }
    Ok(curves)
}

fn shell_of(engine: Engine) -> &'static str {
    if engine == Engine::Sqlite { "sqlite3" } else { "psql" }
}

fn micros(samples: &[Sample]) -> f64 {
    median(samples.iter().map(|sample| sample.wall / sample.units * 1e6))
}

type Points = Vec<(u32, f64)>;

/// The erasure of each user, by us and by the shell.
async fn erasures(world: &World, data: &Dataset, sizes: &[u32]) -> anyhow::Result<(Points, Points)> {
    let (mut by_us, mut by_shell) = (vec![Vec::new(); sizes.len()], vec![Vec::new(); sizes.len()]);
    for _ in 0..ROUNDS {
        let copy = data.database.copy("bench_copy")?;
        let server = Server::ours(&copy, world.folder(), &[])?;
        let client = Client::connect(&server, &data.key).await?;
        client.delete_messages("other_0").await?;
        for (nth, &size) in sizes.iter().enumerate() {
            copy.settle()?;
            let sample = measure(server.pid(), &copy, async {
                Ok(f64::from(client.delete_messages(&World::user_of(size)).await?.messages_deleted))
            });
            by_us[nth].push(sample.await?);
        }
        server.stop().await?;
        drop(copy);

        let copy = data.database.copy("bench_copy")?;
        let mut shell = Shell::open(&copy)?;
        shell.run(&layout::delete_messages(data.subject("other_0")?))?;
        for (nth, &size) in sizes.iter().enumerate() {
            let statement = layout::delete_messages(data.subject(&World::user_of(size))?);
            copy.settle()?;
            let sample = measure(shell.pid(), &copy, async {
                shell.run(&statement)?;
                if copy.engine == Engine::Sqlite {
                    shell.run(layout::EMPTY_LOG)?;
                }
                Ok(f64::from(size))
            });
            by_shell[nth].push(sample.await?);
        }
    }
    let points = |samples: &[Vec<Sample>]| sizes.iter().zip(samples).map(|(&size, samples)| (size, micros(samples))).collect();
    Ok((points(&by_us), points(&by_shell)))
}
