//! What the service promises, on a page: one user's records in maps, and what each call does to them. Written from the contract.
//!
//! A mark (`forgotten_at`, `deleted_at`) is the moment 0 here: the model has no clock.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use prost_types::Timestamp;
use userdata::grpc::proto::{
    Assistant, Category, CompactionCacheEntry, Conversation, DeleteUserMessagesResponse, ExportUserDataResponse, Feedback,
    ImportUserDataRequest, Memory, Message, RecordCounts, Remaining, Residue, Role, ScopedDeleteRequest, ScopedDeleteResponse, Session,
    Upload, UploadContent,
};

use crate::rpc::nothing_erased;

pub(crate) const MARK: Option<Timestamp> = Some(Timestamp { seconds: 0, nanos: 0 });

#[derive(Clone, Default, Debug)]
pub(crate) struct User {
    conversations: BTreeMap<String, Conversation>,
    messages: BTreeMap<String, Message>,
    /// With the conversation each is nested in.
    feedback: BTreeMap<String, (Option<String>, Feedback)>,
    memories: BTreeMap<String, Memory>,
    uploads: BTreeMap<String, Upload>,
    contents: BTreeMap<String, Vec<u8>>,
    assistants: BTreeMap<String, Assistant>,
    sessions: BTreeMap<String, Session>,
    compaction_cache: BTreeMap<String, CompactionCacheEntry>,
    /// What was erased before: `messages`, `texts`, or a scope.
    erased: BTreeSet<&'static str>,
}

/// When a writer says that it observed what it sends.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Observed {
    /// It does not say. All records of the model are older than any erasure.
    AtItsOwnTime,
    /// After the last erasure.
    Now,
    /// Before it.
    Before,
}

/// What an import answers.
#[derive(Clone, PartialEq, Default, Debug)]
pub(crate) struct Imported {
    pub(crate) counts: RecordCounts,
    pub(crate) rejected: i32,
    /// The paths of what was rejected.
    pub(crate) rejections: Vec<String>,
}

impl Imported {
    fn reject(&mut self, path: String, records: usize) {
        self.rejected += records as i32;
        self.rejections.push(path);
    }
}

/// Content whose pieces have not all arrived.
pub(crate) struct OpenContent {
    user: usize,
    upload_id: String,
    size: usize,
    data: Vec<u8>,
    path: String,
}

/// What stands for the id of a memory that has none: all of it.
pub(crate) fn identity(memory: &Memory) -> String {
    hex::encode(memory.encode_to_vec())
}

fn put<R>(records: &mut BTreeMap<String, R>, id: &str, record: R, count: &mut i32) {
    records.insert(id.to_owned(), record);
    *count += 1;
}

fn live(upload: Option<&Upload>) -> Option<&Upload> {
    upload.filter(|upload| upload.deleted_at.is_none())
}

