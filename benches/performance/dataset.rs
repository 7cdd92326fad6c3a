//! A database filled with a population, and what an export of each user must come to.

use std::{
    cell::RefCell,
    collections::HashSet,
    hash::{DefaultHasher, Hash},
    path::Path,
    sync::mpsc::sync_channel,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use prost::Message as _;
use prost_types::Timestamp;
use rusqlite::{Connection, ErrorCode};
use userdata::domain::digest::{ExportDigest, RecordDigest};

use super::{
    database::{Database, Engine},
    population::{Population, User, message_head_len},
    row_writer::{Layout, MessageRow, RowText, RowWriter},
    shell::Shell,
};

/// Numbers of fields in the contract, which are part of an export's digest.
const CONVERSATIONS: u8 = 1;
const NESTED_MESSAGES: u8 = 15;

/// How long a database is waited for that somebody else still has open.
const PATIENCE: Duration = Duration::from_secs(10);

/// What an export of a user must come to.
#[derive(Clone, Default)]
pub(crate) struct Expected {
    pub(crate) digest: ExportDigest,
    /// Of the ids and bodies of all messages in order.
    pub(crate) messages: DefaultHasher,
}

/// Takes the id and body of a message into a hash of many.
pub(crate) fn hash_message(hasher: &mut DefaultHasher, id: &str, body: &[u8]) {
    id.hash(hasher);
    body.hash(hasher);
}

pub(crate) struct Dataset {
    pub(crate) database: Database,
    /// Empty where the database is not the service's own.
    pub(crate) key: String,
    pub(crate) population: Population,
    expected: Vec<Expected>,
    /// What was proven already.
    proven: RefCell<HashSet<String>>,
}

impl Dataset {
    /// A database of the service, filled.
    pub(crate) fn of_service(engine: Engine, name: &str, folder: &Path, population: Population) -> anyhow::Result<Self> {
        let database = Database::create(engine, name, folder)?;
        let key = database.migrate()?;
        Self::fill(database, key, population, &super::layout::LAYOUT)
    }

    /// Fills a database that has its tables and no rows.
    pub(crate) fn fill(database: Database, key: String, population: Population, layout: &Layout) -> anyhow::Result<Self> {
        let began = Instant::now();
        let engine = database.engine;
        let expected = match engine {
            Engine::Sqlite => fill_sqlite(&database, &population, layout)?,
            Engine::Postgres => fill_postgres(&database, &population, layout)?,
        };
        database.settle()?;
        let messages: u64 = population.users.iter().map(|user| u64::from(user.messages)).sum();
        super::report::say(&format!("{engine}: {messages} messages written in {:.1} s", began.elapsed().as_secs_f64()))?;
        Ok(Self { database, key, population, expected, proven: RefCell::default() })
    }

    /// Whether this is the first time that something is to be proven.
    pub(crate) fn is_unproven(&self, what: &str) -> bool {
        self.proven.borrow_mut().insert(what.to_owned())
    }

    fn place(&self, token: &str) -> anyhow::Result<usize> {
        self.population.users.iter().position(|user| user.token == token).with_context(|| format!("no user {token}"))
    }

    /// The number by which the database knows a user.
    pub(crate) fn subject(&self, token: &str) -> anyhow::Result<i64> {
        Ok(i64::try_from(self.place(token)? + 1)?)
    }

    pub(crate) fn messages(&self, token: &str) -> anyhow::Result<u32> {
        Ok(self.population.users[self.place(token)?].messages)
    }

    pub(crate) fn expected(&self, token: &str) -> anyhow::Result<&Expected> {
        Ok(&self.expected[self.place(token)?])
    }

    /// The tokens of the users whose name begins so.
    pub(crate) fn tokens(&self, name: &str) -> Vec<String> {
        self.population.users.iter().map(|user| user.token.clone()).filter(|token| token.starts_with(name)).collect()
    }
}

fn fill_sqlite(database: &Database, population: &Population, layout: &Layout) -> anyhow::Result<Vec<Expected>> {
    let mut connection = Connection::open(database.file()?)?;
    leave_log(&connection)?;
    connection.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -2000000;")?;
    let transaction = connection.transaction()?;
    let expected = write(population, layout, &mut &*transaction)?;
    transaction.commit()?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    Ok(expected)
}

/// Has a connection write straight into the file. SQLite refuses while anyone else has it open, and does not wait.
fn leave_log(connection: &Connection) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        match connection.pragma_update(None, "journal_mode", "MEMORY") {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && began.elapsed() < PATIENCE => {
                thread::sleep(Duration::from_millis(100));
            }
            left => return Ok(left?),
        }
    }
}

