//! The first thing a request meets.

use std::{sync::Arc, time::Instant};

use tonic::{Request, Status, metadata::MetadataMap, service::Interceptor};

use super::{
    credential::{Credential, Proof},
    issuers::Issuers,
    key_ring::KeyRing,
    refusal::Refusal,
};
use crate::{
    domain::{
        principal::{Permission, Principal},
        timestamp::Clock,
    },
    grpc::status,
};

/// Puts the [`Principal`] of the credential into the request's extensions, or answers in its place.
///
/// Every refusal is the same status, so that nobody learns what was nearly right. Only when the API keys in memory are too old to be
/// trusted is the answer UNAVAILABLE, to any text with the form of a key.
#[derive(Clone)]
pub struct AuthInterceptor {
    keys: Arc<KeyRing>,
    issuers: Arc<Issuers>,
    clock: Clock,
    /// What no caller may do here.
    withheld: Option<Permission>,
}

impl AuthInterceptor {
    /// An interceptor that believes `keys` and `issuers`.
    pub fn new(keys: Arc<KeyRing>, issuers: Arc<Issuers>, clock: Clock) -> Self {
        Self { keys, issuers, clock, withheld: None }
    }

    /// The same for a listener at which no caller may do `permission`.
    #[must_use]
    pub fn withholding(self, permission: Permission) -> Self {
        Self { withheld: Some(permission), ..self }
    }

    fn principal(&self, metadata: &MetadataMap) -> Result<Principal, Refusal> {
        let credential = Credential::read(metadata)?;
        let principal = match credential.proof {
            Proof::ApiKey(_) if credential.application.is_none() => return Err(Refusal::NoApplication),
            Proof::ApiKey(key) => self.keys.principal(key, self.clock.now(), Instant::now())?,
            Proof::Jwt(token) => self.issuers.principal(token)?,
        };
        match credential.application {
            Some(application) if application != principal.application().as_str() => Err(Refusal::WrongApplication),
            _ => Ok(principal),
        }
    }
}

impl Interceptor for AuthInterceptor {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        match self.principal(request.metadata()) {
            Ok(principal) => {
                let principal = match self.withheld {
                    Some(permission) => principal.without(permission),
                    None => principal,
                };
                request.extensions_mut().insert(principal);
                Ok(request)
            }
            Err(refusal) => {
                tracing::debug!(%refusal, "credential refused");
                Err(if refusal == Refusal::KeysTooOld { status::database_unavailable() } else { status::unauthenticated() })
            }
        }
    }
}
