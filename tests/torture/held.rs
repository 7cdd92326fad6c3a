//! What is held of one user, and what each call does to it and answers: the contract on a page, for calls that come one after the other.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use prost::Message as _;
use prost_types::Timestamp;
use sha2::{Digest, Sha256};
use userdata::grpc::proto::{
    Assistant, CompactionCacheEntry, Conversation, DeleteUserMessagesRequest, DeleteUserMessagesResponse, ExportUserDataResponse, Feedback,
    ImportUserDataRequest, Memory, Message, Remaining, ScopedDeleteRequest, ScopedDeleteResponse, Session, Upload,
};

/// What is marked is marked so: the model has no clock.
const MARK: Option<Timestamp> = Some(Timestamp { seconds: 0, nanos: 0 });

/// What an export shows: the serialised form of each record by kind and id, and whole contents.
pub(crate) type Shown = BTreeMap<String, Vec<u8>>;

/// An erasure as it is asked for.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Erasure {
    Messages(DeleteUserMessagesRequest),
    Scopes(ScopedDeleteRequest),
}

/// What it answers.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Answer {
    Messages(DeleteUserMessagesResponse),
    Scopes(ScopedDeleteResponse),
}

impl Erasure {
    /// All scopes, once.
    pub(crate) fn everything(user_token: &str, request_id: String) -> Self {
        Self::Scopes(ScopedDeleteRequest {
            user_token: user_token.to_owned(),
            dialogues: true,
            vault: true,
            memory: true,
            assistants: true,
            feedback: true,
            sessions: true,
            request_id,
            ..Default::default()
        })
    }
}

impl Answer {
    /// As it was sent.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Messages(answer) => answer.encode_to_vec(),
            Self::Scopes(answer) => answer.encode_to_vec(),
        }
    }

    /// Without what the model does not know.
    pub(crate) fn without_residue(&self) -> Self {
        match self {
            Self::Messages(answer) => Self::Messages(DeleteUserMessagesResponse { residue: None, ..answer.clone() }),
            Self::Scopes(answer) => Self::Scopes(answer.clone()),
        }
    }
}

/// One user's records.
#[derive(Clone, Default, Debug)]
pub(crate) struct Held {
    conversations: BTreeMap<String, Conversation>,
    messages: BTreeMap<String, Message>,
    feedback: BTreeMap<String, Feedback>,
    memories: BTreeMap<String, Memory>,
    uploads: BTreeMap<String, Upload>,
    contents: BTreeMap<String, Vec<u8>>,
    assistants: BTreeMap<String, Assistant>,
    sessions: BTreeMap<String, Session>,
    compaction_cache: BTreeMap<String, CompactionCacheEntry>,
}

impl Held {
    /// Takes a request of which nothing is rejected.
    pub(crate) fn import(&mut self, request: &ImportUserDataRequest) {
        for sent in &request.conversations {
            let header = Conversation { messages: vec![], feedback: vec![], ..sent.clone() };
            self.conversations.insert(sent.id.clone(), header);
            self.messages.extend(sent.messages.iter().map(|message| (message.id.clone(), message.clone())));
            self.feedback.extend(sent.feedback.iter().map(|feedback| (feedback.id.clone(), feedback.clone())));
        }
        self.feedback.extend(request.feedback.iter().map(|record| (record.id.clone(), record.clone())));
        self.memories.extend(request.memories.iter().map(|record| (record.object_id.clone().unwrap(), record.clone())));
        self.uploads.extend(request.uploads.iter().map(|record| (record.id.clone(), record.clone())));
        for piece in &request.upload_contents {
            let content = self.contents.entry(piece.upload_id.clone()).or_default();
            content.truncate(piece.offset as usize);
            content.extend(&piece.data);
        }
        self.assistants.extend(request.assistants.iter().map(|record| (record.id.clone(), record.clone())));
        self.sessions.extend(request.sessions.iter().map(|record| (record.id.clone(), record.clone())));
        self.compaction_cache.extend(request.compaction_cache.iter().map(|record| (record.id.clone(), record.clone())));
    }

