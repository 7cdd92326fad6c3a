//! Planned calls as requests, and answers as what a history holds.

use std::collections::{BTreeMap, BTreeSet};

use prost_types::Timestamp;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use userdata::grpc::proto::{
    Assistant, CompactionCacheEntry, Conversation, DeleteUserMessagesRequest, ExportUserDataRequest, Feedback, GetErasureStatusRequest,
    ImportUserDataRequest, ImportUserDataResponse, Memory, Message, MessagePart, RecordCounts, Remaining, Role, ScopedDeleteRequest,
    Session, TextPart, Upload, UploadContent, message_part::Part,
};

use crate::{
    history::{Kind, Record, Rejected, Report, Scope, Shown, What},
    plan::Plan,
    program::Client,
};

/// An epoch, and when it was asked for and told.
#[derive(Clone, Copy)]
pub(crate) struct Observed {
    pub(crate) epoch: i64,
    pub(crate) asked: i64,
    pub(crate) told: i64,
}

/// How much older records are that are sent with an epoch: then that does not matter.
const HOUR: i64 = 3_600_000_000_000;

/// Makes a call whose records are of this moment, in nanoseconds.
///
/// # Errors
/// An answer that no call of a history may have, and what it has perhaps done.
pub(crate) async fn make(
    client: &mut Client,
    user_token: &str,
    plan: Plan,
    now: i64,
    observed: Option<Observed>,
) -> Result<What, (String, Option<What>)> {
    match plan {
        Plan::Import { records, .. } => {
            let (mut request, paths) = request(user_token, &records, now - if observed.is_some() { HOUR } else { 0 });
            request.observed_epoch = observed.map(|observed| observed.epoch);
            let answer = match client.imports.import_user_data(tokio_stream::iter([request])).await {
                Ok(response) => rejected(&records, &paths, &response.into_inner()).map(Some),
                Err(status) => aborted(&status, "ERROR_REASON_CONFLICT"),
            };
            let observed = observed.map(|observed| (observed.asked, observed.told));
            match answer {
                Ok(rejected) => Ok(What::Import { records, observed, rejected }),
                Err(answer) => Err((answer, Some(What::Import { records, observed, rejected: None }))),
            }
        }
        Plan::Status => {
            let request = GetErasureStatusRequest { user_token: user_token.to_owned() };
            let status = client.users.get_erasure_status(request).await.map_err(|status| (format!("{status:?}"), None))?;
            Ok(What::Status { epoch: status.into_inner().epoch })
        }
        Plan::Export => {
            let shown = match shown(client, user_token).await {
                Ok(shown) => shown.map(Some),
                Err(status) => aborted(&status, "ERROR_REASON_ERASED_MEANWHILE"),
            };
            shown.map(What::Export).map_err(|answer| (answer, None))
        }
        Plan::Erasure { scopes, request_id } => {
            let report = match erase(client, user_token, &scopes, request_id).await {
                Ok(report) => Some(report),
                Err(status) => aborted(&status, "ERROR_REASON_CONFLICT").map_err(|answer| (answer, None))?,
            };
            Ok(What::Erasure { scopes, report })
        }
    }
}

fn aborted<T>(status: &Status, reason: &str) -> Result<Option<T>, String> {
    let found = status.get_details_error_info().map(|info| info.reason);
    if status.code() == Code::Aborted && found.as_deref() == Some(reason) { Ok(None) } else { Err(format!("{status:?}")) }
}

async fn erase(client: &mut Client, user_token: &str, scopes: &BTreeSet<Scope>, request_id: String) -> Result<Report, Status> {
    let user_token = user_token.to_owned();
    let has = |scope| scopes.contains(&scope);
    if has(Scope::Messages) {
        let request = DeleteUserMessagesRequest { user_token, request_id, ..Default::default() };
        let answer = client.users.delete_user_messages(request).await?.into_inner();
        let erased = [(Kind::Message, answer.messages_deleted), (Kind::Cache, answer.compaction_cache_purged)];
        return Ok(report(&erased, 0, BTreeSet::new(), answer.remaining));
    }
    let request = ScopedDeleteRequest {
        user_token,
        dialogues: has(Scope::Dialogues),
        vault: has(Scope::Vault),
        memory: has(Scope::Memory),
        assistants: has(Scope::Assistants),
        feedback: has(Scope::Feedback),
        sessions: has(Scope::Sessions),
        request_id,
        ..Default::default()
    };
    let answer = client.users.scoped_delete(request).await?.into_inner();
    let erased = [
        (Kind::Conversation, answer.dialogues_forgotten),
        (Kind::Upload, answer.uploads_deleted),
        (Kind::Memory, answer.memory_deleted),
        (Kind::Assistant, answer.assistants_deleted),
        (Kind::Feedback, answer.feedback_deleted),
        (Kind::Session, answer.sessions_deleted),
        (Kind::Cache, answer.compaction_cache_purged),
    ];
    let failed = answer.uploads_failed.into_iter().map(|failure| failure.upload_id).collect();
    Ok(report(&erased, answer.bytes_freed, failed, answer.remaining))
}

