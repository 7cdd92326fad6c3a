//! What is imported: a few records of every kind in one request, made and changed now, so that no erasure before it is about them.

use std::time::{SystemTime, UNIX_EPOCH};

use prost_types::Timestamp;
use userdata::grpc::proto::{ImportUserDataRequest, UploadContent};

use crate::{records, trial::Random};

/// How the records of a batch are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A few of every kind, personal and of an institution.
    Mixed,
    /// The same, all personal.
    Personal,
    /// The same, and a personal file that an object store is given in parts.
    Large,
    /// Five records: a conversation with a message, a memory, a session, and an upload with a byte or some.
    Tiny,
}

const PIECE: usize = 1 << 20;

/// The present moment.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() as i32 }
}

/// A request with records whose ids begin with `prefix`.
pub(crate) fn batch(user_token: &str, prefix: &str, kind: Kind, random: &mut Random) -> ImportUserDataRequest {
    let created_at = Some(now());
    let mut request = ImportUserDataRequest { user_token: user_token.to_owned(), ..Default::default() };
    let (several, messages) = if kind == Kind::Tiny { (1, 1) } else { (2, random.between(1, 3)) };
    for nth in 0..several {
        // Odd numbers make an institution's records.
        let number = match kind {
            Kind::Large if nth == 0 => 2,
            Kind::Mixed | Kind::Large => random.below(4) as i32,
            Kind::Personal | Kind::Tiny => 2,
        };
        let conversation_id = format!("{prefix}c{nth}");
        let mut conversation = records::conversation(&conversation_id, number);
        (conversation.created_at, conversation.updated_at) = (created_at, created_at);
        for message in 0..messages {
            let mut message = records::message(&format!("{prefix}m{nth}-{message}"), &conversation_id, message as i32);
            (message.created_at, message.updated_at) = (created_at, created_at);
            conversation.messages.push(message);
        }
        let mut memory = records::memory(Some(&format!("{prefix}o{nth}")), number);
        (memory.created_at, memory.updated_at) = (created_at, created_at);
        request.memories.push(memory);
        let mut session = records::session(&format!("{prefix}s{nth}"), number);
        session.created_at = created_at;
        request.sessions.push(session);
        let upload_id = format!("{prefix}u{nth}");
        let content = content(user_token, &upload_id, if kind == Kind::Large && nth == 0 { 6 << 20 } else { size(kind, random) });
        let mut upload = records::upload(&upload_id, number);
        (upload.created_at, upload.size_bytes) = (created_at, content.len() as i64);
        request.uploads.push(upload);
        for (piece, data) in content.chunks(PIECE).enumerate() {
            let data = data.to_vec();
            request.upload_contents.push(UploadContent { data, ..records::content(&upload_id, piece * PIECE, 0) });
        }
        if kind != Kind::Tiny {
            let mut nested = records::feedback(&format!("{prefix}f{nth}"), number);
            (nested.created_at, nested.updated_at) = (created_at, created_at);
            conversation.feedback.push(nested);
            let mut detached = records::feedback(&format!("{prefix}d{nth}"), number);
            (detached.created_at, detached.updated_at) = (created_at, created_at);
            request.feedback.push(detached);
            let mut assistant = records::assistant(&format!("{prefix}a{nth}"), &format!("{prefix} name {nth}"), number);
            (assistant.created_at, assistant.updated_at) = (created_at, created_at);
            request.assistants.push(assistant);
            let mut entry = records::compaction_cache(&format!("{prefix}k{nth}"), &conversation_id, number);
            entry.created_at = created_at;
            request.compaction_cache.push(entry);
            request.upload_embeddings.push(records::embedding(&upload_id, number));
        }
        request.conversations.push(conversation);
    }
    request
}

fn size(kind: Kind, random: &mut Random) -> usize {
    match kind {
        Kind::Tiny => random.between(1, 20),
        _ if random.percent(3) => 300 << 10,
        _ => random.between(1, 1500),
    }
}

/// Content that no other upload has.
fn content(user_token: &str, upload_id: &str, length: usize) -> Vec<u8> {
    format!("content of {upload_id} of {user_token}. ").into_bytes().into_iter().cycle().take(length).collect()
}
