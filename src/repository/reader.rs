//! Reading: on one connection of PostgreSQL, or through SQLite's own interface.

use std::ops::ControlFlow;

use futures::TryStreamExt;
use sea_orm::{
    DatabaseConnection, DbBackend,
    sqlx::{self, Arguments, Postgres, pool::PoolConnection, postgres::PgArguments},
};

use super::{
    Error, Repository,
    error::from_sqlx,
    query::{Parameter, Query},
    row::Row,
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
    /// Gives the rows that `query` finds to `take`, until there are no more, or it breaks off.
    pub(super) async fn rows(
        &mut self,
        query: &'static Query,
        parameters: &[Parameter<'_>],
        mut take: impl FnMut(Row<'_>) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        match &mut self.0 {
            Connection::Sqlite(snapshot) => snapshot.read(query.text(DbBackend::Sqlite), parameters, take),
            Connection::Postgres(connection) => {
                let text = query.text(DbBackend::Postgres);
                debug_assert_eq!(text.parameters, parameters.len(), "{}", text.sql);
                let mut rows = sqlx::query_with(text.sql.as_str(), arguments(parameters)?).fetch(&mut **connection);
                while let Some(row) = rows.try_next().await.map_err(|error| from_sqlx(&error))? {
                    if take(Row::Postgres(&row))?.is_break() {
                        break;
                    }
                }
                Ok(())
            }
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

fn arguments(parameters: &[Parameter<'_>]) -> Result<PgArguments, Error> {
    let mut arguments = PgArguments::default();
    for parameter in parameters {
        let added = match parameter {
            Parameter::Integer(number) => arguments.add(number),
            Parameter::Text(text) => arguments.add(text),
        };
        added.map_err(|_| Error::Refused("a parameter cannot be sent".to_owned()))?;
    }
    Ok(arguments)
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