    /// Erases: what the answer is, but for the residue.
    pub(crate) fn erase(&mut self, erasure: &Erasure) -> Answer {
        match erasure {
            Erasure::Messages(request) => Answer::Messages(self.delete_messages(request)),
            Erasure::Scopes(request) => Answer::Scopes(self.scoped_delete(request)),
        }
    }

    fn delete_messages(&mut self, request: &DeleteUserMessagesRequest) -> DeleteUserMessagesResponse {
        let spoken: BTreeSet<String> = self.messages.values().map(|message| message.conversation_id.clone()).collect();
        let mut answer = DeleteUserMessagesResponse { remaining: Some(Remaining::default()), ..Default::default() };
        for conversation in self.conversations.values_mut() {
            answer.conversations_affected += i32::from(conversation.message_count != 0 || spoken.contains(&conversation.id));
            conversation.message_count = 0;
            if request.scrub_residue {
                answer.titles_scrubbed += i32::from(conversation.title.take().is_some());
            }
        }
        if request.scrub_residue {
            answer.notes_scrubbed = self.feedback.values_mut().filter_map(|feedback| feedback.notes.take()).count() as i32;
        }
        answer.messages_deleted = std::mem::take(&mut self.messages).len() as i32;
        answer.compaction_cache_purged = std::mem::take(&mut self.compaction_cache).len() as i32;
        answer
    }

    fn scoped_delete(&mut self, scopes: &ScopedDeleteRequest) -> ScopedDeleteResponse {
        let mut answer = ScopedDeleteResponse { remaining: Some(Remaining::default()), ..Default::default() };
        if scopes.dialogues {
            for conversation in self.conversations.values_mut().filter(|conversation| conversation.institution_id.is_none()) {
                answer.dialogues_forgotten += i32::from(conversation.forgotten_at.is_none());
                conversation.forgotten_at = MARK;
            }
            let conversations = &self.conversations;
            answer.compaction_cache_purged =
                retain(&mut self.compaction_cache, |entry| conversations[&entry.conversation_id].institution_id.is_some());
        }
        if scopes.vault {
            let gone: Vec<String> =
                self.uploads.values().filter(|upload| upload.institution_id.is_none()).map(|upload| upload.id.clone()).collect();
            for id in gone {
                let upload = self.uploads.remove(&id).unwrap();
                self.contents.remove(&id);
                answer.uploads_deleted += 1;
                answer.bytes_freed += upload.size_bytes;
            }
        }
        if scopes.memory {
            answer.memory_deleted = retain(&mut self.memories, |memory| memory.institution_id.is_some());
        }
        if scopes.assistants {
            answer.assistants_deleted = retain(&mut self.assistants, |assistant| assistant.institution_id.is_some());
        }
        if scopes.feedback {
            for feedback in self.feedback.values_mut().filter(|feedback| feedback.deleted_at.is_none()) {
                answer.feedback_deleted += 1;
                feedback.deleted_at = MARK;
            }
        }
        if scopes.sessions {
            answer.sessions_deleted = retain(&mut self.sessions, |_| false);
        }
        answer
    }

    /// What an export with content shows.
    pub(crate) fn shown(&self) -> Shown {
        let mut shown = Shown::new();
        let open = |id: &String| self.conversations.get(id).is_some_and(|conversation| conversation.forgotten_at.is_none());
        put(&mut shown, "conversation", self.conversations.iter().filter(|(id, _)| open(id)));
        put(&mut shown, "message", self.messages.iter().filter(|(_, message)| open(&message.conversation_id)));
        put(&mut shown, "feedback", self.feedback.iter().filter(|(_, feedback)| feedback.deleted_at.is_none()));
        put(&mut shown, "memory", self.memories.iter());
        put(&mut shown, "upload", self.uploads.iter());
        put(&mut shown, "assistant", self.assistants.iter());
        put(&mut shown, "session", self.sessions.iter());
        put(&mut shown, "compaction cache entry", self.compaction_cache.iter());
        shown.extend(self.contents.iter().map(|(id, content)| (content_of(id), content.clone())));
        shown
    }

