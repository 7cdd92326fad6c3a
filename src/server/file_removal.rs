//! The worker that goes on removing the files of erased uploads, in every replica.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{
    fault::planted,
    operations::{Stores, remove_files::remove_files_due},
};

/// How often it looks for what is due.
const INTERVAL: Duration = Duration::from_secs(1);

/// Removes what is due, until `stop`.
pub(super) async fn keep_removing(stores: Stores, stop: CancellationToken) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if planted("bug.worker-does-nothing") {
            continue;
        }
        // A try that is cut here is due again after its lease.
        if let Some(Err(error)) = stop.run_until_cancelled(remove_files_due(&stores)).await {
            tracing::warn!(%error, "files of erased uploads are still to be removed; it is tried again");
        }
    }
}
