//! The connections, which are scarce, shared out among applications: one alone never has all of them, so the calls of another find one
//! that is free, or will be as soon as a short piece of work is done.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::Error;
use crate::domain::subject::ApplicationId;

/// How many of some connections an application may use at once. Of applications there are as many as have credentials.
#[derive(Clone, Debug)]
pub(super) struct Shares {
    each: usize,
    patience: Duration,
    of: Arc<Mutex<HashMap<ApplicationId, Arc<Semaphore>>>>,
}

/// A part of an application's share, until nobody has it any more.
pub(super) type Share = Arc<OwnedSemaphorePermit>;

impl Shares {
    /// Shares of so many connections: all but a quarter, where there is more than one. A call waits for its part with such patience.
    pub(super) fn of(connections: u32, patience: Duration) -> Self {
        let connections = connections.max(1) as usize;
        let each = (connections - (connections / 4).max(1)).max(1);
        Self { each, patience, of: Arc::default() }
    }

    /// A part of the share of `application`, once no other call of it has it.
    pub(super) async fn take(&self, application: &ApplicationId) -> Result<Share, Error> {
        let late = |_| Error::Unavailable("other calls of the application have the connections that it may use".to_owned());
        timeout(self.patience, self.take_in_turn(application)).await.map_err(late)?
    }

    /// The same, however late, for what settles that which was accepted. The turn comes: of those before, some have a part, which they
    /// give back, and the others are not more patient than their patience, or settle something too.
    pub(super) async fn take_in_turn(&self, application: &ApplicationId) -> Result<Share, Error> {
        let share = {
            let mut shares = self.of.lock().unwrap_or_else(PoisonError::into_inner);
            match shares.get(application) {
                Some(share) => Arc::clone(share),
                None => Arc::clone(shares.entry(application.clone()).or_insert_with(|| Arc::new(Semaphore::new(self.each)))),
            }
        };
        // It is never closed.
        share.acquire_owned().await.map(Arc::new).map_err(|error| Error::Unavailable(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_share_is_never_all_but_always_something() {
        for (connections, each) in [(0, 1), (1, 1), (2, 1), (3, 2), (4, 3), (8, 6), (10, 8), (100, 75)] {
            assert_eq!(Shares::of(connections, Duration::ZERO).each, each, "{connections}");
        }
    }

    #[tokio::test]
    async fn an_application_waits_for_its_own_calls_alone() {
        let shares = Shares::of(2, Duration::from_millis(20));
        let [one, other] = ["ONE", "OTHER"].map(|name| ApplicationId::parse(name).unwrap());
        let part = shares.take(&one).await.unwrap();
        assert!(matches!(shares.take(&one).await, Err(Error::Unavailable(_))));
        drop(shares.take(&other).await.unwrap());

        let mut in_turn = std::pin::pin!(shares.take_in_turn(&one));
        assert!(in_turn.as_mut().now_or_never().is_none());
        assert!(shares.take(&one).await.is_err(), "whoever came later has overtaken");
        drop(part);
        drop(in_turn.await.unwrap());
        drop(shares.take(&one).await.unwrap());
    }
}
