//! Writing rows directly: as text that the engines' shells read, COPY on PostgreSQL and INSERT on SQLite; and, on SQLite, by prepared
//! statements, for its shell takes three times as long to read them.

use std::io::Write;

use prost_types::Timestamp;
use rusqlite::{
    Connection, ToSql,
    types::{ToSqlOutput, ValueRef},
};
use userdata::{
    domain::digest::RecordDigest,
    grpc::proto::{Conversation, Message},
};

use super::database::Engine;

/// How the records of users become rows of three tables, each with its columns.
pub(crate) struct Layout {
    pub(crate) users: &'static str,
    pub(crate) user: fn(i64, &str) -> Vec<Value>,
    pub(crate) conversations: &'static str,
    pub(crate) conversation: fn(i64, &Conversation) -> Vec<Value>,
    pub(crate) messages: &'static str,
    pub(crate) message: fn(&MessageRow<'_>) -> Vec<Value>,
    /// A statement that PostgreSQL needs after rows were written.
    pub(crate) after_in_postgres: &'static str,
}

/// A message with what a row of it may need.
pub(crate) struct MessageRow<'a> {
    pub(crate) user: i64,
    pub(crate) conversation_created_at: Option<Timestamp>,
    pub(crate) message: &'a Message,
    /// The encoding of the message without its ids and creation time.
    pub(crate) body: &'a [u8],
    /// The digest of its whole encoding.
    pub(crate) digest: RecordDigest,
}

pub(crate) enum Value {
    Null,
    Integer(i64),
    Boolean(bool),
    Text(String),
    Blob(Vec<u8>),
}

/// Nanoseconds since the Unix epoch.
pub(crate) fn nanos(time: Option<Timestamp>) -> i64 {
    time.map_or(0, |time| time.seconds * 1_000_000_000 + i64::from(time.nanos))
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Boolean(truth) => ValueRef::Integer((*truth).into()),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// What rows are written to.
pub(crate) trait RowWriter {
    /// Writes a row into a table, named with its columns.
    fn row(&mut self, table: &'static str, values: &[Value]) -> anyhow::Result<()>;
}

impl RowWriter for &Connection {
    fn row(&mut self, table: &'static str, values: &[Value]) -> anyhow::Result<()> {
        let places = vec!["?"; values.len()].join(",");
        self.prepare_cached(&format!("INSERT INTO {table} VALUES ({places})"))?.execute(rusqlite::params_from_iter(values))?;
        Ok(())
    }
}

/// Rows of one statement of SQLite.
const ROWS_OF_INSERT: u32 = 500;

/// How much text is handed on at once.
const PIECE: usize = 1024 * 1024;

/// The text that writes rows, handed on in pieces.
pub(crate) struct RowText<F> {
    engine: Engine,
    table: &'static str,
    /// In the table that is being written.
    rows: u32,
    text: Vec<u8>,
    take: F,
}

impl<F: FnMut(&[u8]) -> anyhow::Result<()>> RowText<F> {
    pub(crate) fn new(engine: Engine, take: F) -> Self {
        Self { engine, table: "", rows: 0, text: Vec::new(), take }
    }

    /// Ends the last statement, and hands on what there is.
    pub(crate) fn end(&mut self) -> anyhow::Result<()> {
        if self.rows > 0 {
            self.text.extend_from_slice(if self.engine == Engine::Sqlite { b";\n" } else { b"\\.\n" });
        }
        self.rows = 0;
        self.hand_on()
    }

    fn hand_on(&mut self) -> anyhow::Result<()> {
        (self.take)(&self.text)?;
        self.text.clear();
        Ok(())
    }
}

impl<F: FnMut(&[u8]) -> anyhow::Result<()>> RowWriter for RowText<F> {
    fn row(&mut self, table: &'static str, values: &[Value]) -> anyhow::Result<()> {
        if self.table != table {
            self.end()?;
            self.table = table;
        }
        match self.engine {
            Engine::Postgres => {
                if self.rows == 0 {
                    writeln!(self.text, "COPY {table} FROM STDIN;")?;
                }
                for (nth, value) in values.iter().enumerate() {
                    self.text.extend_from_slice(if nth == 0 { b"" } else { b"\t" });
                    self.copied(value)?;
                }
                self.text.push(b'\n');
            }
            Engine::Sqlite => {
                if self.rows.is_multiple_of(ROWS_OF_INSERT) {
                    write!(self.text, "{}INSERT INTO {table} VALUES\n(", if self.rows == 0 { "" } else { ";\n" })?;
                } else {
                    self.text.extend_from_slice(b",\n(");
                }
                for (nth, value) in values.iter().enumerate() {
                    self.text.extend_from_slice(if nth == 0 { b"" } else { b"," });
                    self.inserted(value)?;
                }
                self.text.push(b')');
            }
        }
        self.rows += 1;
        if self.text.len() > PIECE { self.hand_on() } else { Ok(()) }
    }
}

impl<F> RowText<F> {
    fn copied(&mut self, value: &Value) -> anyhow::Result<()> {
        match value {
            Value::Null => self.text.extend_from_slice(b"\\N"),
            Value::Integer(number) => write!(self.text, "{number}")?,
            Value::Boolean(truth) => self.text.push(if *truth { b't' } else { b'f' }),
            Value::Text(text) => {
                let escaped = text.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r");
                self.text.extend_from_slice(escaped.as_bytes());
            }
            Value::Blob(bytes) => write!(self.text, "\\\\x{}", hex::encode(bytes))?,
        }
        Ok(())
    }

    fn inserted(&mut self, value: &Value) -> anyhow::Result<()> {
        match value {
            Value::Null => self.text.extend_from_slice(b"NULL"),
            Value::Integer(number) => write!(self.text, "{number}")?,
            Value::Boolean(truth) => self.text.push(if *truth { b'1' } else { b'0' }),
            Value::Text(text) => write!(self.text, "'{}'", text.replace('\'', "''"))?,
            Value::Blob(bytes) => write!(self.text, "x'{}'", hex::encode(bytes))?,
        }
        Ok(())
    }
}