impl User {
    /// Takes the records of one request, in the order of the contract's fields; each that cannot be taken is rejected alone.
    pub(crate) fn import(&mut self, path: &str, request: &ImportUserDataRequest, observed: Observed, answer: &mut Imported) {
        let mut counts = answer.counts;
        let erased = self.erased.clone();
        let is_late = |what: &str, concerned: bool| match observed {
            Observed::AtItsOwnTime => concerned && erased.contains(what),
            Observed::Now => false,
            Observed::Before => true,
        };
        let mut taken: BTreeSet<(&str, &str)> = BTreeSet::new();
        for (index, element) in request.conversations.iter().enumerate() {
            let path = format!("{path}.conversations[{index}]");
            let (has_header, bad) = (element.created_at.is_some(), element.created_at.is_some() && element.agent_id.is_empty());
            if bad {
                answer.reject(format!("{path}.agent_id"), 1);
            }
            let bad_messages: Vec<_> = element.messages.iter().map(|message| message.role() == Role::Unspecified).collect();
            for (nth, _) in bad_messages.iter().enumerate().filter(|(_, bad)| **bad) {
                answer.reject(format!("{path}.messages[{nth}].role"), 1);
            }
            let good = bad_messages.iter().filter(|bad| !**bad).count();
            if bad && good + element.feedback.len() == 0 {
                continue;
            }
            let held = self.conversations.get(&element.id);
            let takes_header = has_header && !bad;
            if held.is_none_or(|held| held.forgotten_at.is_some() != element.forgotten_at.is_some()) && !(held.is_none() && takes_header) {
                // An empty continuation holds no record, and is still not taken.
                answer.reject(format!("{path}.id"), Ord::max(usize::from(takes_header) + good + element.feedback.len(), 1));
                continue;
            }
            let personal = element.institution_id.is_none() && element.forgotten_at.is_none();
            let late = match () {
                () if !takes_header => None,
                () if is_late("dialogues", personal) => Some("created_at"),
                () if element.title.is_some() && is_late("texts", true) => Some("title"),
                () => None,
            };
            if let Some(field) = late {
                answer.reject(format!("{path}.{field}"), 1 + good + element.feedback.len());
                continue;
            }
            if takes_header {
                let forgotten_at = element.forgotten_at.and(MARK);
                let message_count = if is_late("messages", true) { 0 } else { element.message_count };
                let header = Conversation { messages: vec![], feedback: vec![], forgotten_at, message_count, ..element.clone() };
                self.conversations.insert(element.id.clone(), header);
                counts.conversations += i32::from(taken.insert(("conversation", &element.id)));
            }
            for (nth, message) in element.messages.iter().enumerate().filter(|(nth, _)| !bad_messages[*nth]) {
                if is_late("messages", true) {
                    answer.reject(format!("{path}.messages[{nth}].created_at"), 1);
                } else if self.messages.get(&message.id).is_some_and(|held| held.conversation_id != element.id) {
                    answer.reject(format!("{path}.messages[{nth}].id"), 1);
                } else {
                    self.messages.insert(message.id.clone(), message.clone());
                    counts.messages += i32::from(taken.insert(("message", &message.id)));
                }
            }
            for (nth, feedback) in element.feedback.iter().enumerate() {
                self.give_feedback(format!("{path}.feedback[{nth}]"), Some(&element.id), feedback, &is_late, &mut counts, answer);
            }
        }
        for (nth, feedback) in request.feedback.iter().enumerate() {
            self.give_feedback(format!("{path}.feedback[{nth}]"), None, feedback, &is_late, &mut counts, answer);
        }
        for (nth, memory) in request.memories.iter().enumerate() {
            if is_late("memory", memory.institution_id.is_none()) {
                answer.reject(format!("{path}.memories[{nth}].created_at"), 1);
                continue;
            }
            let id = memory.object_id.clone().unwrap_or_else(|| identity(memory));
            put(&mut self.memories, &id, memory.clone(), &mut counts.memories);
        }
        for (nth, upload) in request.uploads.iter().enumerate() {
            if self.uploads.get(&upload.id).is_some_and(|held| held.deleted_at.is_some() != upload.deleted_at.is_some()) {
                answer.reject(format!("{path}.uploads[{nth}].id"), 1);
            } else if is_late("vault", upload.institution_id.is_none() && upload.deleted_at.is_none()) {
                answer.reject(format!("{path}.uploads[{nth}].created_at"), 1);
            } else {
                let upload = Upload { deleted_at: upload.deleted_at.and(MARK), ..upload.clone() };
                put(&mut self.uploads, &upload.id.clone(), upload, &mut counts.uploads);
            }
        }
        for (nth, embedding) in request.upload_embeddings.iter().enumerate() {
            if observed == Observed::Before || live(self.uploads.get(&embedding.upload_id)).is_none() {
                answer.reject(format!("{path}.upload_embeddings[{nth}].upload_id"), 1);
            }
        }
        let mut good: Vec<(usize, &Assistant)> = Vec::new();
        for (nth, assistant) in request.assistants.iter().enumerate() {
            let is_live = assistant.deleted_at.is_none();
            let before = good.iter().rev().find(|(_, other)| other.id == assistant.id).map(|(_, other)| *other);
            if before.or(self.assistants.get(&assistant.id)).is_some_and(|held| held.deleted_at.is_none() != is_live) {
                answer.reject(format!("{path}.assistants[{nth}].id"), 1);
            } else if is_late("assistants", assistant.institution_id.is_none() && is_live) {
                answer.reject(format!("{path}.assistants[{nth}].created_at"), 1);
            } else {
                good.push((nth, assistant));
            }
        }
        let refused = self.refused_for_names(&good);
        for (nth, assistant) in good {
            if refused.contains(&assistant.id) {
                answer.reject(format!("{path}.assistants[{nth}].name"), 1);
            } else {
                let assistant = Assistant { deleted_at: assistant.deleted_at.and(MARK), ..assistant.clone() };
                self.assistants.insert(assistant.id.clone(), assistant);
                counts.assistants += i32::from(taken.insert(("assistant", &request.assistants[nth].id)));
            }
        }
        for (nth, session) in request.sessions.iter().enumerate() {
            if is_late("sessions", true) {
                answer.reject(format!("{path}.sessions[{nth}].created_at"), 1);
                continue;
            }
            put(&mut self.sessions, &session.id, session.clone(), &mut counts.sessions);
        }
        for (nth, entry) in request.compaction_cache.iter().enumerate() {
            if self.conversations.get(&entry.conversation_id).is_none_or(|conversation| conversation.forgotten_at.is_some()) {
                answer.reject(format!("{path}.compaction_cache[{nth}].conversation_id"), 1);
            } else if is_late("messages", true) {
                answer.reject(format!("{path}.compaction_cache[{nth}].created_at"), 1);
            } else {
                put(&mut self.compaction_cache, &entry.id, entry.clone(), &mut counts.compaction_cache);
            }
        }
        answer.counts = counts;
    }

