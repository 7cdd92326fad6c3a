//! Why an operation could not be done.

use crate::{repository, vault};

/// Why an operation could not be done. The text is for the log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database cannot be reached, or is not taking statements.
    #[error("the database is unavailable: {0}")]
    DatabaseUnavailable(String),
    /// An erasure was accepted, but what became of its files could not be noted.
    #[error("an erasure was accepted, but what became of its files could not be noted: {0}")]
    NotSettled(String),
    /// Other calls for the same subject were in the way, more often than an operation is tried again.
    #[error("other transactions were in the way: {0}")]
    Conflict(String),
    /// The caller's id of the request is that of another request.
    #[error("the request id is that of another request")]
    RequestIdReused,
    /// The subject's data is not what was previewed.
    #[error("the subject's data is not what was previewed")]
    PlanChanged,
    /// The subject was erased while it was exported.
    #[error("the subject was erased meanwhile")]
    ErasedMeanwhile,
    /// The content of an upload was replaced while it was exported.
    #[error("content was replaced meanwhile")]
    ReplacedMeanwhile,
    /// The object store.
    #[error(transparent)]
    ObjectStore(vault::Error),
    /// What cannot be, if this program is right.
    #[error(transparent)]
    Unforeseen(repository::Error),
}

impl Error {
    /// Why an erasure that was accepted could not be settled: not as if nothing had happened.
    pub(super) fn not_settled(error: repository::Error) -> Self {
        match Self::from(error) {
            Self::DatabaseUnavailable(reason) | Self::Conflict(reason) => Self::NotSettled(reason),
            error => error,
        }
    }
}

impl From<repository::Error> for Error {
    fn from(error: repository::Error) -> Self {
        match error {
            repository::Error::Unavailable(reason) => Self::DatabaseUnavailable(reason),
            repository::Error::Conflict(reason) => Self::Conflict(reason),
            repository::Error::CommitUnknown(_) => Self::DatabaseUnavailable(error.to_string()),
            repository::Error::RequestIdReused => Self::RequestIdReused,
            repository::Error::PlanChanged => Self::PlanChanged,
            repository::Error::ErasedMeanwhile => Self::ErasedMeanwhile,
            repository::Error::Corrupt(_)
            | repository::Error::Refused(_)
            | repository::Error::Remained(_)
            | repository::Error::SchemaBehind(_)
            | repository::Error::SchemaAhead
            | repository::Error::HalfWalled
            | repository::Error::NoServiceRole(_) => Self::Unforeseen(error),
        }
    }
}

impl From<vault::Error> for Error {
    fn from(error: vault::Error) -> Self {
        match error {
            vault::Error::Replaced => Self::ReplacedMeanwhile,
            vault::Error::Refused | vault::Error::Unavailable => Self::ObjectStore(error),
        }
    }
}
