//! Promises, each as the shortest calls that show whether it is kept.

use std::{fs, time::Duration};

use prost::Message as _;
use prost_types::Timestamp;
use tonic::{Code, Status};
use userdata::grpc::proto::{
    Conversation, DeleteUserMessagesRequest, Feedback, GetErasureStatusRequest, ImportUserDataRequest, Memory, MessagePart,
    ScopedDeleteRequest, TextPart, message_part::Part,
};

use crate::{
    planted::{export, messages},
    program::{Client, Stores},
    records,
};

const ANNA: &str = "anna";
const ID: &str = "11111111-2222-4333-8444-555555555555";
const PATIENCE: Duration = Duration::from_secs(25);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Promise {
    Acknowledged,
    ExportEnds,
    ReplacedRecordVoidsPlan,
    LateRecordsAreRejected,
    ObservedEpochCounts,
    AnotherRequestIsRefused,
    FirstResponseAgain,
    PlanIsKept,
    NothingRemains,
    TextsAreScrubbed,
    FailedFilesAreNamed,
    FailedFilesHeal,
}

/// Whether the promise is kept; if not, what was found.
pub(crate) async fn keep(promise: Promise, stores: &Stores, client: &Client) -> Result<(), String> {
    let mut client = client.clone();
    let kept = match promise {
        Promise::Acknowledged => acknowledged(&mut client).await,
        Promise::ExportEnds => export_ends(&mut client).await,
        Promise::ReplacedRecordVoidsPlan => a_replaced_record_voids_a_plan(&mut client).await,
        Promise::LateRecordsAreRejected => late_records_are_rejected(&mut client).await,
        Promise::ObservedEpochCounts => observed_epoch_counts(&mut client).await,
        Promise::AnotherRequestIsRefused => another_request_is_refused(&mut client).await,
        Promise::FirstResponseAgain => first_response_again(&mut client).await,
        Promise::PlanIsKept => plan_is_kept(&mut client).await,
        Promise::NothingRemains => nothing_remains(&mut client).await,
        Promise::TextsAreScrubbed => texts_are_scrubbed(&mut client).await,
        Promise::FailedFilesAreNamed => failed_files_are_named(stores, &mut client).await,
        Promise::FailedFilesHeal => failed_files_heal(stores, &mut client).await,
    };
    kept.map_err(|broken| broken.0)
}

struct Broken(String);

impl From<Status> for Broken {
    fn from(status: Status) -> Self {
        Self(format!("{:?}: {}", status.code(), status.message()))
    }
}

type Kept = Result<(), Broken>;

fn that(holds: bool, otherwise: &str) -> Kept {
    if holds { Ok(()) } else { Err(Broken(otherwise.to_owned())) }
}

/// Two conversations with two messages each, a memory, a session, and a file.
fn anna() -> ImportUserDataRequest {
    let conversation = |id: &str| Conversation {
        messages: (0..2).map(|nth| records::message(&format!("{id}-{nth}"), id, nth)).collect(),
        ..records::conversation(id, 2)
    };
    ImportUserDataRequest {
        user_token: ANNA.to_owned(),
        conversations: vec![conversation("c0"), conversation("c1")],
        feedback: vec![Feedback { notes: Some("he said so".to_owned()), ..records::feedback("f", 0) }],
        memories: vec![records::memory(Some("o"), 0)],
        sessions: vec![records::session("s", 0)],
        uploads: vec![records::upload("u", 4)],
        upload_contents: vec![records::content("u", 0, 4)],
        ..Default::default()
    }
}

async fn import(client: &mut Client, request: ImportUserDataRequest) -> Result<i32, Status> {
    Ok(client.imports.import_user_data(tokio_stream::iter([request])).await?.into_inner().rejected)
}

fn delete() -> DeleteUserMessagesRequest {
    DeleteUserMessagesRequest { user_token: ANNA.to_owned(), ..Default::default() }
}