fn report(erased: &[(Kind, i32)], bytes: i64, failed: BTreeSet<String>, remaining: Option<Remaining>) -> Report {
    let erased = erased.iter().map(|(kind, count)| (*kind, i64::from(*count))).collect();
    // That nobody looked is as bad as something that was found.
    let remaining = remaining.map_or(1, |remaining| {
        let Remaining { messages, compaction_cache, dialogues, uploads, objects, embeddings, memories, assistants, feedback, sessions } =
            remaining;
        // What is left of files is named.
        let of_files = [uploads, objects, embeddings].map(|count| Ord::max(count - failed.len() as i32, 0));
        [messages, compaction_cache, dialogues, memories, assistants, feedback, sessions].into_iter().chain(of_files).sum::<i32>()
    });
    Report { erased, bytes, failed, remaining: i64::from(remaining) }
}

async fn shown(client: &mut Client, user_token: &str) -> Result<Result<Shown, String>, Status> {
    let user_token = user_token.to_owned();
    let request = ExportUserDataRequest { user_token, include_upload_content: true, ..Default::default() };
    let mut stream = client.users.export_user_data(request).await?.into_inner();
    let (mut shown, mut sizes, mut contents, mut summary) = (Shown::default(), BTreeMap::new(), BTreeMap::<String, Vec<u8>>::new(), None);
    while let Some(response) = stream.message().await? {
        for conversation in response.conversations {
            shown.ids.extend(conversation.created_at.map(|_| conversation.id));
            shown.ids.extend(conversation.messages.into_iter().map(|record| record.id));
            shown.ids.extend(conversation.feedback.into_iter().map(|record| record.id));
        }
        shown.ids.extend(response.feedback.into_iter().map(|record| record.id));
        shown.ids.extend(response.memories.into_iter().filter_map(|record| record.object_id));
        sizes.extend(response.uploads.into_iter().map(|record| (record.id, record.size_bytes)));
        for piece in response.upload_contents {
            contents.entry(piece.upload_id).or_default().extend(piece.data);
        }
        shown.ids.extend(response.assistants.into_iter().map(|record| record.id));
        shown.ids.extend(response.sessions.into_iter().map(|record| record.id));
        shown.ids.extend(response.compaction_cache.into_iter().map(|record| record.id));
        summary = response.summary;
    }
    let lacks = |(id, size): &(&String, &i64)| contents.get(*id) != Some(&content(id, **size));
    shown.without_content = sizes.iter().filter(lacks).map(|(id, _)| id.clone()).collect();
    shown.ids.extend(sizes.into_keys());
    Ok(summary.map(|_| shown).ok_or_else(|| "an export without a summary ended with OK".to_owned()))
}

/// Bytes that no other upload has.
pub(crate) fn content(upload_id: &str, size: i64) -> Vec<u8> {
    upload_id.bytes().cycle().take(size as usize).collect()
}

/// Which records a rejection at a path is about. Of content, it is its upload.
type Paths = BTreeMap<String, Vec<String>>;

const CONTENT: &str = "requests[0].upload_contents[";

fn rejected(records: &[Record], paths: &Paths, response: &ImportUserDataResponse) -> Result<Rejected, String> {
    let mut rejected = Rejected::default();
    for rejection in &response.rejections {
        let about = paths.iter().filter(|(path, _)| rejection.field.starts_with(*path)).max_by_key(|(path, _)| path.len());
        let Some((path, ids)) = about else { return Err(format!("{} was rejected, and not sent", rejection.field)) };
        let of = if path.starts_with(CONTENT) { &mut rejected.contents } else { &mut rejected.records };
        of.extend(ids.iter().cloned());
    }
    let count = |kind| records.iter().filter(|record| record.kind == kind && !rejected.records.contains(&record.id)).count() as i32;
    let expected = RecordCounts {
        conversations: count(Kind::Conversation),
        messages: count(Kind::Message),
        feedback: count(Kind::Feedback),
        memories: count(Kind::Memory),
        uploads: count(Kind::Upload),
        assistants: count(Kind::Assistant),
        sessions: count(Kind::Session),
        compaction_cache: count(Kind::Cache),
    };
    let all = rejected.records.len() + rejected.contents.len();
    let counted = (response.imported.unwrap_or_default(), response.rejected as usize);
    if counted == (expected, all) { Ok(rejected) } else { Err(format!("{counted:?} is not what {:?} leaves", response.rejections)) }
}