    /// Feedback known to be nested stays nested, unless it is sent in another conversation.
    fn give_feedback(
        &mut self,
        path: String,
        within: Option<&str>,
        sent: &Feedback,
        is_late: &dyn Fn(&str, bool) -> bool,
        counts: &mut RecordCounts,
        answer: &mut Imported,
    ) {
        let held = self.feedback.get(&sent.id);
        if held.is_some_and(|(_, held)| held.deleted_at.is_some() != sent.deleted_at.is_some()) {
            return answer.reject(format!("{path}.id"), 1);
        }
        if is_late("feedback", sent.deleted_at.is_none()) {
            return answer.reject(format!("{path}.created_at"), 1);
        }
        if sent.notes.is_some() && is_late("texts", true) {
            return answer.reject(format!("{path}.notes"), 1);
        }
        let within = within.map(str::to_owned).or_else(|| held.and_then(|(within, _)| within.clone()));
        let sent = Feedback { deleted_at: sent.deleted_at.and(MARK), ..sent.clone() };
        put(&mut self.feedback, &sent.id.clone(), (within, sent), &mut counts.feedback);
    }

    /// Takes a piece of content: the pieces of an upload come in order, and nothing comes between them.
    pub(crate) fn content(
        &mut self,
        user: usize,
        path: &str,
        piece: &UploadContent,
        observed: Observed,
        open: &mut Option<OpenContent>,
        answer: &mut Imported,
    ) {
        if open.as_ref().is_none_or(|open| (open.user, &open.upload_id) != (user, &piece.upload_id)) {
            abandon(open, answer);
            match live(self.uploads.get(&piece.upload_id)) {
                _ if piece.offset != 0 => return answer.reject(format!("{path}.offset"), 1),
                None => return answer.reject(format!("{path}.upload_id"), 1),
                Some(_) if observed == Observed::Before => return answer.reject(format!("{path}.upload_id"), 1),
                Some(upload) => {
                    let (upload_id, size) = (upload.id.clone(), upload.size_bytes as usize);
                    *open = Some(OpenContent { user, upload_id, size, data: vec![], path: path.to_owned() });
                }
            }
        }
        let Some(mut content) = open.take() else { return };
        if piece.offset as usize != content.data.len() {
            return answer.reject(format!("{path}.offset"), 1);
        }
        content.data.extend(&piece.data);
        if content.data.len() > content.size {
            return answer.reject(format!("{path}.data"), 1);
        }
        if content.data.len() == content.size {
            self.contents.insert(content.upload_id, content.data);
        } else {
            *open = Some(content);
        }
    }