fn erase() -> ScopedDeleteRequest {
    ScopedDeleteRequest { user_token: ANNA.to_owned(), vault: true, memory: true, sessions: true, ..Default::default() }
}

async fn acknowledged(client: &mut Client) -> Kept {
    // Not the content: that of an upload that was taken back would be rejected.
    let records = ImportUserDataRequest { upload_contents: Vec::new(), ..anna() };
    that(import(client, records).await? == 0, "records were rejected")?;
    that(messages(&export(client, ANNA).await?) == 4, "what was acknowledged is not there")
}

async fn export_ends(client: &mut Client) -> Kept {
    let mut large = anna();
    large.upload_contents.clear();
    for conversation in &mut large.conversations {
        for (nth, message) in conversation.messages.iter_mut().enumerate() {
            let text = format!("{nth} ").repeat(300_000);
            message.parts = vec![MessagePart { part: Some(Part::Text(TextPart { text })) }];
        }
    }
    for number in 0..8 {
        let mut more = large.clone();
        for conversation in &mut more.conversations {
            conversation.id = format!("{}{number}", conversation.id);
            for message in &mut conversation.messages {
                message.id = format!("{}{number}", message.id);
                message.conversation_id = conversation.id.clone();
            }
        }
        that(import(client, more).await? == 0, "records were rejected")?;
    }
    let request = userdata::grpc::proto::ExportUserDataRequest { user_token: ANNA.to_owned(), ..Default::default() };
    let mut frames = client.users.export_user_data(request).await?.into_inner();
    frames.message().await?;
    client.users.delete_user_messages(delete()).await?;
    loop {
        match frames.message().await {
            Ok(Some(_)) => {}
            Ok(None) => return Err(Broken("an export ended as if nothing had been erased".to_owned())),
            Err(status) => return that(status.code() == Code::Aborted, status.message()),
        }
    }
}

async fn a_replaced_record_voids_a_plan(client: &mut Client) -> Kept {
    import(client, anna()).await?;
    let preview = client.users.scoped_delete(ScopedDeleteRequest { validate_only: true, ..erase() }).await?.into_inner();
    let other = Memory { text: "another text".to_owned(), ..records::memory(Some("o"), 0) };
    import(client, ImportUserDataRequest { user_token: ANNA.to_owned(), memories: vec![other], ..Default::default() }).await?;
    match client.users.scoped_delete(ScopedDeleteRequest { plan_digest: preview.plan_digest, ..erase() }).await {
        Err(status) if status.code() == Code::Aborted => Ok(()),
        other => Err(Broken(format!("something else was erased than was previewed: {other:?}"))),
    }
}

async fn late_records_are_rejected(client: &mut Client) -> Kept {
    import(client, anna()).await?;
    client.users.delete_user_messages(delete()).await?;
    client.users.scoped_delete(erase()).await?;
    import(client, anna()).await?;
    let shown = export(client, ANNA).await?;
    that(messages(&shown) == 0 && shown.memories.is_empty(), "a late job brought back what was erased")
}

async fn observed_epoch_counts(client: &mut Client) -> Kept {
    import(client, anna()).await?;
    let status = client.users.get_erasure_status(GetErasureStatusRequest { user_token: ANNA.to_owned() }).await?;
    client.users.delete_user_messages(delete()).await?;
    let new = Memory { created_at: Some(Timestamp { seconds: 4_000_000_000, nanos: 0 }), ..records::memory(Some("made of messages"), 0) };
    let observed_epoch = Some(status.into_inner().epoch);
    let request = ImportUserDataRequest { user_token: ANNA.to_owned(), memories: vec![new], observed_epoch, ..Default::default() };
    that(import(client, request).await? == 1, "a memory made of erased messages was taken")
}

async fn another_request_is_refused(client: &mut Client) -> Kept {
    import(client, anna()).await?;
    let once = DeleteUserMessagesRequest { request_id: ID.to_owned(), ..delete() };
    client.users.delete_user_messages(once.clone()).await?;
    let other = DeleteUserMessagesRequest { scrub_residue: true, ..once };
    match client.users.delete_user_messages(other).await {
        Err(status) if status.code() == Code::FailedPrecondition => Ok(()),
        other => Err(Broken(format!("the id of another request was taken: {other:?}"))),
    }
}

