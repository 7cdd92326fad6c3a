//! All that knows sea-orm: entities, queries, transactions. Everything about a user takes a [`Subject`](crate::domain::subject::Subject),
//! so a query that forgets whose data it is about cannot be written. Absent on purpose: generated types, the object store.

mod accepted_request;
mod api_key;
mod assistant;
mod compaction_cache;
mod connect;
mod conversation;
mod delete_messages;
mod effects;
mod entity;
mod erasure;
mod erasure_status;
mod error;
mod feedback;
mod import;
mod memory;
mod message;
mod own_task;
mod page;
mod postgres_options;
mod postgres_reader;
mod preview;
mod query;
mod reader;
mod removal;
mod row;
mod row_security;
mod scoped_delete;
mod session;
mod share;
mod sqlite_log;
mod sqlite_reader;
mod subject;
mod transaction;
mod upload;
mod upsert;
mod verification;

pub use accepted_request::Accepted;
pub use api_key::{ApiKeys, UnreadableApiKey};
pub use connect::{Engine, SchemaState, StorageUrl};
pub use conversation::ConversationsFrom;
pub use error::Error;
pub use message::Stretch;
pub use own_task::in_own_task;
pub use page::{Page, PageSize};
pub use reader::Reading;
pub use removal::{Claim, LEASE, PendingUpload, Removals, StoredObjects};
pub use row_security::RowSecurity;
pub use scoped_delete::ErasedScopes;
pub use subject::Held;
pub use upload::{BegunContent, NoContent};

use reader::Reader;
use sea_orm::DatabaseConnection;
use share::Shares;
use sqlite_log::SqliteLog;

use crate::domain::timestamp::Clock;

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Repository {
    engine: Engine,
    write: DatabaseConnection,
    read: Reader,
    /// For reading API keys and asking whether the database is there: work that waits must not make the service look dead.
    watch: DatabaseConnection,
    /// Of the connections that write.
    write_shares: Shares,
    /// On SQLite, what empties the log after erasures.
    log: Option<SqliteLog>,
    row_security: RowSecurity,
    clock: Clock,
}
