//! Records that come twice in one request.

use userdata::grpc::proto::ImportUserDataRequest;

use crate::{on_both_engines, records, world::World};

on_both_engines!(of_records_of_one_request_with_the_same_id_the_last_counts);

async fn of_records_of_one_request_with_the_same_id_the_last_counts(world: World) {
    let both = |number: i32| ImportUserDataRequest {
        user_token: "anna".into(),
        conversations: vec![records::conversation("c", number)],
        feedback: vec![records::feedback("f", number)],
        memories: vec![records::memory(Some("o"), number)],
        uploads: vec![records::upload("u", number)],
        assistants: vec![records::assistant("a", "name", number)],
        sessions: vec![records::session("s", number)],
        compaction_cache: vec![records::compaction_cache("k", "c", number)],
        ..Default::default()
    };
    let (mut request, last) = (both(2), both(1));
    request.conversations.extend(last.conversations.clone());
    request.feedback.extend(last.feedback.clone());
    request.memories.extend(last.memories.clone());
    request.uploads.extend(last.uploads.clone());
    request.assistants.extend(last.assistants.clone());
    request.sessions.extend(last.sessions.clone());
    request.compaction_cache.extend(last.compaction_cache.clone());
    let mut client = world.client().await;
    assert_eq!(client.import(vec![request]).await.unwrap().rejected, 0);
    let [held] = &client.export("anna").await[..] else { panic!("more than one response") };
    assert_eq!(held.conversations, last.conversations);
    assert_eq!(held.feedback, last.feedback);
    assert_eq!(held.memories, last.memories);
    assert_eq!(held.uploads, last.uploads);
    assert_eq!(held.assistants, last.assistants);
    assert_eq!(held.sessions, last.sessions);
    assert_eq!(held.compaction_cache, last.compaction_cache);
}
