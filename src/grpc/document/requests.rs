//! Cuts a document into the requests of an import, and finds a place in a request again in the document.

use std::iter::Peekable;

use prost::Message as _;

use super::item::Item;
use crate::{
    domain::limits::{FRAME_TARGET_BYTES, MAX_ELEMENTS, MAX_REQUEST_BYTES},
    grpc::{
        codec::holds_too_much,
        proto::{Conversation, ImportUserDataRequest},
    },
};

/// The tag and length before a nested record, and the header of a continuation it may need, roughly.
const OVERHEAD_BYTES: usize = 16;

/// The requests that import items, each of about 256 KiB, and with no more elements than one may have. An item that is larger has a request
/// to itself.
pub struct Requests<I: Iterator<Item = Item>> {
    user_token: String,
    items: Peekable<I>,
    /// What continues the conversation last begun: a forgotten one's continuations bear its mark.
    continuation: Conversation,
}

impl<I: Iterator<Item = Item>> Requests<I> {
    pub(super) fn new(user_token: String, items: I) -> Self {
        Self { user_token, items: items.peekable(), continuation: Conversation::default() }
    }
}

impl<I: Iterator<Item = Item>> Iterator for Requests<I> {
    type Item = ImportUserDataRequest;

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.items.next()?;
        let (mut bytes, mut elements) = (first.encoded_len() + OVERHEAD_BYTES, first.elements());
        let mut request = ImportUserDataRequest { user_token: self.user_token.clone(), ..ImportUserDataRequest::default() };
        self.put(&mut request, first);
        let mut has_room_for = |item: &Item| {
            bytes += item.encoded_len() + OVERHEAD_BYTES;
            elements += item.elements();
            bytes <= FRAME_TARGET_BYTES && elements <= MAX_ELEMENTS
        };
        while let Some(item) = self.items.next_if(&mut has_room_for) {
            self.put(&mut request, item);
        }
        Some(request)
    }
}

/// Why a request would end its stream, if it holds an item that is larger than any may be.
pub fn too_large(request: &ImportUserDataRequest) -> Option<String> {
    if request.encoded_len() > MAX_REQUEST_BYTES {
        return Some(format!("holds a record of more than {MAX_REQUEST_BYTES} bytes"));
    }
    holds_too_much(&request.encode_to_vec()).then(|| format!("holds a record with lists of more than {MAX_ELEMENTS} elements"))
}

impl<I: Iterator<Item = Item>> Requests<I> {
    fn put(&mut self, request: &mut ImportUserDataRequest, item: Item) {
        match item {
            Item::Conversation(conversation) => {
                let Conversation { id, forgotten_at, .. } = &conversation;
                self.continuation = Conversation { id: id.clone(), forgotten_at: *forgotten_at, ..Conversation::default() };
                request.conversations.push(conversation);
            }
            Item::Message { conversation_id, message } => {
                if let Some(conversation) = self.conversation(request, conversation_id) {
                    conversation.messages.push(message);
                }
            }
            Item::ConversationFeedback { conversation_id, feedback } => {
                if let Some(conversation) = self.conversation(request, conversation_id) {
                    conversation.feedback.push(feedback);
                }
            }
            Item::Feedback(feedback) => request.feedback.push(feedback),
            Item::Memory(memory) => request.memories.push(memory),
            Item::Upload(upload) => request.uploads.push(upload),
            Item::UploadContent(piece) => request.upload_contents.push(piece),
            Item::Assistant(assistant) => request.assistants.push(assistant),
            Item::Session(session) => request.sessions.push(session),
            Item::CompactionCache(entry) => request.compaction_cache.push(entry),
        }
    }

    /// The last conversation of the request, if it is this one, or a continuation of it. There always is one.
    fn conversation<'a>(&mut self, request: &'a mut ImportUserDataRequest, id: String) -> Option<&'a mut Conversation> {
        if request.conversations.last().is_none_or(|last| last.id != id) {
            if self.continuation.id != id {
                self.continuation = Conversation { id, ..Conversation::default() };
            }
            request.conversations.push(self.continuation.clone());
        }
        request.conversations.last_mut()
    }
}

/// Where in its document a request begins.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    conversations: usize,
    /// Of the last conversation begun.
    messages: usize,
    conversation_feedback: usize,
    /// Whether the request begins with a continuation of it.
    continues: bool,
    feedback: usize,
    memories: usize,
    uploads: usize,
    assistants: usize,
    sessions: usize,
    compaction_cache: usize,
}

impl Place {
    /// Passes over a request; `self` is then where the next one begins, and what is returned is where this one did.
    pub fn pass(&mut self, request: &ImportUserDataRequest) -> Self {
        let continues = request.conversations.first().is_some_and(|conversation| conversation.created_at.is_none());
        let begin = Self { continues, ..*self };
        for conversation in &request.conversations {
            if conversation.created_at.is_some() {
                self.conversations += 1;
                (self.messages, self.conversation_feedback) = (0, 0);
            }
            self.messages += conversation.messages.len();
            self.conversation_feedback += conversation.feedback.len();
        }
        self.feedback += request.feedback.len();
        self.memories += request.memories.len();
        self.uploads += request.uploads.len();
        self.assistants += request.assistants.len();
        self.sessions += request.sessions.len();
        self.compaction_cache += request.compaction_cache.len();
        begin
    }

    /// The path in the document of a field of the request: `conversations[0].messages[3].role` may be the document's
    /// `conversations[7].messages[203].role`.
    pub fn path(&self, field: &str) -> String {
        let Some((name, index, rest)) = indexed(field) else { return field.to_owned() };
        match name {
            "conversations" => {
                let continued = self.continues && index == 0;
                let conversation = self.conversations + index - usize::from(self.continues && self.conversations > 0);
                match rest.strip_prefix('.').and_then(indexed) {
                    Some((list @ ("messages" | "feedback"), index, rest)) => {
                        let before = if list == "messages" { self.messages } else { self.conversation_feedback };
                        let index = if continued { before + index } else { index };
                        format!("conversations[{conversation}].{list}[{index}]{rest}")
                    }
                    _ => format!("conversations[{conversation}]{rest}"),
                }
            }
            "feedback" => format!("feedback[{}]{rest}", self.feedback + index),
            "memories" => format!("memories[{}]{rest}", self.memories + index),
            "uploads" => format!("uploads[{}]{rest}", self.uploads + index),
            "assistants" => format!("assistants[{}]{rest}", self.assistants + index),
            "sessions" => format!("sessions[{}]{rest}", self.sessions + index),
            "compaction_cache" => format!("compactionCache[{}]{rest}", self.compaction_cache + index),
            _ => field.to_owned(),
        }
    }
}

/// `name[7].rest` as its name, its index and `.rest`.
fn indexed(path: &str) -> Option<(&str, usize, &str)> {
    let (name, rest) = path.split_once('[')?;
    let (index, rest) = rest.split_once(']')?;
    Some((name, index.parse().ok()?, rest))
}
