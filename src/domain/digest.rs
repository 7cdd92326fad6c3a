//! Digests of records, and the digest of an export, which is made of them.
//!
//! A message's digest is made when it is imported and kept beside it: so an export hashes 33 bytes for a message instead of all of it, and
//! its digest proves that what comes out is what once came in. The state of an export's digest can be put away and taken up again, so that
//! an export resumed in another stream, by another replica, ends with the same digest.

use sha2::{
    Digest, Sha256,
    digest::common::hazmat::{SerializableState, SerializedState},
};

/// The length of a record's digest.
pub const DIGEST_BYTES: usize = 32;

/// The length of a put-away state.
pub const STATE_BYTES: usize = size_of::<SerializedState<Sha256>>();

/// SHA-256 of a record's serialised form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordDigest([u8; DIGEST_BYTES]);

impl RecordDigest {
    /// The digest of a record that lies in several pieces.
    pub fn of(pieces: &[&[u8]]) -> Self {
        // Twice as fast, on the machines without instructions for it, as the crate whose state can be put away.
        let mut sha256 = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        for piece in pieces {
            sha256.update(piece);
        }
        let mut digest = [0; DIGEST_BYTES];
        digest.copy_from_slice(sha256.finish().as_ref());
        Self(digest)
    }

    /// A digest that was kept.
    pub fn from_bytes(bytes: [u8; DIGEST_BYTES]) -> Self {
        Self(bytes)
    }

    /// Its bytes, to be kept.
    pub fn as_bytes(&self) -> &[u8; DIGEST_BYTES] {
        &self.0
    }
}

/// SHA-256 over the digests of records, each behind a byte for its kind; and the sum of their lengths.
#[derive(Clone, Default)]
pub struct ExportDigest {
    sha256: Sha256,
    bytes: u64,
}

impl ExportDigest {
    /// Takes in one record of `length` bytes.
    pub fn take(&mut self, kind: u8, digest: &RecordDigest, length: usize) {
        self.sha256.update([kind]);
        self.sha256.update(digest.0);
        self.bytes = self.bytes.saturating_add(length as u64);
    }

    /// The sum of the lengths of all records.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The digest in lower-case hex.
    pub fn hex(&self) -> String {
        hex::encode(self.sha256.clone().finalize())
    }

    /// Puts the state away.
    pub fn state(&self) -> (u64, [u8; STATE_BYTES]) {
        (self.bytes, self.sha256.serialize().into())
    }

    /// Takes the state up again; `None` if it never was one.
    pub fn resume(bytes: u64, state: [u8; STATE_BYTES]) -> Option<Self> {
        let sha256 = Sha256::deserialize(&state.into()).ok()?;
        Some(Self { sha256, bytes })
    }
}
