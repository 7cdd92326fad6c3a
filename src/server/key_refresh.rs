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
pub async fn refresh(ring: &KeyRing, repository: &Repository) -> Result<Vec<UnreadableApiKey>, Error> {
    let read_at = Instant::now();
    let live = repository.live_api_keys().await?;
    ring.refresh(live.keys, read_at);
    Ok(live.unreadable)
}

/// Reads the keys again and again until `stop`. A failure is logged once, and so is its end; a key that cannot be read, once.
pub async fn keep_fresh(ring: Arc<KeyRing>, repository: Repository, stop: CancellationToken) {
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

#[cfg(test)]
mod tests {
    use tokio::time::sleep;
    use tonic::{Request, Status, service::Interceptor};

    use super::*;
    use crate::{
        config::auth::AuthConfig,
        domain::{
            api_key::{ApiKey, RANDOM_BYTES},
            principal::Permissions,
            subject::ApplicationId,
            timestamp::{Clock, Timestamp},
        },
        grpc::auth::{AuthInterceptor, Issuers},
    };

    /// Calls with the key until the answer is `accepted`, for as long as a revocation may take.
    async fn until_accepted_is(accepted: bool, interceptor: &AuthInterceptor, key: &str) {
        let call = || -> Result<_, Status> {
            let mut request = Request::new(());
            request.metadata_mut().insert("x-application-id", "DEMO".parse().unwrap());
            request.metadata_mut().insert("x-api-key", key.parse().unwrap());
            interceptor.clone().call(request)
        };
        let begun = Instant::now();
        while call().is_ok() != accepted {
            assert!(begun.elapsed() < Duration::from_secs(5), "accepted is not {accepted} within 5 s");
            sleep(Duration::from_millis(20)).await;
        }
    }

    #[tokio::test]
    async fn a_new_key_is_accepted_and_a_revoked_one_refused_within_seconds() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/userdata.db", folder.path().display()).parse().unwrap();
        let repository = Repository::open(&url, 2, Clock::default()).await.unwrap();
        repository.migrate().await.unwrap();

        let ring = Arc::new(KeyRing::default());
        let issuers = Issuers::new(&AuthConfig::default()).unwrap();
        let interceptor = AuthInterceptor::new(ring.clone(), issuers.into(), Clock::default());
        let stop = CancellationToken::new();
        let refreshing = tokio::spawn(keep_fresh(ring, repository.clone(), stop.clone()));

        let application = ApplicationId::parse("DEMO").unwrap();
        let (key, text) = ApiKey::mint(&[7; RANDOM_BYTES], application.clone(), Permissions::default(), Timestamp(1), None);
        repository.insert_api_key(&key).await.unwrap();
        until_accepted_is(true, &interceptor, text.expose()).await;

        assert!(repository.revoke_api_key(&key.id, Timestamp(2)).await.unwrap());
        assert!(repository.revoke_api_key(&key.id, Timestamp(3)).await.unwrap());
        until_accepted_is(false, &interceptor, text.expose()).await;
        let kept = repository.list_api_keys(Some(&application)).await.unwrap().keys;
        assert_eq!(kept[0].revoked_at, Some(Timestamp(2)));
        assert!(repository.list_api_keys(Some(&ApplicationId::parse("OTHER").unwrap())).await.unwrap().keys.is_empty());

        stop.cancel();
        refreshing.await.unwrap();
    }
}
