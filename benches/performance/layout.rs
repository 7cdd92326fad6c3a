//! The service's own tables. This is the only file of the benchmark that knows them: how rows are written directly, which queries read
//! and delete them, and what is compared. That an import writes the same rows is proven before anything is measured.

use userdata::grpc::proto::Conversation;

use super::{
    database::{APPLICATION, Engine},
    row_writer::{Layout, MessageRow, Value, nanos},
};

/// Rows as an import would have made them.
pub(crate) const LAYOUT: Layout = Layout {
    users: "subjects (id, application_id, user_token, epoch, created_at)",
    user: |id, token| {
        vec![Value::Integer(id), Value::Text(APPLICATION.to_owned()), Value::Text(token.to_owned()), Value::Integer(0), Value::Integer(1)]
    },
    conversations: "conversations (subject_id, agent_id, title, updated_at, last_activity_at, is_from_dashboard, message_count, \
                    total_input_tokens, total_output_tokens, total_tokens, has_metadata, metadata_cached_at, institution_id, \
                    forgotten_at, created_at, id)",
    conversation: |subject, record: &Conversation| {
        let mut values = vec![Value::Integer(subject), Value::Text(record.agent_id.clone())];
        values.extend([record.title.clone().map_or(Value::Null, Value::Text), Value::Integer(nanos(record.updated_at))]);
        values.push(record.last_activity_at.map_or(Value::Null, |time| Value::Integer(nanos(Some(time)))));
        values.push(Value::Boolean(record.is_from_dashboard));
        let counts = [record.message_count, record.total_input_tokens, record.total_output_tokens, record.total_tokens];
        values.extend(counts.map(|count| Value::Integer(count.into())));
        values.extend([Value::Boolean(false), Value::Null, Value::Null, Value::Null]);
        values.extend([Value::Integer(nanos(record.created_at)), Value::Text(record.id.clone())]);
        values
    },
    messages: "messages (subject_id, conversation_created_at, conversation_id, created_at, id, body, digest)",
    message: |row: &MessageRow<'_>| {
        vec![
            Value::Integer(row.user),
            Value::Integer(nanos(row.conversation_created_at)),
            Value::Text(row.message.conversation_id.clone()),
            Value::Integer(nanos(row.message.created_at)),
            Value::Text(row.message.id.clone()),
            Value::Blob(row.body.to_vec()),
            Value::Blob(row.digest.as_bytes().to_vec()),
        ]
    },
    after_in_postgres: "SELECT setval(pg_get_serial_sequence('subjects', 'id'), max(id)) FROM subjects;",
};

/// Which subject a user of an application is.
pub(crate) const FIND_SUBJECT: &str = "SELECT id, epoch FROM subjects WHERE application_id = ?1 AND user_token = ?2";

/// Everything held about a subject.
pub(crate) const SELECT_EVERYTHING: [&str; 8] = [
    "SELECT * FROM conversations WHERE subject_id = ?1 ORDER BY created_at, id",
    "SELECT * FROM messages WHERE subject_id = ?1 ORDER BY conversation_created_at, conversation_id, created_at, id",
    "SELECT * FROM feedback WHERE subject_id = ?1",
    "SELECT * FROM memories WHERE subject_id = ?1",
    "SELECT * FROM uploads WHERE subject_id = ?1",
    "SELECT * FROM assistants WHERE subject_id = ?1",
    "SELECT * FROM sessions WHERE subject_id = ?1",
    "SELECT * FROM compaction_cache WHERE subject_id = ?1",
];

/// What the service asks for when it exports the messages of a subject, in one query.
pub(crate) fn select_messages(subject: i64) -> String {
    format!(
        "SELECT subject_id, conversation_created_at, conversation_id, created_at, id, body, digest FROM messages \
         WHERE subject_id = {subject} ORDER BY conversation_created_at, conversation_id, created_at, id"
    )
}

/// And its conversations.
pub(crate) fn select_conversations(subject: i64) -> String {
    format!("SELECT * FROM conversations WHERE subject_id = {subject} ORDER BY created_at, id")
}

/// What the queries found, one line for each message: its id and its body in hex.
pub(crate) fn select_for_proof(engine: Engine, subject: i64) -> String {
    let hex = if engine == Engine::Sqlite { "hex(body)" } else { "encode(body, 'hex')" };
    format!("SELECT id || ' ' || {hex} FROM ({}) AS found;", select_messages(subject))
}

/// All messages of a subject, and nothing else.
pub(crate) fn delete_messages(subject: i64) -> String {
    format!("DELETE FROM messages WHERE subject_id = {subject};")
}

