//! Random calls, against the model: every answer and every export is what the model says.
//!
//! `PROPTEST_CASES` for each engine, by itself 256 and by `scripts/test` 1,000; a quarter of them once more behind the wall. A case that fails
//! is shrunk, printed, and its seed kept in `tests/it/random_calls.regressions`, from which it is tried first the next time.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::select,
    test_runner::{Config, FileFailurePersistence, TestCaseError, TestCaseResult, TestRunner},
};
use tonic::Status;
use userdata::grpc::proto::{
    Category, Conversation, DeleteUserMessagesRequest, DeleteUserMessagesResponse, ExportUserDataRequest, ExportUserDataResponse,
    GetErasureStatusRequest, ImportUserDataRequest, RecordCounts, ScopedDeleteRequest, ScopedDeleteResponse,
};

use crate::{
    model::{Imported, MARK, Observed, User, abandon, identity},
    on_both_engines_and_walled, records,
    world::{ACME, Client, OTHER, World},
};

on_both_engines_and_walled!(every_answer_is_what_the_model_says);

/// Cases that run at once.
const WORKERS: u32 = 4;

/// Two users of one application, and one of the same name in another.
const USERS: [(usize, &str); 3] = [(0, "anna"), (0, "boris"), (1, "anna")];

#[derive(Clone, Debug)]
enum Call {
    /// One stream, with requests about users of one application.
    Import(usize, Vec<(usize, Observed, ImportUserDataRequest)>),
    DeleteMessages(usize, bool),
    ScopedDelete(usize, ScopedDeleteRequest),
    Export(usize, ExportUserDataRequest),
}

fn id(prefix: &'static str, below: u8) -> impl Strategy<Value = String> {
    (0..below).prop_map(move |number| format!("{prefix}{number}"))
}

fn number() -> impl Strategy<Value = i32> {
    0..4_i32
}

fn rarely() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.12)
}

fn feedback() -> impl Strategy<Value = userdata::grpc::proto::Feedback> {
    (id("f", 4), number(), rarely()).prop_map(|(id, number, marked)| {
        let mut feedback = records::feedback(&id, number);
        feedback.deleted_at = records::at(number).filter(|_| marked);
        feedback
    })
}

/// A conversation, a continuation, or one that is not acceptable, with what is nested in it.
fn conversation() -> impl Strategy<Value = Conversation> {
    let message = (id("m", 6), number(), rarely());
    let kind = select(vec!["whole", "whole", "whole", "whole", "continuation", "bad"]);
    (id("c", 3), kind, number(), rarely(), vec(message, 0..3), vec(feedback(), 0..2)).prop_map(
        |(id, kind, number, marked, messages, feedback)| {
            let mut conversation = match kind {
                "continuation" => Conversation { id: id.clone(), ..Default::default() },
                _ => records::conversation(&id, number),
            };
            if kind == "bad" {
                conversation.agent_id.clear();
            }
            conversation.forgotten_at = records::at(number).filter(|_| marked);
            conversation.feedback = feedback;
            conversation.messages = messages
                .into_iter()
                .map(|(message_id, number, bad)| {
                    let mut message = records::message(&message_id, &id, number);
                    message.role = if bad { 0 } else { message.role };
                    message
                })
                .collect();
            conversation
        },
    )
}

