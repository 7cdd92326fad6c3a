//! The worker that goes on removing the files of erased uploads, in every replica.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;
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
        let tried = AssertUnwindSafe(stop.run_until_cancelled(remove_files_due(&stores))).catch_unwind().await;
        match tried {
            Ok(None | Some(Ok(()))) => {}
            Ok(Some(Err(error))) => tracing::warn!(%error, "files of erased uploads are still to be removed; it is tried again"),
            // Where, the log has said already. Nothing else removes them, so it goes on as after any fault.
            Err(_) => tracing::error!("removing files of erased uploads panicked; it is tried again"),
        }
    }
}
