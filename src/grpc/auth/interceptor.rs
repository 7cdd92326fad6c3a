//! The first thing a request meets.

use std::{sync::Arc, time::Instant};

use tonic::{Request, Status, metadata::MetadataMap, service::Interceptor};

use super::{
    belief::Belief,
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
    telemetry::Call,
};

/// Puts the [`Principal`] of the credential into the request's extensions, with the [`Belief`] in it, or answers in its place.
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

    fn principal(&self, metadata: &MetadataMap) -> Result<(Principal, Belief), Refusal> {
        let credential = Credential::read(metadata)?;
        let (principal, belief) = match credential.proof {
            Proof::ApiKey(_) if credential.application.is_none() => return Err(Refusal::NoApplication),
            Proof::ApiKey(key) => {
                let (principal, id) = self.keys.principal(key, self.clock.now(), Instant::now())?;
                (principal, Belief::in_key(Arc::clone(&self.keys), id, self.clock))
            }
            Proof::Jwt(token) => {
                let (principal, until) = self.issuers.principal(token)?;
                (principal, Belief::in_jwt(until, self.clock))
            }
        };
        match credential.application {
            Some(application) if application != principal.application().as_str() => Err(Refusal::WrongApplication),
            _ => Ok((principal, belief)),
        }
    }
}

impl Interceptor for AuthInterceptor {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        match self.principal(request.metadata()) {
            Ok((principal, belief)) => {
                if let Some(call) = request.extensions().get::<Arc<Call>>() {
                    call.by(&principal);
                }
                let principal = match self.withheld {
                    Some(permission) => principal.without(permission),
                    None => principal,
                };
                request.extensions_mut().insert(principal);
                request.extensions_mut().insert(belief);
                Ok(request)
            }
            Err(refusal) => Err(refusal.status()),
        }
    }
}