fn request() -> impl Strategy<Value = ImportUserDataRequest> {
    let memory = (option::of(id("o", 2)), number()).prop_map(|(id, number)| records::memory(id.as_deref(), number));
    let upload = (id("u", 3), number(), rarely()).prop_map(|(id, number, marked)| {
        let mut upload = records::upload(&id, number);
        if marked {
            (upload.status, upload.deleted_at) = ("deleted".to_owned(), records::at(number));
        }
        upload
    });
    let assistant = (id("a", 4), id("name", 4), number(), rarely()).prop_map(|(id, name, number, marked)| {
        let mut assistant = records::assistant(&id, &name, number);
        if marked {
            (assistant.status, assistant.deleted_at) = ("deleted".to_owned(), records::at(number));
        }
        assistant
    });
    let session = (id("s", 3), number()).prop_map(|(id, number)| records::session(&id, number));
    let entry =
        (id("k", 3), id("c", 3), number()).prop_map(|(id, conversation, number)| records::compaction_cache(&id, &conversation, number));
    let content =
        (id("u", 3), select(vec![0_usize, 0, 0, 1, 2]), 0..4_usize).prop_map(|(id, offset, length)| records::content(&id, offset, length));
    let embedding = (id("u", 3), number()).prop_map(|(id, number)| records::embedding(&id, number));
    (
        vec(conversation(), 0..4),
        vec(feedback(), 0..2),
        vec(memory, 0..3),
        vec(upload, 0..3),
        vec(assistant, 0..5),
        vec(session, 0..2),
        vec(entry, 0..3),
        vec(content, 0..3),
        vec(embedding, 0..2),
    )
        .prop_map(
            |(conversations, feedback, memories, uploads, assistants, sessions, compaction_cache, upload_contents, embeddings)| {
                let mut request = ImportUserDataRequest {
                    user_token: String::new(),
                    conversations,
                    feedback,
                    memories,
                    uploads,
                    upload_contents,
                    assistants,
                    sessions,
                    compaction_cache,
                    upload_embeddings: embeddings,
                    observed_epoch: None,
                };
                without_repetitions(&mut request);
                request
            },
        )
}

/// Within one request, only conversations, messages and assistants may come twice: what the counts are otherwise is not promised.
fn without_repetitions(request: &mut ImportUserDataRequest) {
    let mut seen = BTreeSet::new();
    let mut first = move |id: &str| seen.insert(id.to_owned());
    for conversation in &mut request.conversations {
        conversation.feedback.retain(|record| first(&record.id));
    }
    request.feedback.retain(|record| first(&record.id));
    request.memories.retain(|record| first(&record.object_id.clone().unwrap_or_else(|| identity(record))));
    request.uploads.retain(|record| first(&record.id));
    request.sessions.retain(|record| first(&record.id));
    request.compaction_cache.retain(|record| first(&record.id));
}

fn call() -> impl Strategy<Value = Call> {
    let observed = || select(vec![Observed::AtItsOwnTime, Observed::AtItsOwnTime, Observed::Now, Observed::Now, Observed::Before]);
    let import = prop_oneof![
        5 => vec((0..2_usize, observed(), request()), 1..3).prop_map(|requests| Call::Import(0, requests)),
        1 => (observed(), request()).prop_map(|(observed, request)| Call::Import(1, vec![(2, observed, request)])),
    ];
    let scoped_delete = (0..USERS.len(), 1..64_u32).prop_map(|(user, bits)| {
        // All six, as often as any one alone.
        let bit = |nth: u32| bits > 56 || bits & (1 << nth) != 0 && (bits > 24 || nth == bits % 6);
        let mut scopes = ScopedDeleteRequest {
            user_token: String::new(),
            dialogues: bit(0),
            vault: bit(1),
            memory: bit(2),
            assistants: bit(3),
            feedback: bit(4),
            sessions: bit(5),
            ..Default::default()
        };
        scopes.dialogues |= scopes == ScopedDeleteRequest::default();
        Call::ScopedDelete(user, scopes)
    });
    let export = (0..USERS.len(), vec(1..=8_i32, 0..4), any::<bool>(), any::<bool>()).prop_map(|(user, categories, deleted, content)| {
        let (include_deleted, include_upload_content) = (deleted, content);
        Call::Export(user, ExportUserDataRequest { categories, include_deleted, include_upload_content, ..Default::default() })
    });
    prop_oneof![
        5 => import,
        1 => (0..USERS.len(), any::<bool>()).prop_map(|(user, scrub)| Call::DeleteMessages(user, scrub)),
        2 => scoped_delete,
        2 => export,
    ]
}

async fn every_answer_is_what_the_model_says(world: World) {
    let clients = [world.client_of(ACME).await, world.client_of(OTHER).await];
    let is_walled = world.service_url.is_some();
    let config = Config {
        cases: Config::default().cases.div_ceil(if is_walled { 4 * WORKERS } else { WORKERS }),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/it/random_calls.regressions"))),
        max_shrink_time: 60_000,
        ..Config::default()
    };
    let (runtime, number) = (tokio::runtime::Handle::current(), AtomicU32::new(0));
    let work = || {
        TestRunner::new(config.clone()).run(&vec(call(), 3..8), |calls| {
            let case = number.fetch_add(1, Ordering::Relaxed);
            runtime.block_on(Case { number: case, clients: clients.clone(), users: Default::default() }.run(calls))
        })
    };
    tokio::task::block_in_place(|| {
        thread::scope(|scope| {
            let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
            for worker in workers {
                let failure = worker.join().unwrap().err().map(|error| error.to_string());
                assert!(failure.is_none(), "{}", failure.unwrap_or_default());
            }
        });
    });
}

