//! What a caller may demand of an erasure: that it happens once, and that it does what was previewed.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{
    report::{MessagesDeleted, ScopesErased},
    scope::{Chosen, Scopes},
    subject::Subject,
    violation::Complaint,
};

/// What is to be erased.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Erasure {
    /// All messages.
    Messages {
        /// Also the texts that were made of them: titles and notes.
        scrub: bool,
    },
    /// Scopes of the personal data.
    Scopes(Scopes),
}

impl Erasure {
    /// The choices in one byte, another for every erasure.
    fn choices(self) -> u8 {
        match self {
            Self::Messages { scrub } => 1 << 7 | u8::from(scrub),
            Self::Scopes(scopes) => {
                let Chosen { dialogues, vault, memory, assistants, feedback, sessions } = scopes.chosen();
                let chosen = [dialogues, vault, memory, assistants, feedback, sessions];
                chosen.into_iter().enumerate().fold(0, |bits, (nth, chosen)| bits | u8::from(chosen) << nth)
            }
        }
    }
}

/// The conditions under which an erasure may take place.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Terms {
    /// Only if it has not taken place before.
    pub once: Option<Once>,
    /// Only if it does what this plan says.
    pub plan: Option<PlanDigest>,
}

/// A request that takes effect once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Once {
    /// The caller's id of the request.
    pub id: RequestId,
    /// What was requested: SHA-256 of the subject, what is to be erased, and the plan.
    pub digest: [u8; 32],
}

impl Once {
    /// The request `id` for this erasure.
    pub fn new(id: RequestId, subject: &Subject, erasure: Erasure, plan: Option<&PlanDigest>) -> Self {
        let mut sha256 = begin(b"userdata request", subject, erasure);
        sha256.update(plan.map_or(&[][..], |plan| &plan.0));
        Self { id, digest: sha256.finalize().into() }
    }
}

/// A caller's id of a request: a UUID, spelled in lower case with hyphens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestId(String);

impl RequestId {
    /// Reads a UUID in any of its spellings.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Complaint> {
        match Uuid::try_parse(text) {
            Ok(uuid) => Ok(Self(uuid.hyphenated().to_string())),
            Err(_) => Err(Complaint::Rule("is not a UUID; make a new one for each request, and keep it for repetitions")),
        }
    }

    /// Its one spelling.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Stands for what an erasure would do: SHA-256 of the subject, what is to be erased, the revision of the subject's data, and how much
/// would go. Every import makes another revision; what another erasure took shows in the counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlanDigest([u8; 32]);

impl PlanDigest {
    /// The digest of a deletion of messages.
    pub fn of_messages(subject: &Subject, scrub: bool, revision: i64, report: &MessagesDeleted) -> Self {
        let MessagesDeleted { messages, conversations, compaction_cache, titles_scrubbed, notes_scrubbed, .. } = *report;
        let counts = [messages, conversations, compaction_cache, titles_scrubbed, notes_scrubbed];
        Self::of(subject, Erasure::Messages { scrub }, revision, &counts)
    }

    /// The digest of a scoped delete.
    pub fn of_scopes(subject: &Subject, scopes: Scopes, revision: i64, report: &ScopesErased) -> Self {
        let ScopesErased { dialogues, compaction_cache, uploads, bytes, memories, assistants, feedback, sessions, .. } = *report;
        let counts = [dialogues, compaction_cache, uploads, bytes.unsigned_abs(), memories, assistants, feedback, sessions];
        Self::of(subject, Erasure::Scopes(scopes), revision, &counts)
    }

    fn of(subject: &Subject, erasure: Erasure, revision: i64, counts: &[u64]) -> Self {
        let mut sha256 = begin(b"userdata plan", subject, erasure);
        sha256.update(revision.to_be_bytes());
        for count in counts {
            sha256.update(count.to_be_bytes());
        }
        Self(sha256.finalize().into())
    }

    /// Reads 64 hexadecimal digits.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(text: &str) -> Result<Self, Complaint> {
        let mut digest = [0; 32];
        match hex::decode_to_slice(text, &mut digest) {
            Ok(()) => Ok(Self(digest)),
            Err(_) => Err(Complaint::Rule("is not the `plan_digest` of a preview: 64 hexadecimal digits")),
        }
    }

    /// In lower-case hex.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }
}

fn begin(of_what: &[u8], subject: &Subject, erasure: Erasure) -> Sha256 {
    let mut sha256 = subject.hash(of_what);
    sha256.update([erasure.choices()]);
    sha256
}
