//! API keys: their form, their making, and the test whether one is the other's.
//!
//! A key is `udk_<id>_<secret>`: 64 random bits that name it and 256 that prove it, in hex. Only its SHA-256 digest is kept. The secret is
//! as random as the digest, so a slow hash would protect nothing and cost every call. Absent on purpose: where keys are kept
//! (`repository`), and where they are checked (`grpc::auth`).

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::{
    principal::Permissions,
    secret::{Secret, shows_nothing},
    subject::ApplicationId,
    timestamp::Timestamp,
};

const PREFIX: &str = "udk_";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;

/// How many random bytes make a key.
pub const RANDOM_BYTES: usize = ID_BYTES + SECRET_BYTES;

/// How many bytes of a key are kept.
pub const DIGEST_BYTES: usize = 32;

/// The public name of a key: 16 lower-case hex digits. For logs, lists and revocation; it proves nothing.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ApiKeyId(String);

impl ApiKeyId {
    /// Reads an id; `None` if the text is none.
    pub fn parse(text: &str) -> Option<Self> {
        is_hex(text, ID_BYTES).then(|| Self(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ApiKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The SHA-256 of a whole key. Not `PartialEq`, so that nothing compares two but [`matches`](Self::matches); never shown.
#[derive(Clone, Copy)]
pub struct ApiKeyDigest([u8; DIGEST_BYTES]);

impl ApiKeyDigest {
    /// A digest as the database keeps it.
    pub fn from_bytes(bytes: [u8; DIGEST_BYTES]) -> Self {
        Self(bytes)
    }

    /// The digest for the database.
    pub fn as_bytes(&self) -> &[u8; DIGEST_BYTES] {
        &self.0
    }

    fn of(key: &str) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// Whether both are the same, in the same time whatever they are.
    pub fn matches(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

shows_nothing!(ApiKeyDigest);

/// What is kept of a key.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// Its public name.
    pub id: ApiKeyId,
    /// The tenant it belongs to.
    pub application: ApplicationId,
    /// What proves it.
    pub digest: ApiKeyDigest,
    /// What it permits.
    pub permissions: Permissions,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by itself; `None` for never.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl ApiKey {
    /// Makes a key from random bytes: what to keep, and what to show once.
    pub fn mint(
        random: &[u8; RANDOM_BYTES],
        application: ApplicationId,
        permissions: Permissions,
        created_at: Timestamp,
        expires_at: Option<Timestamp>,
    ) -> (Self, Secret) {
        let (id, secret) = random.split_at(ID_BYTES);
        let id = ApiKeyId(hex::encode(id));
        let text = format!("{PREFIX}{id}_{}", hex::encode(secret));
        let digest = ApiKeyDigest::of(&text);
        (Self { id, application, digest, permissions, created_at, expires_at, revoked_at: None }, text.into())
    }

    /// Whether the key is neither revoked nor expired at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// A key as a caller shows it: its form is right, nothing else is known.
pub struct ShownApiKey {
    /// The name it gives itself.
    pub id: ApiKeyId,
    /// To be compared with what is kept under that name.
    pub digest: ApiKeyDigest,
}

impl ShownApiKey {
    /// Reads a key, strictly: lower-case hex of the exact lengths, nothing before or after. `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let id = ApiKeyId::parse(id)?;
        is_hex(secret, SECRET_BYTES).then(|| Self { id, digest: ApiKeyDigest::of(text) })
    }
}

fn is_hex(text: &str, bytes: usize) -> bool {
    text.len() == 2 * bytes && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mint(random: u8) -> (ApiKey, Secret) {
        let application = ApplicationId::parse("DEMO").unwrap();
        let mut bytes = [random; RANDOM_BYTES];
        bytes[..ID_BYTES].fill(0x1a);
        ApiKey::mint(&bytes, application, Permissions::default(), Timestamp(1), Some(Timestamp(9)))
    }

    #[test]
    fn a_minted_key_is_read_back_and_matches_what_is_kept() {
        let (kept, text) = mint(0xab);
        let shown = ShownApiKey::parse(text.expose()).unwrap();
        assert_eq!(shown.id, kept.id);
        assert_eq!(text.expose().len(), 4 + 16 + 1 + 64);
        assert!(bool::from(shown.digest.matches(&kept.digest)));
        assert!(!bool::from(shown.digest.matches(&mint(0xac).0.digest)));
    }

    #[test]
    fn only_the_exact_form_is_a_key() {
        let (_, text) = mint(0xab);
        let text = text.expose();
        let bad = [
            String::new(),
            "udk_".into(),
            text.to_uppercase(),
            text.replace("udk_", "udx_"),
            format!("{text}0"),
            format!(" {text}"),
            format!("{text}\n"),
            text[..text.len() - 1].to_owned(),
            text.replacen('a', "g", 1),
            text.replacen("abab", "aba_", 1),
            text.replacen("_1a", "__", 1),
        ];
        for bad in bad {
            assert!(ShownApiKey::parse(&bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn nothing_of_a_key_is_shown_by_debug() {
        let (kept, text) = mint(0xab);
        let shown = format!("{kept:?} {text:?}");
        assert!(!shown.contains("ababababababababab"), "{shown}");
        assert!(!shown.contains(&hex::encode(kept.digest.as_bytes())), "{shown}");
    }

    #[test]
    fn a_key_lives_until_it_expires_or_is_revoked() {
        let (mut kept, _) = mint(1);
        assert!(kept.is_live(Timestamp(8)));
        assert!(!kept.is_live(Timestamp(9)));
        kept.revoked_at = Some(Timestamp(2));
        assert!(!kept.is_live(Timestamp(8)));
    }
}
