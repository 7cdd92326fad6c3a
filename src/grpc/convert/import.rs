//! Import requests: every record checked alone, with its place in the request.

use prost::Message as _;
use sha2::{Digest, Sha256};

use super::{Complaints, message::message};
use crate::{
    domain::{
        import::{At, ContentPiece, ConversationElement, ImportBatch},
        limits::{MAX_CONTENT_PIECE_BYTES, MAX_RECORD_BYTES, MAX_REJECTIONS},
        record::{
            Assistant, CompactionCacheEntry, Conversation, ConversationMetadata, DELETED, Episode, Feedback, Memory, MemoryType, RecordKey,
            Session, Upload, UploadEmbedding,
        },
        violation::{Complaint, FieldViolation},
    },
    grpc::proto,
};

type Checked<T> = Result<T, Vec<FieldViolation>>;

/// The acceptable records of a request, and what became of the others.
pub(crate) fn batch(path: String, request: proto::ImportUserDataRequest) -> (ImportBatch, Rejected) {
    let mut rejected = Rejected::default();
    let batch = ImportBatch {
        observed_epoch: request.observed_epoch,
        conversations: conversations(&path, request.conversations, &mut rejected),
        feedback: rejected.sift(&format!("{path}.feedback"), request.feedback, feedback),
        memories: rejected.sift(&format!("{path}.memories"), request.memories, memory),
        uploads: rejected.sift(&format!("{path}.uploads"), request.uploads, upload),
        upload_contents: rejected.sift_numbered(
            &format!("{path}.upload_contents"),
            request.upload_contents.into_iter().enumerate().filter(|(_, piece)| !piece.missing),
            content,
        ),
        upload_embeddings: rejected.sift(&format!("{path}.upload_embeddings"), request.upload_embeddings, embedding),
        assistants: rejected.sift(&format!("{path}.assistants"), request.assistants, assistant),
        sessions: rejected.sift(&format!("{path}.sessions"), request.sessions, session),
        compaction_cache: rejected.sift(&format!("{path}.compaction_cache"), request.compaction_cache, compaction_cache),
        path,
    };
    (batch, rejected)
}

/// What is wrong with the records that are not acceptable.
#[derive(Default)]
pub(crate) struct Rejected {
    /// How many they are.
    pub(crate) records: u64,
    /// All violations of the first of them, as many as an import tells.
    pub(crate) violations: Vec<FieldViolation>,
}

impl Rejected {
    fn add(&mut self, path: &str, violations: Vec<FieldViolation>) {
        self.records += 1;
        if self.violations.len() < MAX_REJECTIONS {
            let full = |violation: FieldViolation| FieldViolation::new(format!("{path}.{}", violation.field), violation.complaint);
            self.violations.extend(violations.into_iter().map(full));
        }
    }

    /// The acceptable ones of some records, each with its index.
    fn sift<P, R>(&mut self, path: &str, records: Vec<P>, check: impl Fn(P) -> Checked<R>) -> Vec<At<R>> {
        self.sift_numbered(path, records.into_iter().enumerate(), check)
    }

    /// The same of some that have their indices already.
    fn sift_numbered<P, R>(
        &mut self,
        path: &str,
        records: impl Iterator<Item = (usize, P)>,
        check: impl Fn(P) -> Checked<R>,
    ) -> Vec<At<R>> {
        let mut accepted = Vec::with_capacity(records.size_hint().0);
        for (index, record) in records {
            match check(record) {
                Ok(record) => accepted.push(At { index, record }),
                Err(violations) => self.add(&format!("{path}[{index}]"), violations),
            }
        }
        accepted
    }
}

fn conversations(path: &str, elements: Vec<proto::Conversation>, rejected: &mut Rejected) -> Vec<At<ConversationElement>> {
    let mut accepted = Vec::with_capacity(elements.len());
    for (index, mut element) in elements.into_iter().enumerate() {
        let path = format!("{path}.conversations[{index}]");
        let messages = std::mem::take(&mut element.messages);
        let nested_feedback = std::mem::take(&mut element.feedback);
        let id = element.id.clone();
        let mut complaints = Complaints::default();
        complaints.name("id", id.clone());
        let forgotten_at = complaints.optional_time("forgotten_at", element.forgotten_at);
        let (id_is_good, is_rejected, header) = match complaints.or(()) {
            Err(violations) => {
                rejected.add(&path, violations);
                (false, true, None)
            }
            Ok(()) if is_continuation(&element) => (true, false, None),
            Ok(()) => match conversation(element) {
                Ok(header) => (true, false, Some(header)),
                Err(violations) => {
                    rejected.add(&path, violations);
                    (true, true, None)
                }
            },
        };
        let messages = rejected.sift(&format!("{path}.messages"), messages, |record| message(record, &id));
        let nested_feedback = rejected.sift(&format!("{path}.feedback"), nested_feedback, feedback);
        if is_rejected && messages.is_empty() && nested_feedback.is_empty() {
            // Nothing of it is left to import, as a continuation or otherwise.
            continue;
        }
        if id_is_good {
            let record = ConversationElement { id, header, forgotten_at, messages, feedback: nested_feedback };
            accepted.push(At { index, record });
        } else {
            for (name, index) in
                messages.iter().map(|at| ("messages", at.index)).chain(nested_feedback.iter().map(|at| ("feedback", at.index)))
            {
                let nowhere = Complaint::Rule("is nested in a conversation whose id or `forgotten_at` is not valid");
                rejected.records += 1;
                if rejected.violations.len() < MAX_REJECTIONS {
                    rejected.violations.push(FieldViolation::new(format!("{path}.{name}[{index}]"), nowhere));
                }
            }
        }
    }
    accepted
}

