//! Where reads go: to a pool of PostgreSQL through sea-orm, or to SQLite's own interface.

use std::ops::ControlFlow;

use futures::TryStreamExt;
use sea_orm::{DatabaseConnection, DbBackend, EntityTrait, QuerySelect, QueryTrait, Select, Statement, StreamTrait};

use super::{
    Error,
    row::{FromRow, Row},
    sqlite_reader::SqliteReader,
};

/// Reads, and never writes.
#[derive(Clone, Debug)]
pub(super) enum Reader {
    Postgres(DatabaseConnection),
    Sqlite(SqliteReader),
}

impl Reader {
    /// Gives the rows that `select` finds to `take`, until there are no more, or it breaks off.
    pub(super) async fn rows<E: EntityTrait>(
        &self,
        select: Select<E>,
        mut take: impl FnMut(Row<'_>) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        match self {
            Self::Sqlite(reader) => reader.read(&select.build(DbBackend::Sqlite), take),
            Self::Postgres(pool) => {
                let statement: Statement = select.build(DbBackend::Postgres);
                let mut rows = pool.stream_raw(statement).await?;
                while let Some(row) = rows.try_next().await? {
                    if take(Row::Postgres(&row))?.is_break() {
                        break;
                    }
                }
                Ok(())
            }
        }
    }

    /// The first row that `select` finds.
    pub(super) async fn one<E>(&self, select: Select<E>) -> Result<Option<E::Model>, Error>
    where
        E: EntityTrait,
        E::Model: FromRow,
    {
        let mut found = None;
        self.rows(select.limit(1), |row| {
            found = Some(E::Model::from_row(row)?);
            Ok(ControlFlow::Break(()))
        })
        .await?;
        Ok(found)
    }

    /// Ends all connections.
    pub(super) async fn close(self) -> Result<(), Error> {
        match self {
            Self::Postgres(pool) => pool.close().await?,
            Self::Sqlite(reader) => reader.close(),
        }
        Ok(())
    }
}
