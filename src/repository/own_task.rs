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

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn work_goes_on_when_its_caller_leaves() {
        let (go_on, told) = oneshot::channel::<()>();
        let (done, outcome) = oneshot::channel();
        let work = in_own_task(async move { done.send(told.await) });
        assert!(work.now_or_never().is_none());
        go_on.send(()).unwrap();
        assert_eq!(outcome.await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn a_panic_of_the_work_is_one_of_its_caller() {
        let caller = tokio::spawn(in_own_task(async { panic!("on purpose") }));
        assert!(caller.await.unwrap_err().is_panic());
    }
}