    /// How many messages are held, hidden ones too.
    pub(crate) fn messages(&self) -> usize {
        self.messages.len()
    }

    /// How many files are held.
    pub(crate) fn files(&self) -> usize {
        self.contents.len()
    }

    /// Whether there is a file that an object store was given in parts.
    pub(crate) fn is_large(&self) -> bool {
        self.contents.values().any(|content| content.len() > 5 << 20)
    }

    /// Whether a file in the object store is that of an upload which is held, or was to be.
    pub(crate) fn has_file(&self, file: &Path) -> bool {
        // What is only partly written has a number after its name.
        let name = file.file_name().unwrap().to_string_lossy();
        let name = name.split('#').next().unwrap();
        self.uploads.keys().any(|id| hex::encode(Sha256::digest(id)) == name)
    }
}

/// What an export showed. A record that came twice is shown under a name of its own.
pub(crate) fn shown_by(responses: &[ExportUserDataResponse]) -> Shown {
    let mut shown = Shown::new();
    let mut add = |kind: &str, id: &str, bytes: Vec<u8>| {
        let name = format!("{kind} {id}");
        let name = if shown.contains_key(&name) { format!("{name}, again") } else { name };
        shown.insert(name, bytes);
    };
    let mut contents: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    for response in responses {
        for conversation in &response.conversations {
            if conversation.created_at.is_some() {
                let header = Conversation { messages: vec![], feedback: vec![], ..conversation.clone() };
                add("conversation", &header.id, header.encode_to_vec());
            }
            conversation.messages.iter().for_each(|record| add("message", &record.id, record.encode_to_vec()));
            conversation.feedback.iter().for_each(|record| add("feedback", &record.id, record.encode_to_vec()));
        }
        response.feedback.iter().for_each(|record| add("feedback", &record.id, record.encode_to_vec()));
        response.memories.iter().for_each(|record| add("memory", record.object_id(), record.encode_to_vec()));
        response.uploads.iter().for_each(|record| add("upload", &record.id, record.encode_to_vec()));
        response.assistants.iter().for_each(|record| add("assistant", &record.id, record.encode_to_vec()));
        response.sessions.iter().for_each(|record| add("session", &record.id, record.encode_to_vec()));
        response.compaction_cache.iter().for_each(|record| add("compaction cache entry", &record.id, record.encode_to_vec()));
        for piece in response.upload_contents.iter().filter(|piece| !piece.missing) {
            contents.entry(&piece.upload_id).or_default().extend(&piece.data);
        }
    }
    shown.extend(contents.into_iter().map(|(id, content)| (content_of(id), content)));
    shown
}

/// How `seen` differs from what is expected, of which `may_miss` may be missing; `None` if it does not.
pub(crate) fn difference(expected: &Shown, seen: &Shown, may_miss: &BTreeSet<String>) -> Option<String> {
    let missing = expected.keys().filter(|name| !seen.contains_key(*name) && !may_miss.contains(*name));
    let added = seen.keys().filter(|name| !expected.contains_key(*name));
    let other = expected.iter().filter(|(name, bytes)| seen.get(*name).is_some_and(|seen| seen != *bytes)).map(|(name, _)| name);
    let list = |what: &str, names: Vec<&String>| (!names.is_empty()).then(|| format!("{what} {names:?}"));
    let parts = [list("missing", missing.collect()), list("added", added.collect()), list("different", other.collect())];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// The name under which the content of an upload is shown.
pub(crate) fn content_of(upload_id: &str) -> String {
    format!("content {upload_id}")
}

fn put<'a, R: prost::Message + 'a>(shown: &mut Shown, kind: &str, records: impl Iterator<Item = (&'a String, &'a R)>) {
    shown.extend(records.map(|(id, record)| (format!("{kind} {id}"), record.encode_to_vec())));
}

/// Keeps some: how many went.
fn retain<R>(records: &mut BTreeMap<String, R>, keep: impl Fn(&R) -> bool) -> i32 {
    let before = records.len();
    records.retain(|_, record| keep(record));
    (before - records.len()) as i32
}
