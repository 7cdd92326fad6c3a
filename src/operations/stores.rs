//! The two stores that operations join. To those who call operations they are one thing, with nothing to be done to it.

use crate::{repository::Repository, vault::Vault};

/// The database and the object store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stores {
    pub(super) repository: Repository,
    pub(super) vault: Vault,
}

impl Stores {
    /// Joins the two.
    pub fn new(repository: Repository, vault: Vault) -> Self {
        Self { repository, vault }
    }
}
