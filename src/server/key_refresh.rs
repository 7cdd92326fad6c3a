//! Keeps the API keys in memory as the database has them, so that a revoked key stops working within seconds on every replica.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    grpc::auth::KeyRing,
    repository::{Error, Repository, UnreadableApiKey},
};

/// How often the keys are read. Several reads may fail before the keys are too old.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long one read may take: a lost connection must not hold up the next.
const ENOUGH: Duration = Duration::from_secs(2);

/// Reads the keys once: before the server is ready. Gives those that cannot be read: they are refused, and the others are not.
///
/// # Errors
/// When the database cannot be read; the keys stay as they were.
pub(super) async fn refresh(ring: &KeyRing, repository: &Repository) -> Result<Vec<UnreadableApiKey>, Error> {
    let read_at = Instant::now();
    let live = repository.live_api_keys().await?;
    ring.refresh(live.keys, read_at);
    Ok(live.unreadable)
}

/// Reads the keys again and again until `stop`. A failure is logged once, and so is its end; a key that cannot be read, once.
pub(super) async fn keep_fresh(ring: Arc<KeyRing>, repository: Repository, stop: CancellationToken) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut failing, mut told) = (false, Vec::new());
    let read_again_and_again = async {
        loop {
            ticks.tick().await;
            let failure = match timeout(ENOUGH, refresh(&ring, &repository)).await {
                Ok(Ok(unreadable)) => {
                    for UnreadableApiKey { id, problem } in unreadable.iter().filter(|key| !told.contains(*key)) {
                        let key = id.as_ref().map(ToString::to_string);
                        tracing::error!(
                            key,
                            problem,
                            "an API key in the database cannot be read, and is refused; revoke it, and make another"
                        );
                    }
                    told = unreadable;
                    None
                }
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("the database does not answer".to_owned()),
            };
            match failure {
                Some(ref error) if !failing => tracing::warn!(error, "API keys cannot be read; they are refused until they can"),
                None if failing => tracing::info!("API keys can be read again"),
                _ => {}
            }
            failing = failure.is_some();
        }
    };
    let _ = stop.run_until_cancelled(read_again_and_again).await;
}
