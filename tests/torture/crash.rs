//! Kills of the program, and what must hold after each: what was acknowledged is done, what was not is whole or absent, and an answer that
//! was given once is given again.

use userdata::repository::Engine;

use crate::{
    lane::{Lane, POINTS, WORKER_POINTS},
    program::Stores,
    trial::Trial,
};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_kill_interrupts_is_whole_or_absent_on_sqlite() {
    let trial = Trial::begin("crash SQLite");
    let (kills, worker_rounds) = (trial.size(300, 1_000), trial.size(2, 6));
    kill_everywhere(&trial, Engine::Sqlite, kills, 2, worker_rounds).await;
    trial.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_kill_interrupts_is_whole_or_absent_on_postgres() {
    let trial = Trial::begin("crash PostgreSQL");
    let (kills, worker_rounds) = (trial.size(50, 200), trial.size(1, 3));
    kill_everywhere(&trial, Engine::Postgres, kills, 1, worker_rounds).await;
    trial.end();
}

/// Kills so often, on several pairs of stores side by side.
async fn kill_everywhere(trial: &Trial, engine: Engine, kills: usize, lanes: usize, worker_rounds: usize) {
    futures::future::join_all((0..lanes).map(|nth| async move {
        let stores = Stores::make(engine).await;
        Lane::new(trial, &stores, &format!("lane {nth}")).await.run(kills.div_ceil(lanes), worker_rounds).await;
    }))
    .await;
    for point in POINTS.iter().chain(&WORKER_POINTS) {
        trial.check(trial.times(&format!("at {point}")) > 0, || format!("{point} has never ended the program"));
    }
}
