//! The text by which a broken export continues, in any stream and on any replica.
//!
//! A token carries the state of its export, and a check that binds it to its subject: a damaged token, or another subject's, does not
//! open. It is no credential. Whoever shows one must be permitted to export the subject, and a forged one can only make its holder's own
//! export begin elsewhere or end with another digest.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::Digest;

use super::{
    category::{Categories, Category},
    counts::RecordCounts,
    digest::{ExportDigest, STATE_BYTES},
    position::{InConversation, InUpload, Position},
    record::RecordKey,
    subject::{Subject, check_name},
    timestamp::Timestamp,
};

const VERSION: u8 = 1;
const CHECK_BYTES: usize = 16;
/// Most tokens are shorter before they are encoded.
const USUAL_BYTES: usize = 512;

/// No token is longer: a longer text is not even decoded.
pub const MAX_TOKEN_BYTES: usize = 4096;

/// What an export was asked for; a token only continues an export that is asked for the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExportChoices {
    /// What to export.
    pub categories: Categories,
    /// Also what was forgotten and soft-deleted.
    pub include_deleted: bool,
    /// Also the content of uploads.
    pub include_upload_content: bool,
}

/// The state of an export between two frames.
#[derive(Clone)]
pub struct ExportState {
    /// Where it stands.
    pub position: Position,
    /// The subject's epoch when it began; an erasure since then ends it.
    pub epoch: i64,
    /// When it began.
    pub as_of: Timestamp,
    /// The records so far.
    pub counts: RecordCounts,
    /// Their digest so far.
    pub digest: ExportDigest,
}

impl ExportState {
    /// The token that continues from here.
    pub fn seal(&self, subject: &Subject, choices: ExportChoices) -> String {
        let mut bytes = Vec::with_capacity(USUAL_BYTES);
        bytes.push(VERSION);
        bytes.extend(self.epoch.to_be_bytes());
        bytes.extend(self.as_of.0.to_be_bytes());
        for category in Category::ALL {
            bytes.extend(self.counts.of(category).to_be_bytes());
        }
        let (length, state) = self.digest.state();
        bytes.extend(length.to_be_bytes());
        bytes.extend(state);
        put_position(&mut bytes, &self.position);
        let check = check(subject, choices, &bytes);
        bytes.extend(check);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The state that a token carries; `None` if it is damaged, or of another subject or other choices.
    pub fn open(token: &str, subject: &Subject, choices: ExportChoices) -> Option<Self> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (bytes, found) = bytes.split_last_chunk::<CHECK_BYTES>()?;
        if check(subject, choices, bytes) != *found {
            return None;
        }
        let mut rest = Reader(bytes);
        if rest.byte()? != VERSION {
            return None;
        }
        let epoch = i64::from_be_bytes(rest.array()?);
        let as_of = Timestamp(i64::from_be_bytes(rest.array()?));
        let mut counts = RecordCounts::default();
        for category in Category::ALL {
            counts.add(category, u32::from_be_bytes(rest.array()?));
        }
        let length = u64::from_be_bytes(rest.array()?);
        let digest = ExportDigest::resume(length, rest.array::<STATE_BYTES>()?)?;
        let position = rest.position()?;
        rest.0.is_empty().then_some(Self { position, epoch, as_of, counts, digest })
    }
}

/// Binds the bytes of a token to the export they belong to.
fn check(subject: &Subject, choices: ExportChoices, bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let mut hash = subject.hash(b"userdata resume token");
    hash.update(choices.categories.bits().to_be_bytes());
    hash.update([u8::from(choices.include_deleted), u8::from(choices.include_upload_content)]);
    hash.update(bytes);
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&hash.finalize()[..CHECK_BYTES]);
    check
}

fn put_position(bytes: &mut Vec<u8>, position: &Position) {
    let mut put = |kind: u8, key: &RecordKey| {
        bytes.push(kind);
        put_key(bytes, key);
    };
    match position {
        Position::Start => bytes.push(0),
        Position::Conversation(conversation, within) => {
            put(1, conversation);
            match within {
                InConversation::Header => bytes.push(0),
                InConversation::Message(message) => {
                    bytes.push(1);
                    put_key(bytes, message);
                }
                InConversation::Feedback(feedback) => {
                    bytes.push(2);
                    put_key(bytes, feedback);
                }
            }
        }
        Position::Feedback(key) => put(2, key),
        Position::Memory(key) => put(3, key),
        Position::Upload(key, within) => {
            put(4, key);
            let (offset, version) = match within {
                InUpload::Content { offset, version } => (*offset, *version),
                InUpload::Complete => (u64::MAX, 0),
            };
            bytes.extend(offset.to_be_bytes());
            bytes.extend(version.to_be_bytes());
        }
        Position::Assistant(key) => put(5, key),
        Position::Session(key) => put(6, key),
        Position::CompactionCache(key) => put(7, key),
        Position::End => bytes.push(8),
    }
}

fn put_key(bytes: &mut Vec<u8>, key: &RecordKey) {
    // No id is longer than MAX_NAME_BYTES, so its length always fits.
    let length = u16::try_from(key.id.len()).unwrap_or(u16::MAX);
    bytes.extend(key.created_at.0.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes.extend(key.id.as_bytes());
}

/// The rest of a token's bytes; every method is `None` where they end too soon or make no sense.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }

    fn key(&mut self) -> Option<RecordKey> {
        let created_at = Timestamp(i64::from_be_bytes(self.array()?));
        let length = usize::from(u16::from_be_bytes(self.array()?));
        let (id, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(RecordKey { created_at, id: check_name(str::from_utf8(id).ok()?.to_owned()).ok()? })
    }

    fn position(&mut self) -> Option<Position> {
        Some(match self.byte()? {
            0 => Position::Start,
            1 => {
                let conversation = self.key()?;
                let within = match self.byte()? {
                    0 => InConversation::Header,
                    1 => InConversation::Message(self.key()?),
                    2 => InConversation::Feedback(self.key()?),
                    _ => return None,
                };
                Position::Conversation(conversation, within)
            }
            2 => Position::Feedback(self.key()?),
            3 => Position::Memory(self.key()?),
            4 => {
                let key = self.key()?;
                let (offset, version) = (u64::from_be_bytes(self.array()?), u64::from_be_bytes(self.array()?));
                let within = match (offset, version) {
                    (u64::MAX, 0) => InUpload::Complete,
                    (u64::MAX, _) => return None,
                    (offset, version) => InUpload::Content { offset, version },
                };
                Position::Upload(key, within)
            }
            5 => Position::Assistant(self.key()?),
            6 => Position::Session(self.key()?),
            7 => Position::CompactionCache(self.key()?),
            8 => Position::End,
            _ => return None,
        })
    }
}
