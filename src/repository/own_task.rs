//! Work that must come to its end although its caller may leave: whoever is dropped while waiting for it does not stop it.

use std::panic::resume_unwind;

/// Runs `work` in a task of its own, and gives what it gives. If it panics, so does this.
pub async fn in_own_task<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work).await {
        Ok(output) => output,
        // Nobody aborts the task, and a runtime that ends drops whoever waits: it has panicked.
        Err(error) => resume_unwind(error.into_panic()),
    }
}