/// The same, with the counts in conversations set to 0, and a look at what there is, of which all must go.
pub(crate) fn delete_messages_and_counts(subject: i64) -> String {
    format!(
        "BEGIN; SELECT count(*) FROM messages WHERE subject_id = {subject} \\g /dev/null
        UPDATE conversations SET message_count = 0 WHERE subject_id = {subject} AND message_count <> 0;
        {} COMMIT;",
        delete_messages(subject)
    )
}

/// What the service does after an erasure on SQLite: without it, what was deleted may still be in the log.
pub(crate) const EMPTY_LOG: &str = "PRAGMA wal_checkpoint(TRUNCATE);";

pub(crate) fn count_messages(subject: i64) -> String {
    format!("SELECT count(*) FROM messages WHERE subject_id = {subject};")
}

pub(crate) const COUNT_ALL_MESSAGES: &str = "SELECT count(*) FROM messages;";

/// All that an import wrote, in an order of its own, apart from when a subject was made.
pub(crate) fn select_all(engine: Engine) -> String {
    let hex = |column: &str| if engine == Engine::Sqlite { format!("hex({column})") } else { format!("encode({column}, 'hex')") };
    format!(
        "SELECT id, application_id, user_token, epoch FROM subjects ORDER BY id; SELECT * FROM conversations ORDER BY subject_id, id; \
         SELECT subject_id, conversation_created_at, conversation_id, created_at, id, {}, {} FROM messages ORDER BY subject_id, id;",
        hex("body"),
        hex("digest")
    )
}

/// What a ScopedDelete of everything does to the rows of a subject, as one would write it by hand: a transaction, and whatever has to follow.
pub(crate) fn erase_everything(engine: Engine, subject: i64, keeps_request: bool) -> String {
    let (begin, end) = match engine {
        Engine::Sqlite => ("BEGIN IMMEDIATE", EMPTY_LOG),
        Engine::Postgres => ("BEGIN", ""),
    };
    format!("{begin}; {} COMMIT; {end}", changes_of_everything(engine, subject, keeps_request))
}

/// The statements of that transaction.
pub(crate) fn changes_of_everything(engine: Engine, subject: i64, keeps_request: bool) -> String {
    let mine = format!("subject_id = {subject}");
    let personal = format!("{mine} AND institution_id IS NULL");
    let live_uploads = format!("SELECT id FROM uploads WHERE {personal} AND deleted_at IS NULL");
    let (digest, response) = match engine {
        Engine::Sqlite => (format!("x'{:064x}'", 0), format!("x'{:0128x}'", 0)),
        Engine::Postgres => (format!("'\\x{:064x}'", 0), format!("'\\x{:0128x}'", 0)),
    };
    let keep = if keeps_request {
        format!(
            "INSERT INTO accepted_requests (application_id, request_id, digest, response, is_final, accepted_at)
            VALUES ('{APPLICATION}', '{subject:032x}', {digest}, {response}, true, {NOW});"
        )
    } else {
        String::new()
    };
    format!(
        "UPDATE conversations SET forgotten_at = {NOW} WHERE {personal} AND forgotten_at IS NULL;
        DELETE FROM compaction_cache WHERE {mine} AND conversation_id IN (SELECT id FROM conversations WHERE {personal});
        DELETE FROM upload_embeddings WHERE {mine} AND upload_id IN ({live_uploads});
        UPDATE uploads SET status = 'deleted', deleted_at = {NOW} WHERE {personal} AND deleted_at IS NULL;
        DELETE FROM memories WHERE {personal};
        UPDATE assistants SET status = 'deleted', deleted_at = {NOW} WHERE {personal} AND deleted_at IS NULL;
        UPDATE feedback SET deleted_at = {NOW} WHERE {mine} AND deleted_at IS NULL;
        DELETE FROM sessions WHERE {mine};
        {keep}"
    )
}

/// Some time; all that matters is that there is one.
const NOW: i64 = 1_800_000_000_000_000_000;

/// How many records there are of those that the statements above erase.
pub(crate) const COUNT_WHAT_SCOPES_ERASE: &str = "SELECT (SELECT count(*) FROM conversations WHERE forgotten_at IS NULL)
        + (SELECT count(*) FROM compaction_cache) + (SELECT count(*) FROM upload_embeddings)
        + (SELECT count(*) FROM uploads WHERE deleted_at IS NULL) + (SELECT count(*) FROM memories)
        + (SELECT count(*) FROM assistants WHERE deleted_at IS NULL) + (SELECT count(*) FROM feedback WHERE deleted_at IS NULL)
        + (SELECT count(*) FROM sessions);";

/// Undoes a ScopedDelete of dialogues.
pub(crate) const REMEMBER_ALL_DIALOGUES: &str = "UPDATE conversations SET forgotten_at = NULL WHERE forgotten_at IS NOT NULL;";
