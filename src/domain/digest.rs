//! The digest of an export: SHA-256 over framed records. Its state can be put away and taken up again, so that an export resumed in
//! another stream, by another replica, ends with the same digest.

use sha2::{
    Digest, Sha256,
    digest::common::hazmat::{SerializableState, SerializedState},
};

/// The length of a put-away state.
pub const STATE_BYTES: usize = size_of::<SerializedState<Sha256>>();

/// SHA-256 over records, each framed by its kind and its length.
#[derive(Clone, Default)]
pub struct RecordDigest {
    sha256: Sha256,
    bytes: u64,
}

impl RecordDigest {
    /// Takes in one record: `kind` as a byte, the length as eight bytes, big-endian, and the record.
    pub fn record(&mut self, kind: u8, record: &[u8]) {
        let length = record.len() as u64;
        let mut head = [kind, 0, 0, 0, 0, 0, 0, 0, 0];
        head[1..].copy_from_slice(&length.to_be_bytes());
        self.sha256.update(head);
        self.sha256.update(record);
        self.bytes = self.bytes.saturating_add(length);
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
