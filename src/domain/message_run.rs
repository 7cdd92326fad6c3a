//! Messages as an export reads them: those of a page lie in one buffer, so that nothing is made for each of them.

use std::{ops::Range, sync::Arc};

use super::{digest::RecordDigest, record::RecordKey, timestamp::Timestamp};

/// How long most ids are: a prefix and 24 hexadecimal digits.
const USUAL_ID_BYTES: usize = 32;

/// Some messages in order.
pub struct MessagePage {
    ids: String,
    bodies: Vec<u8>,
    rows: Vec<Row>,
}

struct Row {
    created_at: Timestamp,
    /// Where its id ends; it begins where that of the row before ends.
    id_end: usize,
    /// The same of its body.
    body_end: usize,
    digest: RecordDigest,
}

/// A message where it lies in its page. What its parts are, [`Message`](super::record::Message) tells.
#[derive(Clone, Copy)]
pub struct MessageRef<'a> {
    /// When it was created.
    pub created_at: Timestamp,
    /// Its id.
    pub id: &'a str,
    /// Its body.
    pub body: &'a [u8],
    /// Its digest.
    pub digest: &'a RecordDigest,
}

impl MessagePage {
    /// An empty page with room for so many messages, whose bodies are so many bytes.
    pub fn with_capacity(messages: usize, bytes: usize) -> Self {
        Self {
            ids: String::with_capacity(messages * USUAL_ID_BYTES),
            bodies: Vec::with_capacity(bytes),
            rows: Vec::with_capacity(messages),
        }
    }

    /// Appends a message; tells how many bytes it takes.
    pub fn push(&mut self, created_at: Timestamp, id: &str, body: &[u8], digest: RecordDigest) -> usize {
        self.ids.push_str(id);
        self.bodies.extend_from_slice(body);
        self.rows.push(Row { created_at, id_end: self.ids.len(), body_end: self.bodies.len(), digest });
        size_of::<Row>() + id.len() + body.len()
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn get(&self, index: usize) -> MessageRef<'_> {
        let (id_start, body_start) = match index.checked_sub(1) {
            Some(before) => (self.rows[before].id_end, self.rows[before].body_end),
            None => (0, 0),
        };
        let Row { created_at, id_end, body_end, digest } = &self.rows[index];
        MessageRef { created_at: *created_at, id: &self.ids[id_start..*id_end], body: &self.bodies[body_start..*body_end], digest }
    }
}

/// Messages that follow each other in one conversation. There is at least one.
pub struct MessageRun {
    page: Arc<MessagePage>,
    rows: Range<usize>,
}

impl MessageRun {
    /// The messages of these rows of a page, which are some.
    pub fn new(page: Arc<MessagePage>, rows: Range<usize>) -> Self {
        Self { page, rows }
    }

    /// The messages.
    pub fn iter(&self) -> impl Iterator<Item = MessageRef<'_>> {
        self.rows.clone().map(|row| self.page.get(row))
    }

    /// The key of the last message.
    pub fn last_key(&self) -> RecordKey {
        self.page.get(self.rows.end - 1).key()
    }

    /// How many bytes they take in memory.
    pub fn bytes(&self) -> usize {
        self.iter().map(|message| size_of::<Row>() + message.id.len() + message.body.len()).sum()
    }
}

impl MessageRef<'_> {
    /// Its place within its conversation.
    pub fn key(&self) -> RecordKey {
        RecordKey { created_at: self.created_at, id: self.id.to_owned() }
    }
}