    pub(crate) fn delete_messages(&mut self, scrub: bool) -> DeleteUserMessagesResponse {
        self.erased.insert("messages");
        self.erased.extend(scrub.then_some("texts"));
        let titles = self.conversations.values_mut().map(|conversation| &mut conversation.title).filter(|title| title.is_some());
        let titles: Vec<_> = titles.map(|title| *title = title.take().filter(|_| !scrub)).collect();
        let notes = self.feedback.values_mut().map(|(_, feedback)| &mut feedback.notes).filter(|notes| notes.is_some());
        let notes: Vec<_> = notes.map(|notes| *notes = notes.take().filter(|_| !scrub)).collect();
        let (titles, feedback_notes) = (titles.len() as i32, notes.len() as i32);
        let (titles_scrubbed, notes_scrubbed) = if scrub { (titles, feedback_notes) } else { (0, 0) };
        let with_messages: BTreeSet<String> = self.messages.values().map(|message| message.conversation_id.clone()).collect();
        let mut conversations_affected = 0;
        for conversation in self.conversations.values_mut() {
            conversations_affected += i32::from(conversation.message_count != 0 || with_messages.contains(&conversation.id));
            conversation.message_count = 0;
        }
        let messages_deleted = std::mem::take(&mut self.messages).len() as i32;
        let compaction_cache_purged = std::mem::take(&mut self.compaction_cache).len() as i32;
        let residue = Residue {
            titles: titles - titles_scrubbed,
            feedback_notes: feedback_notes - notes_scrubbed,
            memories: self.memories.len() as i32,
            uploads: self.uploads.len() as i32,
            assistants: self.assistants.len() as i32,
            sessions: self.sessions.len() as i32,
        };
        DeleteUserMessagesResponse {
            messages_deleted,
            conversations_affected,
            compaction_cache_purged,
            titles_scrubbed,
            notes_scrubbed,
            remaining: Some(Remaining::default()),
            residue: Some(residue),
            ..Default::default()
        }
    }

    pub(crate) fn scoped_delete(&mut self, scopes: &ScopedDeleteRequest) -> ScopedDeleteResponse {
        let mut answer = nothing_erased();
        let chosen = [
            ("dialogues", scopes.dialogues),
            ("vault", scopes.vault),
            ("memory", scopes.memory),
            ("assistants", scopes.assistants),
            ("feedback", scopes.feedback),
            ("sessions", scopes.sessions),
        ];
        self.erased.extend(chosen.into_iter().filter_map(|(scope, chosen)| chosen.then_some(scope)));
        if scopes.dialogues {
            let (conversations, before) = (&mut self.conversations, self.compaction_cache.len());
            for conversation in conversations.values_mut().filter(|conversation| conversation.institution_id.is_none()) {
                answer.dialogues_forgotten += i32::from(conversation.forgotten_at.is_none());
                conversation.forgotten_at = MARK;
            }
            self.compaction_cache.retain(|_, entry| conversations[&entry.conversation_id].institution_id.is_some());
            answer.compaction_cache_purged = (before - self.compaction_cache.len()) as i32;
        }
        if scopes.vault {
            let personal = |upload: &&mut Upload| upload.institution_id.is_none() && upload.deleted_at.is_none();
            for upload in self.uploads.values_mut().filter(personal) {
                answer.uploads_deleted += 1;
                answer.bytes_freed += upload.size_bytes;
                (upload.status, upload.deleted_at) = ("deleted".to_owned(), MARK);
                self.contents.remove(&upload.id);
            }
        }
        if scopes.memory {
            let before = self.memories.len();
            self.memories.retain(|_, memory| memory.institution_id.is_some());
            answer.memory_deleted = (before - self.memories.len()) as i32;
        }
        if scopes.assistants {
            let personal = |assistant: &&mut Assistant| assistant.institution_id.is_none() && assistant.deleted_at.is_none();
            for assistant in self.assistants.values_mut().filter(personal) {
                answer.assistants_deleted += 1;
                (assistant.status, assistant.deleted_at) = ("deleted".to_owned(), MARK);
            }
        }
        if scopes.feedback {
            for (_, feedback) in self.feedback.values_mut().filter(|(_, feedback)| feedback.deleted_at.is_none()) {
                answer.feedback_deleted += 1;
                feedback.deleted_at = MARK;
            }
        }
        if scopes.sessions {
            answer.sessions_deleted = std::mem::take(&mut self.sessions).len() as i32;
        }
        answer
    }

