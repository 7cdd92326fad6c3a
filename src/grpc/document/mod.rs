//! The JSON user document, the form in which the HTTP documents show a user's data, and the records of the contract.
//!
//! Generated messages carry their JSON form themselves, by serde's remote derive: the forms repeat the fields, and no value is copied.
//! Whatever is any JSON is kept as its text, so that numbers keep every digit. Absent on purpose: the limits and rules of the server, which
//! an import hears from the server.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize, Serializer};

use crate::{
    domain::{limits::CONTENT_PIECE_BYTES, violation::Complaint},
    grpc::proto::{Assistant, CompactionCacheEntry, Conversation, Feedback, Memory, Session, Upload, UploadContent},
};

/// Gives a generated message the JSON form that the struct with `remote` describes.
macro_rules! form {
    ($record:ty, $form:ty) => {
        impl<'de> serde::Deserialize<'de> for $record {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <$form>::deserialize(deserializer)
            }
        }

        impl serde::Serialize for $record {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                <$form>::serialize(self, serializer)
            }
        }
    };
}

mod conversation;
mod error;
mod item;
mod memory;
mod message;
mod part;
mod records;
mod requests;
#[cfg(test)]
mod tests;
mod time;
mod upload;

use conversation::{ContinuationForm, ConversationForm};
pub use error::DocumentError;
pub use item::{Item, Line, items};
pub use requests::{Place, Requests, too_large};
use upload::UploadForm;

/// Everything one application holds about one user.
#[derive(Clone, PartialEq, Default)]
pub struct UserDocument {
    /// The application's name for the user.
    pub user_token: String,
    /// Conversations with their messages and feedback. One without `created_at` is a continuation, as an export of messages alone gives it.
    pub conversations: Vec<Conversation>,
    /// Feedback that belongs to no conversation.
    pub feedback: Vec<Feedback>,
    /// Memories.
    pub memories: Vec<Memory>,
    /// Uploads.
    pub uploads: Vec<Upload>,
    /// The content of those uploads for which it is known, by the id of the upload.
    pub contents: BTreeMap<String, Vec<u8>>,
    /// Assistants.
    pub assistants: Vec<Assistant>,
    /// Sessions.
    pub sessions: Vec<Session>,
    /// Compaction cache entries.
    pub compaction_cache: Vec<CompactionCacheEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DocumentForm {
    user_token: String,
    conversations: Vec<ConversationForm<'static>>,
    memories: Vec<Memory>,
    #[serde(default)]
    feedback: Vec<Feedback>,
    #[serde(default)]
    uploads: Vec<UploadForm<'static>>,
    #[serde(default)]
    assistants: Vec<Assistant>,
    #[serde(default)]
    sessions: Vec<Session>,
    #[serde(default)]
    compaction_cache: Vec<CompactionCacheEntry>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenForm<'a> {
    user_token: &'a str,
    conversations: Vec<ConversationElement<'a>>,
    memories: &'a [Memory],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    feedback: &'a [Feedback],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    uploads: Vec<UploadForm<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    assistants: &'a [Assistant],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    sessions: &'a [Session],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    compaction_cache: &'a [CompactionCacheEntry],
}

#[derive(Serialize)]
#[serde(untagged)]
enum ConversationElement<'a> {
    Whole(Box<ConversationForm<'a>>),
    Continuation(ContinuationForm<'a>),
}

impl UserDocument {
    /// An empty document.
    pub fn new(user_token: impl Into<String>) -> Self {
        Self { user_token: user_token.into(), ..Self::default() }
    }

    /// Reads a document from JSON.
    ///
    /// # Errors
    /// What is wrong, with the full path of the member and without its content.
    pub fn parse(json: &[u8]) -> Result<Self, DocumentError> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let form: DocumentForm = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| DocumentError::reading(&error))?;
        deserializer.end().map_err(|error| DocumentError::Syntax { line: error.line(), column: error.column() })?;

        let elsewhere =
            |conversation: &ConversationForm<'_>| conversation.user_token.as_ref().is_some_and(|token| *token != form.user_token);
        if let Some(index) = form.conversations.iter().position(elsewhere) {
            let complaint = Complaint::Rule("differs from the document's userToken; one document is about one user");
            return Err(DocumentError::Member { path: format!("conversations[{index}].userToken"), problem: complaint.to_string() });
        }
        let mut document = Self {
            user_token: form.user_token,
            conversations: form.conversations.into_iter().map(Into::into).collect(),
            feedback: form.feedback,
            memories: form.memories,
            assistants: form.assistants,
            sessions: form.sessions,
            compaction_cache: form.compaction_cache,
            ..Self::default()
        };
        for upload in form.uploads {
            let (upload, content) = upload.into_parts();
            if let Some(content) = content {
                document.contents.insert(upload.id.clone(), content);
            }
            document.uploads.push(upload);
        }
        Ok(document)
    }

