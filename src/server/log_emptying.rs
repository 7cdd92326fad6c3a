//! Empties SQLite's log where an erasure could not: others were writing, or reading what it held.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::repository::Repository;

/// How often it looks whether something erased is left there.
const INTERVAL: Duration = Duration::from_secs(1);

/// Empties it again and again, until `stop`.
pub(super) async fn keep_empty(repository: Repository, stop: CancellationToken) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let again_and_again = async {
        loop {
            ticks.tick().await;
            repository.empty_log_in_turn().await;
        }
    };
    stop.run_until_cancelled(again_and_again).await;
}
