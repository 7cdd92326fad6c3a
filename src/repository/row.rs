//! A row as an engine gives it, read column by column: entities list their columns once more, in the order of the table, so that no name is
//! looked up per row.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use sea_orm::sqlx::{
    self, Decode, Postgres, Type,
    error::BoxDynError,
    postgres::{PgRow, PgTypeInfo, PgValueRef},
    types::Json,
};

use super::{
    Error,
    entity::{Episode, Texts},
};

/// A row of PostgreSQL, or of SQLite through its own interface (`sqlite_reader`).
#[derive(Clone, Copy)]
pub(super) enum Row<'r> {
    Postgres(&'r PgRow),
    Sqlite(&'r rusqlite::Row<'r>),
}

impl<'r> Row<'r> {
    /// The value of a column.
    pub(super) fn get<T: Decode<'r, Postgres> + Type<Postgres> + FromSql>(self, column: usize) -> Result<T, Error> {
        match self {
            Self::Postgres(row) => from_postgres(row, column),
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

fn from_postgres<'r, T: Decode<'r, Postgres> + Type<Postgres>>(row: &'r PgRow, column: usize) -> Result<T, Error> {
    // The text of a value that could not be converted may be the value.
    sqlx::Row::try_get(row, column).map_err(|_| Error::Corrupt("a column has another type"))
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

/// A type that is kept as JSON: how each engine gives it.
macro_rules! kept_as_json {
    ($($kept:ty),+) => {$(
        impl FromSql for $kept {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                serde_json::from_str(value.as_str()?).map_err(|_| FromSqlError::InvalidType)
            }
        }

        impl Type<Postgres> for $kept {
            fn type_info() -> PgTypeInfo {
                <Json<Self> as Type<Postgres>>::type_info()
            }

            fn compatible(other: &PgTypeInfo) -> bool {
                <Json<Self> as Type<Postgres>>::compatible(other)
            }
        }

        impl<'r> Decode<'r, Postgres> for $kept {
            fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
                <Json<Self> as Decode<Postgres>>::decode(value).map(|Json(kept)| kept)
            }
        }
    )+};
}

kept_as_json!(Texts, Episode);
