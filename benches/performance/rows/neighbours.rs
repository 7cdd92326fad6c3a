//! Row 9: what others notice while the largest user is exported and erased.

use std::time::{Duration, Instant};

use anyhow::ensure;
use futures::future::try_join_all;
use tokio::time::{sleep, sleep_until};

use super::calls::CALLERS;
use crate::{
    client::{Client, percentile},
    database::{Database, Engine},
    dataset::Dataset,
    rounds::{Goal, Outcome, Sample, measure},
    server::Server,
    world::World,
};

/// Of the calls that the server could answer each second, so many are made: as one would run it.
const SHARE: f64 = 0.25;

pub(crate) async fn of_large_users(world: &mut World, engine: Engine) -> anyhow::Result<Vec<Outcome>> {
    let data = world.main(engine)?;
    let users = data.tokens("small_");
    let (mut pairs, mut controls, mut rate) = (Vec::new(), Vec::new(), 0.0);
    for _ in 0..world.rounds {
        let copy = data.database.copy("bench_copy")?;
        let server = Server::ours(&copy, world.folder(), &[])?;
        let client = Client::connect(&server, &data.key).await?;
        client.export_for(&users, CALLERS, Duration::from_millis(100)).await?;
        if rate == 0.0 {
            rate = client.export_for(&users, CALLERS, Duration::from_secs(1)).await?.len() as f64 * SHARE;
        }
        copy.settle()?;
        let time = world.time(8);
        let pause = async {
            sleep(time).await;
            Ok(())
        };
        let alone = load(&server, &copy, &client, &users, rate, pause).await?;
        if !world.quick {
            controls.push((load(&server, &copy, &client, &users, rate, count_for(time)).await?, alone));
        }
        let beside = load(&server, &copy, &client, &users, rate, large_user(&server, &data, world)).await?;
        server.stop().await?;
        pairs.push((beside, alone));
    }
    let what = |figure: &str| format!("others' {figure} at {rate:.0} calls/s beside a user of {}", world.largest);
    let goal = (Goal::AtLeast(0.95), 0.97);
    let calls = Outcome::of((9, engine), (what("calls per second"), "alone"), goal, pairs.clone(), |beside, alone| {
        beside.per_second() / alone.per_second()
    });
    let p99 =
        |of: String, goal, pairs| Outcome::of((9, engine), (of, "alone"), goal, pairs, |beside: &Sample, alone| alone.p99 / beside.p99);
    let mut outcomes = vec![calls, p99(what("p99"), goal, pairs)];
    if !controls.is_empty() {
        outcomes.push(p99("p99 beside two threads that only count, and no large user".to_owned(), (Goal::None, 0.97), controls));
    }
    Ok(outcomes)
}

/// Keeps two processors busy with nothing, as the server and a client of a large export are: what the machine's scheduler makes of that is
/// what nobody's work can be better than.
async fn count_for(time: Duration) -> anyhow::Result<()> {
    let count = move || {
        let began = Instant::now();
        while began.elapsed() < time {
            std::hint::spin_loop();
        }
    };
    let other = tokio::task::spawn_blocking(count);
    tokio::task::spawn_blocking(count).await?;
    Ok(other.await?)
}

/// Has the largest user exported and erased by a client in a thread of its own: what it takes to read an export is not to hold up the
/// clients whose calls are timed.
async fn large_user(server: &Server, data: &Dataset, world: &World) -> anyhow::Result<()> {
    let (token, address, key) = (world.largest_user(), server.address.clone(), data.key.clone());
    let (messages, exports) = (data.messages(&token)?, if world.quick { 1 } else { 3 });
    tokio::task::spawn_blocking(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
            let client = Client::connect_to_address(&address, &key).await?;
            for _ in 0..exports {
                client.export(&token).await?;
            }
            let erased = client.delete_messages(&token).await?.messages_deleted;
            ensure!(u32::try_from(erased)? == messages, "{erased} messages were erased");
            Ok(())
        })
    })
    .await?
}

/// Has users exported at a steady rate while something else goes on. A call that begins late was late for its caller: its time counts from
/// when it was due.
async fn load(
    server: &Server,
    database: &Database,
    client: &Client,
    users: &[String],
    rate: f64,
    meanwhile: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<Sample> {
    let between = Duration::from_secs_f64(CALLERS as f64 / rate);
    let mut took = Vec::new();
    let done = std::cell::Cell::new(false);
    let sample = measure(server.pid(), database, async {
        let began = Instant::now();
        let callers = (0..CALLERS).map(|caller| {
            let done = &done;
            async move {
                let mut took = Vec::new();
                let mut due = began + between.mul_f64(caller as f64 / CALLERS as f64);
                for user in users.iter().cycle().skip(caller * users.len() / CALLERS) {
                    sleep_until(due.into()).await;
                    if done.get() {
                        break;
                    }
                    client.export(user).await?;
                    took.push(due.elapsed());
                    due += between;
                }
                anyhow::Ok(took)
            }
        });
        let until_done = async {
            meanwhile.await?;
            done.set(true);
            anyhow::Ok(())
        };
        let (calls, ()) = futures::future::try_join(try_join_all(callers), until_done).await?;
        took = calls.concat();
        Ok(took.len() as f64)
    })
    .await?;
    Ok(Sample { p99: percentile(&mut took, 99)?.as_secs_f64(), ..sample })
}