/// One case: users that no other case has, and what the model says of them.
struct Case {
    number: u32,
    clients: [Client; 2],
    users: [User; USERS.len()],
}

impl Case {
    async fn run(mut self, calls: Vec<Call>) -> TestCaseResult {
        for (nth, call) in calls.into_iter().enumerate() {
            self.call(call).await.map_err(|error| TestCaseError::fail(format!("call {nth}: {error}")))?;
        }
        for user in 0..USERS.len() {
            let everything = ExportUserDataRequest { include_deleted: true, include_upload_content: true, ..Default::default() };
            let checked = self.export(user, everything).await;
            checked.map_err(|error| TestCaseError::fail(format!("in the end, user {user}: {error}")))?;
        }
        Ok(())
    }

    fn token(&self, user: usize) -> String {
        format!("{}-{}", USERS[user].1, self.number)
    }

    async fn call(&mut self, call: Call) -> TestCaseResult {
        match call {
            Call::Import(application, requests) => {
                let mut sent = Vec::new();
                for (user, observed, request) in &requests {
                    let user_token = self.token(*user);
                    let status = GetErasureStatusRequest { user_token: user_token.clone() };
                    let epoch = self.clients[application].users.get_erasure_status(status).await.map_err(failed)?.into_inner().epoch;
                    let observed_epoch = match observed {
                        Observed::AtItsOwnTime => None,
                        Observed::Now => Some(epoch),
                        Observed::Before => Some(epoch - 1),
                    };
                    sent.push(ImportUserDataRequest { user_token, observed_epoch, ..request.clone() });
                }
                let response = self.clients[application].import(sent).await.map_err(failed)?;
                let (mut expected, mut open) = (Imported::default(), None);
                for (nth, (user, observed, request)) in requests.iter().enumerate() {
                    self.users[*user].import(&format!("requests[{nth}]"), request, *observed, &mut expected);
                    for (index, piece) in request.upload_contents.iter().enumerate() {
                        let path = format!("requests[{nth}].upload_contents[{index}]");
                        self.users[*user].content(*user, &path, piece, *observed, &mut open, &mut expected);
                    }
                }
                abandon(&mut open, &mut expected);
                expected.rejections.sort();
                let mut rejections: Vec<_> = response.rejections.into_iter().map(|rejection| rejection.field).collect();
                rejections.sort();
                let found = Imported { counts: response.imported.unwrap_or_default(), rejected: response.rejected, rejections };
                prop_assert_eq!(found, expected);
            }
            Call::DeleteMessages(user, scrub_residue) => {
                let (request, users) = (
                    DeleteUserMessagesRequest { user_token: self.token(user), scrub_residue, ..Default::default() },
                    &mut self.clients[USERS[user].0].users,
                );
                let preview = DeleteUserMessagesRequest { validate_only: true, ..request.clone() };
                let preview = users.delete_user_messages(preview).await.map_err(failed)?.into_inner();
                let (plan_digest, expected) = (preview.plan_digest.clone(), self.users[user].delete_messages(scrub_residue));
                let bytes_are_right = (preview.message_bytes > 0) == (expected.messages_deleted > 0);
                prop_assert!(bytes_are_right, "{} bytes", preview.message_bytes);
                let previewed =
                    DeleteUserMessagesResponse { plan_digest: String::new(), message_bytes: 0, remaining: expected.remaining, ..preview };
                prop_assert_eq!(&previewed, &expected);
                let request = DeleteUserMessagesRequest { plan_digest, ..request };
                let response = users.delete_user_messages(request).await.map_err(failed)?;
                prop_assert_eq!(response.into_inner(), expected);
            }
            Call::ScopedDelete(user, scopes) => {
                let (request, users) =
                    (ScopedDeleteRequest { user_token: self.token(user), ..scopes.clone() }, &mut self.clients[USERS[user].0].users);
                let preview = ScopedDeleteRequest { validate_only: true, ..request.clone() };
                let preview = users.scoped_delete(preview).await.map_err(failed)?.into_inner();
                let (plan_digest, expected) = (preview.plan_digest.clone(), self.users[user].scoped_delete(&scopes));
                let previewed = ScopedDeleteResponse { plan_digest: String::new(), remaining: expected.remaining, ..preview };
                prop_assert_eq!(&previewed, &expected);
                let request = ScopedDeleteRequest { plan_digest, ..request };
                let response = users.scoped_delete(request).await.map_err(failed)?;
                prop_assert_eq!(response.into_inner(), expected);
                self.export(user, ExportUserDataRequest::default()).await?;
            }
            Call::Export(user, request) => self.export(user, request).await?,
        }
        Ok(())
    }