/// Whether an element says nothing about its conversation but which one it is.
fn is_continuation(element: &proto::Conversation) -> bool {
    let nothing_else = proto::Conversation { id: element.id.clone(), forgotten_at: element.forgotten_at, ..Default::default() };
    *element == nothing_else
}

fn check_size(complaints: &mut Complaints, record: &impl prost::Message, largest: &str) {
    let bytes = record.encoded_len();
    if bytes > MAX_RECORD_BYTES {
        complaints.add(largest, Complaint::TooLong { bytes, limit: MAX_RECORD_BYTES });
    }
}

fn conversation(record: proto::Conversation) -> Checked<Conversation> {
    let mut complaints = Complaints::default();
    check_size(&mut complaints, &record, "title");
    let created_at = complaints.time("created_at", record.created_at);
    let metadata = record.conversation_metadata.map(|metadata| ConversationMetadata {
        cached_at: complaints.optional_time("conversation_metadata.cached_at", metadata.cached_at),
    });
    let conversation = Conversation {
        key: RecordKey { created_at, id: record.id },
        agent_id: complaints.name("agent_id", record.agent_id),
        title: complaints.optional_text("title", record.title),
        updated_at: complaints.time("updated_at", record.updated_at),
        last_activity_at: complaints.optional_time("last_activity_at", record.last_activity_at),
        is_from_dashboard: record.is_from_dashboard,
        message_count: complaints.count("message_count", record.message_count),
        total_input_tokens: complaints.count("total_input_tokens", record.total_input_tokens),
        total_output_tokens: complaints.count("total_output_tokens", record.total_output_tokens),
        total_tokens: complaints.count("total_tokens", record.total_tokens),
        metadata,
        institution_id: complaints.optional_name("institution_id", record.institution_id),
        forgotten_at: complaints.optional_time("forgotten_at", record.forgotten_at),
    };
    complaints.or(conversation)
}

fn feedback(record: proto::Feedback) -> Checked<Feedback> {
    let mut complaints = Complaints::default();
    check_size(&mut complaints, &record, "notes");
    let feedback = Feedback {
        key: RecordKey { created_at: complaints.time("created_at", record.created_at), id: complaints.name("id", record.id) },
        agent_id: complaints.name("agent_id", record.agent_id),
        message_id: complaints.name("message_id", record.message_id),
        vote: record.vote,
        tags: complaints.texts("tags", record.tags),
        notes: complaints.optional_text("notes", record.notes),
        model: complaints.optional_text("model", record.model),
        updated_at: complaints.time("updated_at", record.updated_at),
        deleted_at: complaints.optional_time("deleted_at", record.deleted_at),
    };
    complaints.or(feedback)
}

fn memory(record: proto::Memory) -> Checked<Memory> {
    let mut complaints = Complaints::default();
    check_size(&mut complaints, &record, "text");
    // Repeating an import must find the memory again, so one without an id is identified by what it says.
    let id = match &record.object_id {
        Some(id) => complaints.name("object_id", id.clone()),
        None => format!("content-{}", hex::encode(Sha256::digest(record.encode_to_vec()))),
    };
    let memory_type = match record.memory_type.map(proto::MemoryType::try_from) {
        None => None,
        Some(Ok(proto::MemoryType::Semantic)) => Some(MemoryType::Semantic),
        Some(Ok(proto::MemoryType::Episodic)) => Some(MemoryType::Episodic),
        Some(_) => {
            complaints.add("memory_type", Complaint::UnknownValue { known: "MEMORY_TYPE_SEMANTIC, MEMORY_TYPE_EPISODIC" });
            None
        }
    };
    let episode = record.episode.map(|episode| Episode {
        observation: complaints.text("episode.observation", episode.observation),
        thoughts: complaints.text("episode.thoughts", episode.thoughts),
        action: complaints.text("episode.action", episode.action),
        result: complaints.text("episode.result", episode.result),
    });
    let memory = Memory {
        key: RecordKey { created_at: complaints.time("created_at", record.created_at), id },
        object_id: record.object_id,
        text: complaints.text("text", record.text),
        raw_extract: complaints.text("raw_extract", record.raw_extract),
        memory_type,
        episode,
        keywords: complaints.texts("keywords", record.keywords),
        topics: complaints.texts("topics", record.topics),
        tags: complaints.texts("tags", record.tags),
        recall_triggers: complaints.texts("recall_triggers", record.recall_triggers),
        agent_ids: complaints.texts("agent_ids", record.agent_ids),
        app_id: complaints.text("app_id", record.app_id),
        user_id: complaints.text("user_id", record.user_id),
        institution_id: complaints.optional_name("institution_id", record.institution_id),
        updated_at: complaints.time("updated_at", record.updated_at),
    };
    complaints.or(memory)
}

