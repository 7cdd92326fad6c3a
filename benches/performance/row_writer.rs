//! Writing rows directly, as text that the engines' shells read: COPY on PostgreSQL, INSERT on SQLite.

use std::io::Write;

use prost_types::Timestamp;
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
    /// A statement to be run after rows were written.
    pub(crate) after: fn(Engine) -> &'static str,
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

/// Rows of one statement of SQLite.
const ROWS_OF_INSERT: u32 = 500;

/// The text that writes rows into one table.
pub(crate) struct RowWriter {
    engine: Engine,
    /// With its columns.
    table: &'static str,
    pub(crate) text: Vec<u8>,
    rows: u32,
}

impl RowWriter {
    pub(crate) fn new(engine: Engine, table: &'static str) -> Self {
        Self { engine, table, text: Vec::new(), rows: 0 }
    }

    pub(crate) fn row(&mut self, values: &[Value]) -> anyhow::Result<()> {
        match self.engine {
            Engine::Postgres => {
                if self.rows == 0 {
                    writeln!(self.text, "COPY {} FROM STDIN;", self.table)?;
                }
                for (nth, value) in values.iter().enumerate() {
                    self.text.extend_from_slice(if nth == 0 { b"" } else { b"\t" });
                    self.copied(value)?;
                }
                self.text.push(b'\n');
            }
            Engine::Sqlite => {
                if self.rows.is_multiple_of(ROWS_OF_INSERT) {
                    write!(self.text, "{}INSERT INTO {} VALUES\n(", if self.rows == 0 { "" } else { ";\n" }, self.table)?;
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
        Ok(())
    }

    /// Ends the last statement; gives the text.
    pub(crate) fn end(&mut self) -> &[u8] {
        if self.rows > 0 {
            self.text.extend_from_slice(if self.engine == Engine::Sqlite { b";\n" } else { b"\\.\n" });
        }
        &self.text
    }

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
