//! A database filled with a population, and what an export of each user must come to.

use std::{
    cell::RefCell,
    collections::HashSet,
    hash::{DefaultHasher, Hash},
    path::Path,
    sync::mpsc::sync_channel,
    thread,
};

use anyhow::{Context, anyhow};
use prost::Message as _;
use prost_types::Timestamp;
use userdata::domain::digest::{ExportDigest, RecordDigest};

use super::{
    database::{Database, Engine},
    population::{Population, User, message_head_len},
    row_writer::{Layout, MessageRow, RowWriter},
    shell::Shell,
};

/// Numbers of fields in the contract, which are part of an export's digest.
const CONVERSATIONS: u8 = 1;
const NESTED_MESSAGES: u8 = 15;

/// How much text is sent to a shell at once.
const PIECE: usize = 1024 * 1024;

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
        let began = std::time::Instant::now();
        let mut shell = Shell::open(&database)?;
        let engine = database.engine;
        if engine == Engine::Sqlite {
            shell.run("PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; PRAGMA cache_size = -2000000; BEGIN;")?;
        } else {
            shell.run("BEGIN; SET LOCAL synchronous_commit = off;")?;
        }
        // The next piece is made while the shell reads the last.
        let (send, pieces) = sync_channel::<Vec<u8>>(4);
        let expected = thread::scope(|scope| {
            let population = &population;
            let made = scope.spawn(move || write(population, engine, layout, |piece| Ok(send.send(piece.to_vec())?)));
            pieces.into_iter().try_for_each(|piece| shell.begin(&piece))?;
            made.join().map_err(|_| anyhow!("no rows could be made"))?
        })?;
        shell.run((layout.after)(engine))?;
        shell.run("COMMIT;")?;
        match engine {
            Engine::Sqlite => shell.run("PRAGMA journal_mode = WAL;")?,
            Engine::Postgres => shell.run("VACUUM (ANALYZE);")?,
        };
        drop(shell);
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

/// The text that writes a population's rows.
pub(crate) fn text_of(population: &Population, engine: Engine, layout: &Layout) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    write(population, engine, layout, |piece| {
        text.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(text)
}

/// Writes a population's rows as text: users, conversations, and then the messages in the order in which they came.
fn write(
    population: &Population,
    engine: Engine,
    layout: &Layout,
    mut take: impl FnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Expected>> {
    let mut users = RowWriter::new(engine, layout.users);
    let mut conversations = RowWriter::new(engine, layout.conversations);
    for (place, user) in population.users.iter().enumerate() {
        let id = i64::try_from(place + 1)?;
        users.row(&(layout.user)(id, &user.token))?;
        for nth in 0..user.conversations() {
            conversations.row(&(layout.conversation)(id, &user.conversation(nth)))?;
        }
    }
    take(users.end())?;
    take(conversations.end())?;

    let mut states = vec![State::default(); population.users.len()];
    let mut messages = RowWriter::new(engine, layout.messages);
    for place in population.turns() {
        let place = place as usize;
        let (user, state) = (&population.users[place], &mut states[place]);
        for _ in 0..2.min(user.messages - state.next) {
            state.write_next(i64::try_from(place + 1)?, user, layout, &mut messages)?;
        }
        if messages.text.len() > PIECE {
            take(&messages.text)?;
            messages.text.clear();
        }
    }
    take(messages.end())?;
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
    fn write_next(&mut self, id: i64, user: &User, layout: &Layout, rows: &mut RowWriter) -> anyhow::Result<()> {
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
        rows.row(&(layout.message)(&MessageRow { user: id, conversation_created_at, message: &message, body, digest }))
    }
}
