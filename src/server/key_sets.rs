//! Fetches the JSON Web Key Sets that issuers publish, again and again, beside the calls: no call waits for one, and no token has one fetched,
//! whatever key it names.

use std::{error::Error as _, fmt::Write, sync::Arc, time::Duration};

use futures::future::join_all;
use reqwest::{Client, StatusCode, redirect::Policy};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{
    config::auth::{AuthConfig, IssuerKeys, MIN_JWKS_MAX_AGE},
    grpc::auth::{Issuers, KeyError},
};

/// How long one fetch may take, to its last byte.
const ENOUGH: Duration = Duration::from_secs(5);

/// The longest set that is read.
const MAX_BYTES: usize = 64 * 1024;

/// Why the keys stay as they were.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{}", in_full(.0))]
    Transport(#[from] reqwest::Error),
    #[error("the answer is {0}")]
    Status(StatusCode),
    #[error("the answer is longer than 64 KiB")]
    TooLong,
    #[error("{0}")]
    Keys(#[from] KeyError),
}

/// The error with its causes, and without the URL.
fn in_full(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() { "no answer in time".to_owned() } else { "no answer".to_owned() };
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string does not fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

/// What one issuer publishes.
pub(super) struct KeySet {
    issuer: String,
    url: Url,
    issuers: Arc<Issuers>,
    client: Client,
    max_age: Duration,
    /// How many fetches have failed, or gave no keys, since the last that gave some.
    failures: u32,
    /// Whether the last that did not fail gave no keys.
    is_empty: bool,
}

impl KeySet {
    /// The sets of all issuers that publish theirs.
    ///
    /// # Errors
    /// When the machine has no certificates to verify others with.
    pub(super) fn of(config: &AuthConfig, issuers: &Arc<Issuers>) -> Result<Vec<Self>, reqwest::Error> {
        let published = config.issuers.iter().filter_map(|issuer| match &issuer.keys {
            IssuerKeys::JwkSetUrl(url) => Some((issuer.issuer.clone(), url.clone())),
            _ => None,
        });
        published
            .map(|(issuer, url)| {
                // Only the address that was configured, and was found to be a safe one, is asked.
                let client = Client::builder().redirect(Policy::none()).timeout(ENOUGH);
                // Plain text is for this machine: no proxy shall see it, whatever the environment says.
                let client = if url.scheme() == "http" { client.no_proxy() } else { client }.build()?;
                Ok(Self { issuer, url, issuers: Arc::clone(issuers), client, max_age: config.jwks_max_age, failures: 0, is_empty: false })
            })
            .collect()
    }

    /// Fetches the set and has its keys used; if that fails, the last ones stay. Failures are logged once, and so is their end, and that
    /// there are no keys.
    pub(super) async fn refresh(&mut self) {
        let issuer = &self.issuer;
        match self.fetch().await.and_then(|set| Ok(self.issuers.replace_keys(issuer, &set)?)) {
            Ok(true) => {
                if self.failures > 0 {
                    tracing::info!(issuer, "the issuer's JSON Web Key Set can be used again");
                }
                (self.failures, self.is_empty) = (0, false);
            }
            Ok(false) => {
                if !self.is_empty {
                    tracing::error!(issuer, "the issuer publishes no key for its algorithm: its tokens are refused until it does");
                }
                (self.failures, self.is_empty) = (self.failures.saturating_add(1), true);
            }
            Err(error) => {
                if self.failures == 0 {
                    tracing::warn!(issuer, %error, "the issuer's JSON Web Key Set cannot be used; the keys stay as they were");
                }
                self.failures = self.failures.saturating_add(1);
            }
        }
    }

    async fn fetch(&self) -> Result<Vec<u8>, Failure> {
        let mut response = self.client.get(self.url.clone()).send().await?;
        if response.status() != StatusCode::OK {
            return Err(Failure::Status(response.status()));
        }
        let mut set = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if set.len() + chunk.len() > MAX_BYTES {
                return Err(Failure::TooLong);
            }
            set.extend_from_slice(&chunk);
        }
        Ok(set)
    }

    /// How long until the next fetch: the age a set may have; after failures half a minute, a minute, two, until that age.
    fn pause(&self) -> Duration {
        let doubled = self.failures.checked_sub(1).map(|doublings| MIN_JWKS_MAX_AGE.saturating_mul(2_u32.saturating_pow(doublings)));
        doubled.map_or(self.max_age, |pause| pause.min(self.max_age))
    }
}

/// Fetches all sets once: before the server is ready. One that cannot be had does not keep the others, or API keys, from being believed.
pub(super) async fn refresh(sets: &mut [KeySet]) {
    join_all(sets.iter_mut().map(KeySet::refresh)).await;
}

/// Fetches the sets again and again until `stop`.
pub(super) async fn keep_fresh(mut sets: Vec<KeySet>, stop: CancellationToken) {
    let each = sets.iter_mut().map(|set| async move {
        loop {
            sleep(set.pause()).await;
            set.refresh().await;
        }
    });
    let _: Option<Vec<()>> = stop.run_until_cancelled(join_all(each)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_failures_the_pause_doubles_from_the_floor_to_the_age() {
        let mut set = KeySet {
            issuer: String::new(),
            url: "https://id.example/jwks".parse().unwrap(),
            issuers: Issuers::new(&AuthConfig::default()).unwrap().into(),
            client: Client::new(),
            max_age: Duration::from_secs(300),
            failures: 0,
            is_empty: false,
        };
        let mut after = |failures| {
            set.failures = failures;
            set.pause().as_secs()
        };
        assert_eq!([0, 1, 2, 3, 4, 5, 33, u32::MAX].map(&mut after), [300, 30, 60, 120, 240, 300, 300, 300]);
    }
}
