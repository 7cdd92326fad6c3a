//! Of whom: applications, user tokens, and the subject, which only an authorised principal can name.

use sha2::{Digest, Sha256};

use super::{secret::shows_nothing, violation::Complaint};

/// The longest user token and the longest record id, in bytes.
pub const MAX_NAME_BYTES: usize = 256;

/// A tenant. 1 to 256 bytes, no control characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ApplicationId(String);

impl ApplicationId {
    /// Checks the form of an application's id.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: impl Into<String>) -> Result<Self, Complaint> {
        check_name(text.into()).map(Self)
    }

    /// The id as the application spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An application's own name for one of its users; unique only within the application. 1 to 256 bytes, no control characters.
///
/// It is personal data: neither `Debug` nor `Display` shows it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UserToken(String);

impl UserToken {
    /// Checks the form of a user token.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: impl Into<String>) -> Result<Self, Complaint> {
        check_name(text.into()).map(Self)
    }

    /// The token as the application spells it. Not for logs.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

shows_nothing!(UserToken);

/// Checks what all names have in common: present, at most [`MAX_NAME_BYTES`] long, without control characters.
///
/// # Errors
/// What is wrong with the name.
pub fn check_name(name: String) -> Result<String, Complaint> {
    if name.is_empty() {
        Err(Complaint::Missing)
    } else if name.len() > MAX_NAME_BYTES {
        Err(Complaint::TooLong { bytes: name.len(), limit: MAX_NAME_BYTES })
    } else if name.chars().any(char::is_control) {
        Err(Complaint::ControlCharacter)
    } else {
        Ok(name)
    }
}

/// The data subject that all work is done for, and the proof that a principal may have it done, or might when an erasure was accepted. Only
/// [`Principal::authorise`](super::principal::Principal::authorise) makes one, or the records of such an erasure. Nothing in the repository works
/// without one.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Subject {
    application: ApplicationId,
    user_token: UserToken,
}

impl Subject {
    /// Only for [`Principal::authorise`](super::principal::Principal::authorise).
    pub(super) fn new(application: ApplicationId, user_token: UserToken) -> Self {
        Self { application, user_token }
    }

    /// The subject of an erasure that was accepted, read back from its records: the principal was authorised then, and what is left to do
    /// is done whether it still is or not.
    pub fn of_accepted_erasure(application: ApplicationId, user_token: UserToken) -> Self {
        Self::new(application, user_token)
    }

    /// The tenant it belongs to.
    pub fn application(&self) -> &ApplicationId {
        &self.application
    }

    /// Its name within the tenant. Not for logs.
    pub fn user_token(&self) -> &UserToken {
        &self.user_token
    }

    /// A digest for one purpose that has begun with the subject: what is added makes no other subject of it. Names of objects in the store
    /// are made of it, and digests that the database keeps.
    pub fn hash(&self, purpose: &[u8]) -> Sha256 {
        let mut sha256 = Sha256::new_with_prefix(purpose);
        for part in [&self.application.0, &self.user_token.0] {
            sha256.update((part.len() as u64).to_be_bytes());
            sha256.update(part);
        }
        sha256
    }
}
