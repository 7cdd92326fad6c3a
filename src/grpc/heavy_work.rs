//! Work that is more than a small read. Calls come in on threads that each have many of them to themselves (`server::service_thread`), so what
//! takes long runs elsewhere.

use std::panic::resume_unwind;

use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

/// Where such work runs. Cheap to clone.
#[derive(Clone)]
pub(super) struct HeavyWork(Handle);

impl HeavyWork {
    pub(super) fn on(runtime: Handle) -> Self {
        Self(runtime)
    }

    /// What `work` gives. It ends when its caller leaves, and if it panics, so does its caller.
    pub(super) async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        match AbortOnDropHandle::new(self.0.spawn(work)).await {
            Ok(output) => output,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The runtime ends, and with it the process.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Has `work` done, whoever leaves.
    pub(super) fn start(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(work);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn work_ends_when_its_caller_leaves() {
        let (held, mut dropped) = oneshot::channel::<()>();
        let work = async move {
            let _held = held;
            std::future::pending::<()>().await;
        };
        assert!(HeavyWork::on(Handle::current()).run(work).now_or_never().is_none());
        assert!((&mut dropped).await.is_err());
    }

    #[tokio::test]
    async fn a_panic_of_the_work_is_one_of_its_caller() {
        let heavy = HeavyWork::on(Handle::current());
        let caller = tokio::spawn(async move { heavy.run(async { panic!("on purpose") }).await });
        assert!(caller.await.unwrap_err().is_panic());
    }
}