    /// Adds an item of an export; items must come in the order of the export.
    ///
    /// # Errors
    /// If a piece of content does not follow the one before it.
    pub fn push(&mut self, item: Item) -> Result<(), DocumentError> {
        match item {
            Item::Conversation(conversation) => self.conversations.push(conversation),
            Item::Message { conversation_id, message } => self.conversation(&conversation_id).messages.push(message),
            Item::ConversationFeedback { conversation_id, feedback } => self.conversation(&conversation_id).feedback.push(feedback),
            Item::Feedback(feedback) => self.feedback.push(feedback),
            Item::Memory(memory) => self.memories.push(memory),
            Item::Upload(upload) => self.uploads.push(upload),
            Item::UploadContent(UploadContent { missing: true, offset: 0, .. }) => {}
            Item::UploadContent(UploadContent { missing: true, .. }) => return Err(DocumentError::ContentGap),
            Item::UploadContent(piece) => {
                let content = self.contents.entry(piece.upload_id).or_default();
                if usize::try_from(piece.offset) != Ok(content.len()) {
                    return Err(DocumentError::ContentGap);
                }
                content.extend(piece.data);
            }
            Item::Assistant(assistant) => self.assistants.push(assistant),
            Item::Session(session) => self.sessions.push(session),
            Item::CompactionCache(entry) => self.compaction_cache.push(entry),
        }
        Ok(())
    }

    /// The conversation of this id, begun as a continuation if nothing is known of it.
    fn conversation(&mut self, id: &str) -> &mut Conversation {
        // Parts of a conversation follow each other, so no other than the last can be it.
        if self.conversations.last().is_none_or(|last| last.id != id) {
            self.conversations.push(Conversation { id: id.to_owned(), ..Conversation::default() });
        }
        let last = self.conversations.len() - 1;
        &mut self.conversations[last]
    }

    /// The document as items, in the order of an export.
    pub fn into_items(self) -> impl Iterator<Item = Item> {
        let mut contents = self.contents;
        let uploads = self.uploads.into_iter().flat_map(move |upload| {
            let pieces = contents.remove(&upload.id).map(|content| pieces(&upload.id, &content));
            std::iter::once(Item::Upload(upload)).chain(pieces.into_iter().flatten())
        });
        (self.conversations.into_iter().flat_map(item::conversation_items))
            .chain(self.feedback.into_iter().map(Item::Feedback))
            .chain(self.memories.into_iter().map(Item::Memory))
            .chain(uploads)
            .chain(self.assistants.into_iter().map(Item::Assistant))
            .chain(self.sessions.into_iter().map(Item::Session))
            .chain(self.compaction_cache.into_iter().map(Item::CompactionCache))
    }

    /// The requests that import the document, each of about 256 KiB.
    pub fn into_requests(mut self) -> Requests<impl Iterator<Item = Item>> {
        let user_token = std::mem::take(&mut self.user_token);
        Requests::new(user_token, self.into_items())
    }
}

fn pieces(upload_id: &str, content: &[u8]) -> Vec<Item> {
    let piece = |offset: usize, data: &[u8]| {
        // No content is longer than i64::MAX: it is in memory.
        let offset = i64::try_from(offset).unwrap_or(i64::MAX);
        Item::UploadContent(UploadContent { upload_id: upload_id.to_owned(), offset, data: data.to_owned(), missing: false })
    };
    if content.is_empty() {
        return vec![piece(0, &[])];
    }
    content.chunks(CONTENT_PIECE_BYTES).enumerate().map(|(index, data)| piece(index * CONTENT_PIECE_BYTES, data)).collect()
}

impl Serialize for UserDocument {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let element = |conversation| match ConversationForm::of(conversation, &self.user_token) {
            Some(mut whole) => {
                whole.messages = Some(Cow::Borrowed(&conversation.messages));
                whole.feedback = Some(Cow::Borrowed(&conversation.feedback));
                ConversationElement::Whole(Box::new(whole))
            }
            None => ConversationElement::Continuation(ContinuationForm::of(conversation, &self.user_token)),
        };
        WrittenForm {
            user_token: &self.user_token,
            conversations: self.conversations.iter().map(element).collect(),
            memories: &self.memories,
            feedback: &self.feedback,
            uploads: self.uploads.iter().map(|upload| UploadForm::of(upload, self.contents.get(&upload.id))).collect(),
            assistants: &self.assistants,
            sessions: &self.sessions,
            compaction_cache: &self.compaction_cache,
        }
        .serialize(serializer)
    }
}
