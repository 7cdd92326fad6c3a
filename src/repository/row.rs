//! A row as an engine gives it, read column by column: entities list their columns once more, in the order of the table, so that no name is
//! looked up per row.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use sea_orm::{QueryResult, TryGetable, sqlx};

use super::{
    Error,
    entity::{Episode, Texts},
};

/// A row of PostgreSQL through sea-orm, or of SQLite through its own interface (`sqlite_reader`).
#[derive(Clone, Copy)]
pub(super) enum Row<'r> {
    Postgres(&'r QueryResult),
    Sqlite(&'r rusqlite::Row<'r>),
}

impl<'r> Row<'r> {
    /// The value of a column.
    pub(super) fn get<T: TryGetable + FromSql>(self, column: usize) -> Result<T, Error> {
        match self {
            Self::Postgres(row) => Ok(row.try_get_by_index(column)?),
            Self::Sqlite(row) => Ok(row.get(column)?),
        }
    }

    /// The text of a column, where it lies.
    pub(super) fn text(self, column: usize) -> Result<&'r str, Error> {
        match self {
            Self::Postgres(row) => from_postgres(row, column),
            Self::Sqlite(row) => row.get_ref(column)?.as_str().map_err(|_| Error::Corrupt("a column is not text")),
        }
    }

    /// The bytes of a column, where they lie.
    pub(super) fn bytes(self, column: usize) -> Result<&'r [u8], Error> {
        match self {
            Self::Postgres(row) => from_postgres(row, column),
            Self::Sqlite(row) => row.get_ref(column)?.as_blob().map_err(|_| Error::Corrupt("a column is not bytes")),
        }
    }
}

fn from_postgres<'r, T>(row: &'r QueryResult, column: usize) -> Result<T, Error>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    let row = row.try_as_pg_row().ok_or(Error::Corrupt("a row is not of PostgreSQL"))?;
    sqlx::Row::try_get(row, column).map_err(|error| Error::Refused(error.to_string()))
}

/// A row with all columns of a table, in their order.
pub(super) trait FromRow: Sized {
    fn from_row(row: Row<'_>) -> Result<Self, Error>;
}

/// Implements [`FromRow`] for a model; its columns are listed in the order of the table.
macro_rules! columns_in_order {
    ($($column:ident),+ $(,)?) => {
        impl $crate::repository::row::FromRow for Model {
            fn from_row(row: $crate::repository::row::Row<'_>) -> Result<Self, $crate::repository::Error> {
                let mut columns = 0..;
                let mut next = || columns.next().unwrap_or_default();
                Ok(Self { $($column: row.get(next())?),+ })
            }
        }
    };
}
pub(super) use columns_in_order;

impl FromSql for Texts {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        json(value)
    }
}

impl FromSql for Episode {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        json(value)
    }
}

fn json<T: serde::de::DeserializeOwned>(value: ValueRef<'_>) -> FromSqlResult<T> {
    serde_json::from_str(value.as_str()?).map_err(|_| FromSqlError::InvalidType)
}
