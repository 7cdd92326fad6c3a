use std::collections::BTreeSet;

use prost::Message as _;
use sha2::{Digest, Sha256};

use super::*;
use crate::{
    domain::limits::FRAME_TARGET_BYTES,
    grpc::{
        document::{Place, items},
        proto::{Conversation, ExportUserDataResponse, ImportUserDataRequest, message_part::Part},
    },
};

fn lines(seed: u64, users: u64, messages: Option<u32>) -> Vec<String> {
    documents(seed, users, messages).map(|document| serde_json::to_string(&document).unwrap()).collect()
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let some = lines(7, 12, None);
    assert_eq!(some, lines(7, 12, None));
    assert_eq!(some[..5], lines(7, 5, None)[..]);
    assert_ne!(some, lines(8, 12, None));
}

#[test]
fn the_bytes_of_a_seed_never_change() {
    let digest = Sha256::digest(lines(1, 8, None).join("\n"));
    assert_eq!(
        hex::encode(digest),
        "ffe83298b41c3f8113d8faa9f05f3f30d692ab0075f427ab7c6304ea2879dce1",
        "the generator has changed: if that was meant, so must this"
    );
}

#[test]
fn the_first_user_has_every_category_and_every_kind_of_part() {
    for seed in 0..20 {
        let document = documents(seed, 1, None).next().unwrap();
        let parts = document.conversations.iter().flat_map(|conversation| &conversation.messages).flat_map(|message| &message.parts);
        let kinds: BTreeSet<u8> = parts
            .map(|part| match part.part.as_ref().unwrap() {
                Part::Text(_) => 1,
                Part::Reasoning(_) => 2,
                Part::Start(_) => 3,
                Part::StartStep(_) => 4,
                Part::ToolCall(_) => 5,
                Part::ToolResult(_) => 6,
                Part::ToolApprovalRequest(_) => 7,
                Part::Raw(_) => 8,
            })
            .collect();
        assert_eq!(kinds.len(), 8, "seed {seed}");
        let categories: BTreeSet<_> = document.into_items().filter_map(|item| item.category()).collect();
        assert_eq!(categories.len(), 8, "seed {seed}");
    }
}

#[test]
fn the_number_of_messages_can_be_chosen() {
    for document in documents(3, 3, Some(1_234)) {
        assert_eq!(document.conversations.iter().map(|conversation| conversation.messages.len()).sum::<usize>(), 1_234);
    }
}

#[test]
fn few_users_are_large_and_many_are_small() {
    let mut sizes: Vec<usize> = documents(1, 200, None)
        .map(|document| document.conversations.iter().map(|conversation| conversation.messages.len()).sum())
        .collect();
    sizes.sort_unstable();
    assert!(sizes[199] > 10 * sizes[100], "largest {}, median {}", sizes[199], sizes[100]);
    assert!(sizes.contains(&0));
}

fn written(document: &UserDocument) -> String {
    serde_json::to_string(document).unwrap()
}

/// What a server that keeps what it is sent would export.
fn exported(requests: Vec<ImportUserDataRequest>) -> Vec<ExportUserDataResponse> {
    let response = |request: ImportUserDataRequest| ExportUserDataResponse {
        conversations: request.conversations,
        feedback: request.feedback,
        memories: request.memories,
        uploads: request.uploads,
        upload_contents: request.upload_contents,
        assistants: request.assistants,
        sessions: request.sessions,
        compaction_cache: request.compaction_cache,
        ..ExportUserDataResponse::default()
    };
    requests.into_iter().map(|request| ExportUserDataResponse::decode(response(request).encode_to_vec().as_slice()).unwrap()).collect()
}

#[test]
fn invented_users_survive_json_import_and_export() {
    for document in documents(11, 40, None).chain(documents(12, 1, Some(3_000))) {
        let json = written(&document);
        let read = UserDocument::parse(json.as_bytes()).unwrap();
        assert!(read == document);

        let mut again = UserDocument::new(read.user_token.clone());
        for response in exported(read.into_requests().collect()) {
            for item in items(response) {
                again.push(item).unwrap();
            }
        }
        assert_eq!(written(&again), json);
    }
}

#[test]
fn requests_are_about_256_kib_and_continue_large_conversations() {
    let document = documents(5, 1, Some(4_000)).next().unwrap();
    let requests: Vec<_> = document.into_requests().collect();
    assert!(requests.len() > 4);
    assert!(requests.iter().all(|request| request.encoded_len() <= FRAME_TARGET_BYTES + 1_024));
    assert!(requests[..requests.len() - 1].iter().all(|request| request.encoded_len() > FRAME_TARGET_BYTES / 2));
    let continued = &requests[1].conversations[0];
    assert_eq!(
        Conversation { messages: Vec::new(), feedback: Vec::new(), ..continued.clone() },
        Conversation { id: continued.id.clone(), ..Conversation::default() }
    );
}

#[test]
fn places_in_requests_are_found_again_in_the_document() {
    let document = documents(5, 1, Some(4_000)).next().unwrap();
    let whole = document.clone();
    let mut place = Place::default();
    for request in document.into_requests() {
        let begin = place.pass(&request);
        for (c, conversation) in request.conversations.iter().enumerate() {
            for (m, message) in conversation.messages.iter().enumerate() {
                let path = begin.path(&format!("conversations[{c}].messages[{m}].role"));
                let (outer, inner) = path
                    .strip_prefix("conversations[")
                    .and_then(|rest| rest.strip_suffix("].role"))
                    .unwrap()
                    .split_once("].messages[")
                    .unwrap();
                assert_eq!(whole.conversations[outer.parse::<usize>().unwrap()].messages[inner.parse::<usize>().unwrap()].id, message.id);
            }
        }
        for (s, session) in request.sessions.iter().enumerate() {
            let path = begin.path(&format!("sessions[{s}]"));
            assert_eq!(
                whole.sessions[path.strip_prefix("sessions[").and_then(|rest| rest.strip_suffix(']')).unwrap().parse::<usize>().unwrap()]
                    .id,
                session.id
            );
        }
    }
}
