//! Why an operation could not be done.

use crate::{repository, vault};

/// Why an operation could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database.
    #[error(transparent)]
    Repository(#[from] repository::Error),
    /// The object store.
    #[error(transparent)]
    Vault(#[from] vault::Error),
}
