//! One file per table, as the migrations make it. Rows stay in the repository: what leaves it are the records of the domain.

pub(super) mod accepted_request;
pub(super) mod api_key;
pub(super) mod assistant;
pub(super) mod compaction_cache;
pub(super) mod conversation;
pub(super) mod feedback;
pub(super) mod memory;
pub(super) mod message;
pub(super) mod session;
pub(super) mod subject;
pub(super) mod upload;
pub(super) mod upload_embedding;

use sea_orm::FromJsonQueryResult;
use serde::{Deserialize, Serialize};

use crate::domain::secret::shows_nothing;

/// A list of texts, kept as JSON.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
pub(super) struct Texts(pub(super) Vec<String>);

/// The experience a memory tells, kept as JSON.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
pub(super) struct Episode {
    pub(super) observation: String,
    pub(super) thoughts: String,
    pub(super) action: String,
    pub(super) result: String,
}

shows_nothing!(Texts, Episode);

// sea-orm derives the `Debug` of each `ActiveModel`, and that shows all: tests/it/structure.rs sees to it that nothing here is formatted so.
shows_nothing!(
    accepted_request::Model,
    api_key::Model,
    assistant::Model,
    compaction_cache::Model,
    conversation::Model,
    feedback::Model,
    memory::Model,
    message::Model,
    session::Model,
    subject::Model,
    upload::Model,
    upload_embedding::Model
);