    /// Everything an export shows, as if it came in one response.
    pub(crate) fn export(&self, categories: &[Category], include_deleted: bool, with_content: bool) -> ExportUserDataResponse {
        let asked = |category| categories.is_empty() || categories.contains(&category);
        let shown = |mark: &Option<Timestamp>| include_deleted || mark.is_none();
        let is_shown = |id: &String| self.conversations.get(id).is_some_and(|conversation| shown(&conversation.forgotten_at));
        let mut export = ExportUserDataResponse::default();
        for conversation in in_order(self.conversations.values(), |record| (record.created_at, record.id.clone())) {
            let mut messages = in_order(self.messages.values(), |record| (record.created_at, record.id.clone()));
            messages.retain(|message| asked(Category::Messages) && message.conversation_id == conversation.id);
            let within = self.feedback.values().filter(|(within, _)| within.as_ref() == Some(&conversation.id)).map(|(_, record)| record);
            let mut feedback = in_order(within, |record| (record.created_at, record.id.clone()));
            feedback.retain(|feedback| asked(Category::Feedback) && shown(&feedback.deleted_at));
            let (id, forgotten_at) = (conversation.id.clone(), conversation.forgotten_at);
            let continuation = Conversation { id, forgotten_at, ..Default::default() };
            let header = if asked(Category::Conversations) { conversation } else { continuation };
            if shown(&forgotten_at) && (asked(Category::Conversations) || !messages.is_empty() || !feedback.is_empty()) {
                export.conversations.push(Conversation { messages, feedback, ..header });
            }
        }
        if asked(Category::Feedback) {
            let detached = self.feedback.values().filter(|(within, _)| !within.as_ref().is_some_and(is_shown)).map(|(_, record)| record);
            export.feedback = in_order(detached, |record| (record.created_at, record.id.clone()));
            export.feedback.retain(|feedback| shown(&feedback.deleted_at));
        }
        if asked(Category::Memories) {
            export.memories = in_order(self.memories.values(), |record| (record.created_at, record.object_id.clone().unwrap_or_default()));
        }
        if asked(Category::Uploads) {
            export.uploads = in_order(self.uploads.values(), |record| (record.created_at, record.id.clone()));
            export.uploads.retain(|upload| shown(&upload.deleted_at));
            for upload in export.uploads.iter().filter(|upload| with_content && upload.deleted_at.is_none()) {
                let (upload_id, content) = (upload.id.clone(), self.contents.get(&upload.id));
                let data = content.cloned().unwrap_or_default();
                export.upload_contents.push(UploadContent { upload_id, offset: 0, missing: content.is_none(), data });
            }
        }
        if asked(Category::Assistants) {
            export.assistants = in_order(self.assistants.values(), |record| (record.created_at, record.id.clone()));
            export.assistants.retain(|assistant| shown(&assistant.deleted_at));
        }
        if asked(Category::Sessions) {
            export.sessions = in_order(self.sessions.values(), |record| (record.created_at, record.id.clone()));
        }
        if asked(Category::CompactionCache) {
            export.compaction_cache = in_order(self.compaction_cache.values(), |record| (record.created_at, record.id.clone()));
        }
        export
    }

    /// The assistants of a request that want a name which one that stays has, or an earlier one of the request. Until no more is found.
    fn refused_for_names(&self, asked: &[(usize, &Assistant)]) -> BTreeSet<String> {
        let last: BTreeMap<&str, &Assistant> = asked.iter().map(|(_, assistant)| (assistant.id.as_str(), *assistant)).collect();
        let live = |assistant: &&Assistant| assistant.deleted_at.is_none();
        let mut refused = BTreeSet::new();
        let next = |refused: &BTreeSet<String>| {
            let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
            let wanting = asked.iter().map(|(_, assistant)| last[assistant.id.as_str()]).filter(live);
            wanting.filter(|assistant| !refused.contains(&assistant.id)).find(|assistant| {
                let holder =
                    self.assistants.values().filter(live).find(|holder| holder.name == assistant.name && holder.id != assistant.id);
                let stays = |holder: &Assistant| {
                    refused.contains(&holder.id) || last.get(holder.id.as_str()).is_none_or(|wants| wants.name == holder.name)
                };
                holder.is_some_and(stays) || *owners.entry(&assistant.name).or_insert(&assistant.id) != assistant.id
            })
        };
        while let Some(assistant) = next(&refused) {
            refused.insert(assistant.id.clone());
        }
        refused
    }
}

/// What ends before it is complete is rejected where it began.
pub(crate) fn abandon(open: &mut Option<OpenContent>, answer: &mut Imported) {
    if let Some(content) = open.take() {
        answer.reject(format!("{}.data", content.path), 1);
    }
}

fn in_order<'a, R: Clone + 'a>(records: impl Iterator<Item = &'a R>, key: impl Fn(&R) -> (Option<Timestamp>, String)) -> Vec<R> {
    let mut records: Vec<R> = records.cloned().collect();
    records.sort_by_key(|record| key(record).0.map(|at| (at.seconds, at.nanos, key(record).1)));
    records
}
