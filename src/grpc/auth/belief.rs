//! Whether a caller is still believed whose call has begun: an import or an export may run for hours.

use std::{sync::Arc, time::Instant};

use tonic::Status;

use super::{key_ring::KeyRing, refusal::Refusal};
use crate::domain::{
    api_key::ApiKeyId,
    timestamp::{Clock, Timestamp},
};

/// That a credential was believed, and for how long. Cheap to clone.
#[derive(Clone)]
pub struct Belief {
    in_what: InWhat,
    clock: Clock,
}

#[derive(Clone)]
enum InWhat {
    Key(Arc<KeyRing>, ApiKeyId),
    /// Until then.
    Jwt(Timestamp),
}

impl Belief {
    pub(super) fn in_key(keys: Arc<KeyRing>, id: ApiKeyId, clock: Clock) -> Self {
        Self { in_what: InWhat::Key(keys, id), clock }
    }

    pub(super) fn in_jwt(until: Timestamp, clock: Clock) -> Self {
        Self { in_what: InWhat::Jwt(until), clock }
    }

    /// That the credential has neither been revoked nor expired since.
    ///
    /// # Errors
    /// UNAUTHENTICATED when it has; UNAVAILABLE when nobody knows, because the keys in memory are too old.
    pub fn lasts(&self) -> Result<(), Status> {
        let now = self.clock.now();
        let outcome = match &self.in_what {
            InWhat::Key(keys, id) => keys.knows(id, now, Instant::now()),
            InWhat::Jwt(until) if now < *until => Ok(()),
            InWhat::Jwt(_) => Err(Refusal::TokenNotValid),
        };
        outcome.map_err(Refusal::status)
    }
}
