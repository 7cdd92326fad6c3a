//! Threads for bulk work: reading the rest of an export that is larger than a block. They come after everything else that wants a
//! processor, and what they read holds up no small call; and they read while others send.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// How much lower than normal their priority is, in steps of `nice`.
const NICER: i32 = 10;

/// Starts them: one for each processor.
pub(super) fn start() -> io::Result<Runtime> {
    Builder::new_multi_thread().thread_name("bulk").worker_threads(std::env::var("X_BULK").ok().and_then(|v| v.parse().ok()).unwrap_or(2)).on_thread_start(lower_priority).enable_all().build()
}

fn lower_priority() {
    // On Linux it is the thread's own. Where the system refuses, bulk work is merely no slower.
    let _ = rustix::process::nice(std::env::var("X_NICE").ok().and_then(|v| v.parse().ok()).unwrap_or(NICER));
}
