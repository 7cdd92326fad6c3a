//! PostgreSQL itself ends while the service works: the service serves again by itself, and what was promised holds.

use std::time::{Duration, Instant};

use crate::{
    cluster::{Cluster, End},
    lane::{Lane, work},
    person::Mood,
    program::Stores,
    trial::Trial,
};

/// How soon the service serves again once the database does: what docs/operations.md says.
const SERVES_AGAIN_WITHIN: Duration = Duration::from_secs(10);

/// The longest that work may go on before, in milliseconds.
const MOMENTS: usize = 250;

const USERS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn what_the_end_of_postgres_interrupts_is_whole_or_absent() {
    let trial = Trial::begin("crash of PostgreSQL itself");
    let mut cluster = Cluster::start(&mut trial.random("port"));
    let stores = Stores::make_in(&cluster.url).await;
    let mut server = stores.serve("").await;
    let mut lane = Lane::without_watch(&trial, &stores, "database");
    for _ in 0..trial.size(20, 60) {
        let mut workers = lane.settle_in(&server, USERS).await;
        let mut racer = lane.new_racer(&server).await;
        let how = *lane.random.pick(&[End::Kill, End::Kill, End::Immediate]);
        let moment = Duration::from_micros(lane.random.below(MOMENTS * 1000) as u64);
        let client = server.client();
        let killed = async {
            tokio::time::sleep(moment).await;
            tokio::task::block_in_place(|| cluster.end(how));
        };
        tokio::join!(work(&mut workers, &client, Mood::Anything, usize::MAX, &trial), racer.race(&client), killed);
        lane.killed(if how == End::Kill { "by kill -9" } else { "by an immediate stop" });
        lane.people.extend(workers);
        lane.racers.push(racer);

        tokio::task::block_in_place(|| cluster.restart());
        let up = Instant::now();
        while !server.is_serving().await {
            assert!(server.exit_status().is_none(), "the service ended with the database:\n{}", server.log());
            assert!(up.elapsed() < SERVES_AGAIN_WITHIN, "the service does not serve again after the database was away");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        trial.most("ms until the slowest service served again", up.elapsed().as_millis() as u64);
        lane.account(&server).await;
    }
    drop(server);
    trial.end();
}