/// A request with these records, and their paths.
pub(crate) fn request(user_token: &str, records: &[Record], now: i64) -> (ImportUserDataRequest, Paths) {
    let at = Some(Timestamp { seconds: now.div_euclid(1_000_000_000), nanos: now.rem_euclid(1_000_000_000) as i32 });
    let mut request = ImportUserDataRequest { user_token: user_token.to_owned(), ..Default::default() };
    let mut paths = Paths::new();
    let mut conversations = BTreeMap::new();
    for record in records {
        let (id, agent_id) = (record.id.clone(), "agent".to_owned());
        let institution_id = (!record.personal).then(|| "school".to_owned());
        let mut named = |list: &str, index: usize| paths.insert(format!("requests[0].{list}[{index}]"), vec![record.id.clone()]);
        let conversation_id = record.within.clone().unwrap_or_else(|| id.clone());
        let feedback = || Feedback {
            message_id: "m".to_owned(),
            created_at: at,
            updated_at: at,
            id: id.clone(),
            agent_id: agent_id.clone(),
            ..Default::default()
        };
        match record.kind {
            Kind::Conversation => {
                let element = element(&mut conversations, &conversation_id);
                (element.agent_id, element.institution_id) = (agent_id, institution_id);
                (element.created_at, element.updated_at) = (at, at);
            }
            Kind::Message => {
                let parts = vec![MessagePart { part: Some(Part::Text(TextPart { text: id.clone() })) }];
                let (element, role) = (element(&mut conversations, &conversation_id), Role::User.into());
                element.messages.push(Message { id, conversation_id, created_at: at, updated_at: at, role, parts, ..Default::default() });
            }
            Kind::Feedback if record.within.is_some() => element(&mut conversations, &conversation_id).feedback.push(feedback()),
            Kind::Feedback => {
                named("feedback", request.feedback.len());
                request.feedback.push(feedback());
            }
            Kind::Memory => {
                named("memories", request.memories.len());
                let (object_id, text) = (Some(id.clone()), id);
                request.memories.push(Memory { object_id, text, created_at: at, updated_at: at, institution_id, ..Default::default() });
            }
            Kind::Upload => {
                named("uploads", request.uploads.len());
                if record.has_content {
                    named("upload_contents", request.upload_contents.len());
                    let (upload_id, data) = (id.clone(), content(&id, record.bytes));
                    request.upload_contents.push(UploadContent { upload_id, data, ..Default::default() });
                }
                let (size_bytes, status) = (record.bytes, "ready".to_owned());
                request.uploads.push(Upload { id, size_bytes, status, created_at: at, institution_id, ..Default::default() });
            }
            Kind::Assistant => {
                named("assistants", request.assistants.len());
                let (name, status) = (id.clone(), "active".to_owned());
                request.assistants.push(Assistant {
                    id,
                    name,
                    status,
                    created_at: at,
                    updated_at: at,
                    institution_id,
                    ..Default::default()
                });
            }
            Kind::Session => {
                named("sessions", request.sessions.len());
                request.sessions.push(Session { id, created_at: at, ..Default::default() });
            }
            Kind::Cache => {
                named("compaction_cache", request.compaction_cache.len());
                let text = id.clone();
                request.compaction_cache.push(CompactionCacheEntry { id, conversation_id, text, created_at: at });
            }
        }
    }
    for (nth, element) in conversations.into_values().enumerate() {
        let path = format!("requests[0].conversations[{nth}]");
        // Without its conversation, nothing nested is held.
        let mut all: Vec<String> = element.created_at.iter().map(|_| element.id.clone()).collect();
        for (index, record) in element.messages.iter().enumerate() {
            paths.insert(format!("{path}.messages[{index}]"), vec![record.id.clone()]);
            all.push(record.id.clone());
        }
        for (index, record) in element.feedback.iter().enumerate() {
            paths.insert(format!("{path}.feedback[{index}]"), vec![record.id.clone()]);
            all.push(record.id.clone());
        }
        paths.insert(path, all);
        request.conversations.push(element);
    }
    (request, paths)
}

/// The conversation of this id: a continuation, until it is said what else it is.
fn element<'a>(conversations: &'a mut BTreeMap<String, Conversation>, id: &str) -> &'a mut Conversation {
    conversations.entry(id.to_owned()).or_insert_with(|| Conversation { id: id.to_owned(), ..Default::default() })
}
