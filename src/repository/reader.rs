//! Reading: on one connection of PostgreSQL, or through SQLite's own interface.

use std::ops::ControlFlow;

use futures::TryStreamExt;
use sea_orm::{
    DatabaseConnection, DbBackend, EntityTrait, QuerySelect, QueryTrait, Select, Values,
    sqlx::{self, AssertSqlSafe, Postgres, pool::PoolConnection},
};
use sea_query_sqlx::SqlxValues;

use super::{
    Error, Repository,
    error::from_sqlx,
    row::{FromRow, Row},
    sqlite_reader::{SqliteReader, SqliteSnapshot},
};

/// Where reads go.
#[derive(Clone, Debug)]
pub(super) enum Reader {
    Postgres(DatabaseConnection),
    Sqlite(SqliteReader),
}

/// Some reads that belong together, on one connection: on SQLite they all see the database at one moment. To be dropped before waiting
/// for anyone else.
pub struct Reading(Connection);

enum Connection {
    /// Taken from sea-orm's pool for several reads: sqlx tests every connection that comes back, and for small reads that costs as much as
    /// reading.
    Postgres(PoolConnection<Postgres>),
    Sqlite(SqliteSnapshot),
}

impl Repository {
    /// Begins to read.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn reading(&self) -> Result<Reading, Error> {
        Ok(Reading(match &self.read {
            Reader::Postgres(pool) => {
                let acquired = pool.get_postgres_connection_pool().acquire().await;
                Connection::Postgres(acquired.map_err(|error| from_sqlx(&error))?)
            }
            Reader::Sqlite(reader) => Connection::Sqlite(reader.snapshot()?),
        }))
    }
}

impl Reading {
    /// Gives the rows that `select` finds to `take`, until there are no more, or it breaks off.
    pub(super) async fn rows<E: EntityTrait>(
        &mut self,
        select: Select<E>,
        mut take: impl FnMut(Row<'_>) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        match &mut self.0 {
            Connection::Sqlite(snapshot) => snapshot.read(&select.build(DbBackend::Sqlite), take),
            Connection::Postgres(connection) => {
                let statement = select.build(DbBackend::Postgres);
                let values = SqlxValues(statement.values.unwrap_or(Values(Vec::new())));
                // Safe: sea-query wrote the SQL; what callers send is among the values.
                let mut rows = sqlx::query_with(AssertSqlSafe(statement.sql), values).fetch(&mut **connection);
                while let Some(row) = rows.try_next().await.map_err(|error| from_sqlx(&error))? {
                    if take(Row::Postgres(&row))?.is_break() {
                        break;
                    }
                }
                Ok(())
            }
        }
    }

    /// The first row that `select` finds.
    pub(super) async fn one<E>(&mut self, select: Select<E>) -> Result<Option<E::Model>, Error>
    where
        E: EntityTrait,
        E::Model: FromRow,
    {
        let mut found = None;
        self.rows(select.limit(1), |row| {
            found = Some(E::Model::from_row(row)?);
            Ok(ControlFlow::Continue(()))
        })
        .await?;
        Ok(found)
    }
}

impl Reader {
    /// Ends all connections.
    pub(super) async fn close(self) -> Result<(), Error> {
        match self {
            Self::Postgres(pool) => pool.close().await?,
            Self::Sqlite(reader) => reader.close(),
        }
        Ok(())
    }
}