/// The status and the mark of a soft-deleted record go together.
fn check_status(complaints: &mut Complaints, status: &str, is_deleted: bool) {
    if (status == DELETED) != is_deleted {
        complaints.add("status", Complaint::Rule("must be `deleted` if, and only if, `deleted_at` is set"));
    }
}

fn upload(record: proto::Upload) -> Checked<Upload> {
    let mut complaints = Complaints::default();
    check_size(&mut complaints, &record, "file_name");
    if record.size_bytes < 0 {
        complaints.add("size_bytes", Complaint::Negative);
    }
    check_status(&mut complaints, &record.status, record.deleted_at.is_some());
    let upload = Upload {
        key: RecordKey { created_at: complaints.time("created_at", record.created_at), id: complaints.name("id", record.id) },
        file_name: complaints.text("file_name", record.file_name),
        content_type: complaints.text("content_type", record.content_type),
        size_bytes: record.size_bytes,
        status: complaints.name("status", record.status),
        institution_id: complaints.optional_name("institution_id", record.institution_id),
        deleted_at: complaints.optional_time("deleted_at", record.deleted_at),
    };
    complaints.or(upload)
}

fn content(record: proto::UploadContent) -> Checked<ContentPiece> {
    let mut complaints = Complaints::default();
    if record.data.len() > MAX_CONTENT_PIECE_BYTES {
        complaints.add("data", Complaint::TooLong { bytes: record.data.len(), limit: MAX_CONTENT_PIECE_BYTES });
    }
    let offset = u64::try_from(record.offset).unwrap_or_else(|_| {
        complaints.add("offset", Complaint::Negative);
        0
    });
    let piece = ContentPiece { upload_id: complaints.name("upload_id", record.upload_id), offset, data: record.data.into() };
    complaints.or(piece)
}

fn embedding(record: proto::UploadEmbedding) -> Checked<UploadEmbedding> {
    let mut complaints = Complaints::default();
    check_size(&mut complaints, &record, "vector");
    if record.vector.is_empty() {
        complaints.add("vector", Complaint::Missing);
    }
    let embedding = UploadEmbedding {
        upload_id: complaints.name("upload_id", record.upload_id),
        chunk_index: complaints.count("chunk_index", record.chunk_index),
        model: complaints.name("model", record.model),
        vector: record.vector,
    };
    complaints.or(embedding)
}

fn assistant(record: proto::Assistant) -> Checked<Assistant> {
    let mut complaints = Complaints::default();
    check_size(&mut complaints, &record, "instructions");
    check_status(&mut complaints, &record.status, record.deleted_at.is_some());
    let assistant = Assistant {
        key: RecordKey { created_at: complaints.time("created_at", record.created_at), id: complaints.name("id", record.id) },
        name: complaints.name("name", record.name),
        description: complaints.optional_text("description", record.description),
        instructions: complaints.optional_text("instructions", record.instructions),
        status: complaints.name("status", record.status),
        institution_id: complaints.optional_name("institution_id", record.institution_id),
        updated_at: complaints.time("updated_at", record.updated_at),
        deleted_at: complaints.optional_time("deleted_at", record.deleted_at),
    };
    complaints.or(assistant)
}

fn session(record: proto::Session) -> Checked<Session> {
    let mut complaints = Complaints::default();
    check_size(&mut complaints, &record, "user_agent");
    let session = Session {
        key: RecordKey { created_at: complaints.time("created_at", record.created_at), id: complaints.name("id", record.id) },
        ip_address: complaints.text("ip_address", record.ip_address),
        user_agent: complaints.text("user_agent", record.user_agent),
        device: complaints.text("device", record.device),
        last_active_at: complaints.optional_time("last_active_at", record.last_active_at),
    };
    complaints.or(session)
}

fn compaction_cache(record: proto::CompactionCacheEntry) -> Checked<CompactionCacheEntry> {
    let mut complaints = Complaints::default();
    check_size(&mut complaints, &record, "text");
    let entry = CompactionCacheEntry {
        key: RecordKey { created_at: complaints.time("created_at", record.created_at), id: complaints.name("id", record.id) },
        conversation_id: complaints.name("conversation_id", record.conversation_id),
        text: complaints.text("text", record.text),
    };
    complaints.or(entry)
}