    async fn export(&mut self, user: usize, request: ExportUserDataRequest) -> TestCaseResult {
        let categories: Vec<Category> = request.categories.iter().map(|value| Category::try_from(*value).unwrap()).collect();
        let request = ExportUserDataRequest { user_token: self.token(user), ..request };
        let expected = self.users[user].export(&categories, request.include_deleted, request.include_upload_content);
        let responses = self.clients[USERS[user].0].export_responses(request).await.map_err(failed)?;
        let (found, counts) = merged(responses)?;
        prop_assert_eq!(&found, &expected);
        prop_assert_eq!(counts, counts_of(&expected));
        Ok(())
    }
}

fn failed(status: Status) -> TestCaseError {
    TestCaseError::fail(format!("{:?}: {}", status.code(), status.message()))
}

/// The responses of an export as one, by the documented rule, and the counts of its summary. Its marks have no time.
fn merged(responses: Vec<ExportUserDataResponse>) -> Result<(ExportUserDataResponse, RecordCounts), TestCaseError> {
    let mut all = ExportUserDataResponse::default();
    for response in responses {
        prop_assert!(all.summary.is_none(), "a response after the summary");
        for element in response.conversations {
            match all.conversations.iter_mut().find(|known| known.id == element.id) {
                Some(known) => {
                    prop_assert!(element.created_at.is_none(), "a conversation came twice");
                    known.messages.extend(element.messages);
                    known.feedback.extend(element.feedback);
                }
                None => all.conversations.push(element),
            }
        }
        all.feedback.extend(response.feedback);
        all.memories.extend(response.memories);
        all.uploads.extend(response.uploads);
        all.upload_contents.extend(response.upload_contents);
        all.assistants.extend(response.assistants);
        all.sessions.extend(response.sessions);
        all.compaction_cache.extend(response.compaction_cache);
        all.summary = response.summary;
    }
    let Some(summary) = all.summary.take() else { return Err(TestCaseError::fail("no summary")) };
    for conversation in &mut all.conversations {
        conversation.forgotten_at = conversation.forgotten_at.and(MARK);
    }
    let nested = all.conversations.iter_mut().flat_map(|conversation| &mut conversation.feedback);
    for feedback in nested.chain(&mut all.feedback) {
        feedback.deleted_at = feedback.deleted_at.and(MARK);
    }
    for upload in &mut all.uploads {
        upload.deleted_at = upload.deleted_at.and(MARK);
    }
    for assistant in &mut all.assistants {
        assistant.deleted_at = assistant.deleted_at.and(MARK);
    }
    Ok((all, summary.counts.unwrap_or_default()))
}

fn counts_of(export: &ExportUserDataResponse) -> RecordCounts {
    let conversations = export.conversations.iter();
    RecordCounts {
        conversations: conversations.clone().filter(|element| element.created_at.is_some()).count() as i32,
        messages: conversations.clone().map(|element| element.messages.len()).sum::<usize>() as i32,
        feedback: (conversations.map(|element| element.feedback.len()).sum::<usize>() + export.feedback.len()) as i32,
        memories: export.memories.len() as i32,
        uploads: export.uploads.len() as i32,
        assistants: export.assistants.len() as i32,
        sessions: export.sessions.len() as i32,
        compaction_cache: export.compaction_cache.len() as i32,
    }
}
