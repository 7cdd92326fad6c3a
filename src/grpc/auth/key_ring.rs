//! The API keys in memory.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;

use super::refusal::Refusal;
use crate::domain::{
    api_key::{ApiKey, ApiKeyDigest, ApiKeyId, DIGEST_BYTES, ShownApiKey},
    principal::Principal,
    timestamp::Timestamp,
};

/// How long keys once read admit anyone. A key that is revoked stops working within this time on every replica, even on one that has lost
/// the database.
pub(super) const MAX_AGE: Duration = Duration::from_secs(5);

/// All API keys that were not revoked when they were last read. Empty, and too old, until the first [`refresh`](Self::refresh).
#[derive(Default)]
pub struct KeyRing(ArcSwap<Snapshot>);

#[derive(Default)]
struct Snapshot {
    keys: HashMap<ApiKeyId, ApiKey>,
    read_at: Option<Instant>,
}

impl KeyRing {
    /// Replaces all keys by `keys`, as the database had them at `read_at` or later: the moment before they were asked for.
    pub fn refresh(&self, keys: impl IntoIterator<Item = ApiKey>, read_at: Instant) {
        let live = keys.into_iter().filter(|key| key.revoked_at.is_none());
        let keys = live.map(|key| (key.id.clone(), key)).collect();
        self.0.store(Snapshot { keys, read_at: Some(read_at) }.into());
    }

    /// The principal of a key as a caller shows it, and the key's id.
    pub(super) fn principal(&self, text: &str, now: Timestamp, instant: Instant) -> Result<(Principal, ApiKeyId), Refusal> {
        let shown = ShownApiKey::parse(text).ok_or(Refusal::KeyForm)?;
        let snapshot = self.0.load();
        snapshot.is_new_enough(instant)?;
        // An unknown id is compared too, with what nothing hashes to, so that the time tells nobody which ids exist.
        let known = snapshot.keys.get(&shown.id);
        let kept = known.map_or(ApiKeyDigest::from_bytes([0; DIGEST_BYTES]), |key| key.digest);
        let matches = bool::from(shown.digest.matches(&kept));
        let key = known.filter(|key| matches && key.is_live(now)).ok_or(Refusal::KeyNotLive)?;
        let key_id = key.id.as_str().to_owned();
        Ok((Principal::ApiKey { application: key.application.clone(), key_id, permissions: key.permissions }, shown.id))
    }

    /// That a key whose secret was shown before is still live.
    pub(super) fn knows(&self, id: &ApiKeyId, now: Timestamp, instant: Instant) -> Result<(), Refusal> {
        let snapshot = self.0.load();
        snapshot.is_new_enough(instant)?;
        snapshot.keys.get(id).filter(|key| key.is_live(now)).map(drop).ok_or(Refusal::KeyNotLive)
    }
}

impl Snapshot {
    fn is_new_enough(&self, instant: Instant) -> Result<(), Refusal> {
        let is_old = self.read_at.is_none_or(|read_at| instant.saturating_duration_since(read_at) > MAX_AGE);
        if is_old { Err(Refusal::KeysTooOld) } else { Ok(()) }
    }
}
