//! Why the repository could not do its work. The text is for the log: it may name tables, never values.

use std::io;

use sea_orm::{DbErr, RuntimeErr, SqlErr, sqlx};

/// Why the repository could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database cannot be reached, or is not taking statements.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// Another transaction was in the way, more often than it is tried again.
    #[error("other transactions were in the way: {0}")]
    Conflict(String),
    /// The connection was lost while a transaction was committed: whether it was can be found by reading.
    #[error("the database went away during a commit: {0}")]
    CommitUnknown(String),
    /// The caller's id of the request is that of another request.
    #[error("the request id is that of another request")]
    RequestIdReused,
    /// The subject's data is not what was previewed.
    #[error("the subject's data is not what was previewed")]
    PlanChanged,
    /// An erasure found what it had erased.
    #[error("rows remained after an erasure, which was undone: {0}")]
    Remained(String),
    /// The subject was erased while its data was read.
    #[error("the subject was erased meanwhile")]
    ErasedMeanwhile,
    /// A row that cannot be: written by another program, or by a newer version.
    #[error("a stored value is not valid: {0}")]
    Corrupt(&'static str),
    /// The schema is older than this program.
    #[error("the schema is {0} migration(s) behind; run `userdata migrate`, or `userdata serve --migrate`")]
    SchemaBehind(usize),
    /// The schema is newer than this program.
    #[error("the schema was migrated by a newer userdata; use that, or a newer one")]
    SchemaAhead,
    /// Row-level security binds the service's role in some of the tables only.
    #[error("row-level security is not on every table; run `userdata migrate --service-role` as their owner")]
    HalfWalled,
    /// The role that the service is to have.
    #[error("{0}")]
    NoServiceRole(&'static str),
    /// Anything else the database said.
    #[error("the database refused: {0}")]
    Refused(String),
}

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        if let Some(SqlErr::UniqueConstraintViolation(_)) = error.sql_err() {
            return Self::Conflict("a unique key was taken".to_owned());
        }
        match &error {
            DbErr::ConnectionAcquire(reason) => Self::Unavailable(reason.to_string()),
            DbErr::Conn(RuntimeErr::SqlxError(reason)) => Self::Unavailable(unavailable(reason)),
            DbErr::Conn(reason) => Self::Unavailable(reason.to_string()),
            DbErr::Exec(RuntimeErr::SqlxError(reason)) | DbErr::Query(RuntimeErr::SqlxError(reason)) => from_sqlx(reason),
            // Their texts may quote the value.
            DbErr::Type(_) | DbErr::Json(_) | DbErr::TryIntoErr { .. } => Self::Corrupt("a value could not be converted"),
            _ => Self::Refused(error.to_string()),
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, ReadOnly, SystemIoFailure};
        // The text of a value that could not be converted may be the value.
        let Some(code) = error.sqlite_error_code() else { return Self::Corrupt("a column has another type") };
        match code {
            DatabaseBusy | DatabaseLocked => Self::Conflict(error.to_string()),
            ReadOnly | SystemIoFailure | DiskFull | CannotOpen => Self::Unavailable(error.to_string()),
            _ => Self::Refused(error.to_string()),
        }
    }
}

pub(super) fn from_sqlx(error: &sqlx::Error) -> Error {
    match error {
        sqlx::Error::Database(reason) => {
            let code = reason.code().unwrap_or_default();
            // SQLite's codes say more above their first eight bits.
            let sqlite = code.parse::<u32>().ok().filter(|_| code.len() < 5).map(|code| code & 0xff);
            match (&*code, sqlite) {
                // PostgreSQL: serialization failure, deadlock, lock not available. SQLite: busy, locked.
                ("40001" | "40P01" | "55P03", _) | (_, Some(5 | 6)) => Error::Conflict(reason.message().to_owned()),
                // PostgreSQL: read-only. SQLite: read-only, I/O, full, cannot open.
                ("25006", _) | (_, Some(8 | 10 | 13 | 14)) => Error::Unavailable(reason.message().to_owned()),
                // PostgreSQL: connection exceptions, insufficient resources, operator intervention.
                _ if matches!(code.get(..2), Some("08" | "53" | "57")) => Error::Unavailable(reason.message().to_owned()),
                // PostgreSQL: a data exception, whose message may quote the value.
                _ if code.len() == 5 && code.starts_with("22") => Error::Refused(format!("a value is not possible ({code})")),
                _ => Error::Refused(reason.message().to_owned()),
            }
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => Error::Unavailable(unavailable(error)),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::Encode(_) => {
            Error::Corrupt("a value could not be read or written")
        }
        _ => Error::Refused(error.to_string()),
    }
}

/// Why a connection is not to be had, and what to do about it where that is for the operator to decide.
fn unavailable(error: &sqlx::Error) -> String {
    let is_about_tls = match error {
        sqlx::Error::Tls(_) => true,
        // What rustls says of a certificate.
        sqlx::Error::Io(error) => error.kind() == io::ErrorKind::InvalidData,
        _ => false,
    };
    let advice = "; its URL can name an authority to trust (sslrootcert=FILE), or trust its network (sslmode=disable)";
    format!("{error}{}", if is_about_tls { advice } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_about_a_value_does_not_quote_it() {
        let quoted = || "hunter2".to_owned();
        let column = sqlx::Error::ColumnDecode { index: "episode".to_owned(), source: quoted().into() };
        let of_sqlx = [column, sqlx::Error::Decode(quoted().into()), sqlx::Error::Encode(quoted().into())];
        let of_sea_orm = [DbErr::Type(quoted()), DbErr::Json(quoted())];
        let errors = of_sqlx.iter().map(from_sqlx).chain(of_sea_orm.into_iter().map(Error::from));
        for error in errors {
            assert!(matches!(error, Error::Corrupt(_)) && !format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }
}
