//! All that knows sea-orm: entities, queries, transactions. Everything about a user takes a [`Subject`](crate::domain::subject::Subject),
//! so a query that forgets whose data it is about cannot be written. Absent on purpose: generated types, the object store.

mod api_key;
mod connect;
mod entity;
mod error;

pub use connect::{Engine, SchemaState, StorageUrl};
pub use error::Error;

use sea_orm::DatabaseConnection;

use crate::domain::timestamp::Clock;

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Repository {
    engine: Engine,
    write: DatabaseConnection,
    read: DatabaseConnection,
    clock: Clock,
}