fn fill_postgres(database: &Database, population: &Population, layout: &Layout) -> anyhow::Result<Vec<Expected>> {
    let mut shell = Shell::open(database)?;
    shell.run("BEGIN; SET LOCAL synchronous_commit = off;")?;
    // The next piece is made while the shell reads the last.
    let (send, pieces) = sync_channel::<Vec<u8>>(4);
    let expected = thread::scope(|scope| {
        let made = scope.spawn(move || write_text(population, Engine::Postgres, layout, |piece| Ok(send.send(piece.to_vec())?)));
        pieces.into_iter().try_for_each(|piece| shell.begin(&piece))?;
        made.join().map_err(|_| anyhow!("no rows could be made"))?
    })?;
    shell.run(layout.after_in_postgres)?;
    shell.run("COMMIT;")?;
    shell.run("VACUUM (ANALYZE);")?;
    Ok(expected)
}

/// The text that writes a population's rows.
pub(crate) fn text_of(population: &Population, engine: Engine, layout: &Layout) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    write_text(population, engine, layout, |piece| {
        text.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(text)
}

fn write_text(
    population: &Population,
    engine: Engine,
    layout: &Layout,
    take: impl FnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Expected>> {
    let mut text = RowText::new(engine, take);
    let expected = write(population, layout, &mut text)?;
    text.end()?;
    Ok(expected)
}

/// Writes a population's rows: users, conversations, and then the messages in the order in which they came.
fn write(population: &Population, layout: &Layout, rows: &mut impl RowWriter) -> anyhow::Result<Vec<Expected>> {
    let numbered = || (1..).zip(&population.users);
    for (id, user) in numbered() {
        rows.row(layout.users, &(layout.user)(id, &user.token))?;
    }
    for (id, user) in numbered() {
        for nth in 0..user.conversations() {
            rows.row(layout.conversations, &(layout.conversation)(id, &user.conversation(nth)))?;
        }
    }
    let mut states = vec![State::default(); population.users.len()];
    for place in population.turns() {
        let place = place as usize;
        let (user, state) = (&population.users[place], &mut states[place]);
        for _ in 0..2.min(user.messages - state.next) {
            state.write_next(i64::try_from(place + 1)?, user, layout, rows)?;
        }
    }
    Ok(states.into_iter().map(|state| state.expected).collect())
}

/// How far the messages of a user are written.
#[derive(Clone, Default)]
struct State {
    next: u32,
    conversation_created_at: Option<Timestamp>,
    expected: Expected,
}

impl State {
    fn write_next(&mut self, id: i64, user: &User, layout: &Layout, rows: &mut impl RowWriter) -> anyhow::Result<()> {
        if self.next.is_multiple_of(user.per_conversation) {
            let conversation = user.conversation(self.next / user.per_conversation);
            let encoded = conversation.encode_to_vec();
            self.expected.digest.take(CONVERSATIONS, &RecordDigest::of(&[&encoded]), encoded.len());
            self.conversation_created_at = conversation.created_at;
        }
        let message = user.message(self.next);
        let encoded = message.encode_to_vec();
        let (_, body) = encoded.split_at(message_head_len(&message));
        let digest = RecordDigest::of(&[&encoded]);
        self.expected.digest.take(NESTED_MESSAGES, &digest, encoded.len());
        hash_message(&mut self.expected.messages, &message.id, body);
        self.next += 1;
        let conversation_created_at = self.conversation_created_at;
        rows.row(layout.messages, &(layout.message)(&MessageRow { user: id, conversation_created_at, message: &message, body, digest }))
    }
}
