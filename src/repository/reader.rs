//! Reading, past sea-orm's executor: see `docs/adr/reads.md`.

use std::ops::ControlFlow;

use sea_orm::DbBackend;

use super::{
    Error, Repository,
    postgres_reader::{PostgresReader, PostgresReading},
    query::{Parameter, Query},
    row::Row,
    row_security::Reach,
    sqlite_reader::{SqliteReader, SqliteSnapshot},
};
use crate::domain::subject::{ApplicationId, Subject};

/// Where reads go.
#[derive(Clone, Debug)]
pub(super) enum Reader {
    Postgres(PostgresReader),
    Sqlite(SqliteReader),
}

/// Some reads that belong together, on one connection: on SQLite they all see the database at one moment. To be dropped before waiting
/// for anyone else.
pub struct Reading(Connection);

enum Connection {
    Postgres(PostgresReading),
    Sqlite(SqliteSnapshot),
}

impl Repository {
    /// Begins to read what is held about `subject`.
    ///
    /// # Errors
    /// When the database does not answer, or no connection that the application may use becomes free.
    pub async fn reading(&self, subject: &Subject) -> Result<Reading, Error> {
        self.begin_reading(Reach::Subject(subject)).await
    }

    /// Begins to read which uploads of an application's users wait for their removal.
    ///
    /// # Errors
    /// The same.
    pub async fn reading_removals_of(&self, application: &ApplicationId) -> Result<Reading, Error> {
        self.begin_reading(Reach::Application(application)).await
    }

    /// Begins to read, for the service itself, which uploads of all users wait for their removal.
    pub(super) async fn reading_removals(&self) -> Result<Reading, Error> {
        self.begin_reading(Reach::Removals).await
    }

    async fn begin_reading(&self, reach: Reach<'_>) -> Result<Reading, Error> {
        Ok(Reading(match &self.read {
            Reader::Postgres(reader) => Connection::Postgres(reader.acquire(reach).await?),
            Reader::Sqlite(reader) => Connection::Sqlite(reader.snapshot()?),
        }))
    }
}

impl Reading {
    /// Gives the rows that `query` finds to `take`, until there are no more, or it breaks off.
    pub(super) async fn rows(
        &mut self,
        query: &'static Query,
        parameters: &[Parameter<'_>],
        take: impl FnMut(Row<'_>) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        match &mut self.0 {
            Connection::Sqlite(snapshot) => snapshot.read(query.text(DbBackend::Sqlite), parameters, take),
            Connection::Postgres(reading) => reading.read(query.text(DbBackend::Postgres), parameters, take).await,
        }
    }

    /// What `record` makes of the row that `query` finds; it finds one at most.
    pub(super) async fn one<T>(
        &mut self,
        query: &'static Query,
        parameters: &[Parameter<'_>],
        record: impl Fn(Row<'_>) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let mut found = None;
        self.rows(query, parameters, |row| {
            found = Some(record(row)?);
            Ok(ControlFlow::Continue(()))
        })
        .await?;
        Ok(found)
    }
}

impl Reader {
    /// Ends all connections.
    pub(super) async fn close(self) {
        match self {
            Self::Postgres(reader) => reader.close().await,
            Self::Sqlite(reader) => reader.close(),
        }
    }
}