async fn first_response_again(client: &mut Client) -> Kept {
    import(client, anna()).await?;
    let once = DeleteUserMessagesRequest { request_id: ID.to_owned(), ..delete() };
    let first = client.users.delete_user_messages(once.clone()).await?.into_inner().encode_to_vec();
    let again = client.users.delete_user_messages(once).await?.into_inner().encode_to_vec();
    that(first == again, "a repetition got another response")
}

async fn plan_is_kept(client: &mut Client) -> Kept {
    import(client, anna()).await?;
    let preview = client.users.scoped_delete(ScopedDeleteRequest { validate_only: true, ..erase() }).await?.into_inner();
    let more =
        ImportUserDataRequest { user_token: ANNA.to_owned(), memories: vec![records::memory(Some("more"), 0)], ..Default::default() };
    import(client, more).await?;
    match client.users.scoped_delete(ScopedDeleteRequest { plan_digest: preview.plan_digest, ..erase() }).await {
        Err(status) if status.code() == Code::Aborted => that(export(client, ANNA).await?.memories.len() == 2, "a memory is gone"),
        other => Err(Broken(format!("more was erased than was previewed: {other:?}"))),
    }
}

async fn nothing_remains(client: &mut Client) -> Kept {
    import(client, anna()).await?;
    client.users.delete_user_messages(delete()).await?;
    client.users.scoped_delete(erase()).await?;
    let shown = export(client, ANNA).await?;
    that(messages(&shown) == 0 && shown.memories.is_empty(), "deleted, and still there")
}

async fn texts_are_scrubbed(client: &mut Client) -> Kept {
    import(client, anna()).await?;
    client.users.delete_user_messages(DeleteUserMessagesRequest { scrub_residue: true, ..delete() }).await?;
    let shown = export(client, ANNA).await?;
    let texts = shown.conversations.iter().any(|found| found.title.is_some()) || shown.feedback.iter().any(|found| found.notes.is_some());
    that(!texts, "a text that was to be scrubbed is still there")
}

/// Puts something that cannot be removed in the place of the file; gives it.
async fn stuck_file(stores: &Stores, client: &mut Client) -> Result<std::path::PathBuf, Broken> {
    that(import(client, anna()).await? == 0, "records were rejected")?;
    let file = stores.files_of(ANNA).pop().ok_or_else(|| Broken("there is no file".to_owned()))?;
    fs::remove_file(&file).and_then(|()| fs::create_dir(&file)).and_then(|()| fs::write(file.join("in the way"), "")).unwrap();
    Ok(file)
}

async fn failed_files_are_named(stores: &Stores, client: &mut Client) -> Kept {
    stuck_file(stores, client).await?;
    let answer = client.users.scoped_delete(erase()).await?.into_inner();
    let named: Vec<&str> = answer.uploads_failed.iter().map(|failure| failure.upload_id.as_str()).collect();
    that(named == ["u"] && answer.uploads_deleted == 0, "a file is there that the answer does not name")
}

async fn failed_files_heal(stores: &Stores, client: &mut Client) -> Kept {
    let stuck = stuck_file(stores, client).await?;
    client.users.scoped_delete(erase()).await?;
    // Back to a file that can be removed.
    fs::remove_dir_all(&stuck).and_then(|()| fs::write(&stuck, "left")).unwrap();
    let until = tokio::time::Instant::now() + PATIENCE;
    while stuck.exists() {
        that(tokio::time::Instant::now() < until, "nobody removed a file that could not be removed at first")?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    loop {
        let status = client.users.get_erasure_status(GetErasureStatusRequest::default()).await?.into_inner();
        if status.uploads_pending == 0 {
            return Ok(());
        }
        that(tokio::time::Instant::now() < until, "a file that is gone is still said to be there")?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
