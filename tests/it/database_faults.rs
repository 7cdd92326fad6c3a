//! PostgreSQL that is slow, and PostgreSQL that restarts: each call is answered by its deadline with a documented status, health says so, and
//! the service goes on by itself.

use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, join_all};
use tokio::time::{Instant, timeout};
use tonic::{Code, Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_types::StatusExt;
use userdata::grpc::proto::{
    ExportUserDataRequest, ExportUserDataResponse, ImportUserDataRequest, ScopedDeleteRequest, ScopedDeleteResponse,
};

use crate::{
    cluster::Cluster,
    credentials::{claims, hs256, hs256_issuer, jwt, key_headers},
    lifecycle::{all_healths_are, five_megabytes},
    records,
    resume::slow_client,
    rpc::Rpc,
    world::{ACME, Client, World, eventually},
};

/// The deadline of every call: later than a call waits for a connection.
const DEADLINE: Duration = Duration::from_secs(8);

/// For a machine that is busy.
const SLACK: Duration = Duration::from_secs(20);

/// How soon the service goes on when the fault has ended.
pub(crate) const GOES_ON_WITHIN: Duration = Duration::from_secs(10);

/// How often calls are made during a fault: while API keys are still believed, and when they are too old.
const ROUNDS: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_not_answer_for_a_while_is_told_and_got_over() {
    calls_are_answered_and_the_service_goes_on(|cluster| cluster.hold(), |cluster| cluster.let_go()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_restarts_is_told_and_got_over() {
    calls_are_answered_and_the_service_goes_on(Cluster::stop, Cluster::start_again).await;
}

async fn calls_are_answered_and_the_service_goes_on(begin: fn(&mut Cluster), end: fn(&mut Cluster)) {
    let mut cluster = Cluster::start();
    let world = World::start_in(&cluster, |config| {
        (config.limits.max_call_duration, config.limits.max_stream_duration) = (DEADLINE, DEADLINE);
        config.auth.issuers = vec![hs256_issuer("id", ACME)];
    })
    .await;
    let (mut client, channel) = (world.client().await, world.channel().await);
    let (key, user) = (key_headers(ACME, world.key(ACME)), jwt(&hs256(&claims("id", "berta"))));
    client.import((0..4).map(five_megabytes).collect()).await.unwrap();
    client.import((0..ROUNDS).map(with_a_session).collect()).await.unwrap();
    eventually("it serves", async || all_healths_are(&channel, ServingStatus::Serving).await).await;
    let mut reader = slow_client(&world).await;
    let mut export = reader.export_user_data(of_anna(String::new())).await.unwrap().into_inner();
    let mut read = Read::default();
    read.take(export.message().await.unwrap().unwrap());

    begin(&mut cluster);
    for round in 0..ROUNDS {
        let mut calls: Vec<BoxFuture<'_, Result<(), Status>>> = Rpc::ALL.map(|rpc| rpc.call(&channel, &key, "berta").boxed()).into();
        calls.push(Rpc::Export.call(&channel, &user, "berta").boxed());
        for validate_only in [false, true] {
            calls.push(erase(client.clone(), round, validate_only).map(|outcome| outcome.map(drop)).boxed());
        }
        if round == 0 {
            calls.push(read.take_all(&mut export).boxed());
        }
        let answers = timeout(DEADLINE + SLACK, join_all(calls)).await.expect("a call is not answered by its deadline");
        for (nth, answer) in answers.into_iter().enumerate() {
            assert_documented(&answer.expect_err(&format!("call {nth} of round {round} was done without a database")));
        }
        eventually("health says so", async || all_healths_are(&channel, ServingStatus::NotServing).await).await;
    }

    end(&mut cluster);
    let ended = Instant::now();
    eventually("it serves again by itself", async || all_healths_are(&channel, ServingStatus::Serving).await).await;
    for rpc in Rpc::ALL {
        eventually("calls work again", async || rpc.call(&channel, &key, "berta").await.is_ok()).await;
    }
    assert!(ended.elapsed() < GOES_ON_WITHIN, "it went on only after {:?}", ended.elapsed());

    let mut rest = client.users.export_user_data(of_anna(read.resume_token.clone())).await.unwrap().into_inner();
    read.take_all(&mut rest).await.unwrap();
    assert_eq!(read.messages.len(), 40, "the export and its continuation are not one");
    for round in 0..ROUNDS {
        // Whether it had happened or not: now it has, once.
        let response = erase(client.clone(), round, false).await.unwrap();
        assert_eq!((response.sessions_deleted, &response), (1, &erase(client.clone(), round, false).await.unwrap()));
        assert_eq!(erase(client.clone(), round, true).await.unwrap().sessions_deleted, 0);
    }
}

fn assert_documented(status: &Status) {
    let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
    match status.code() {
        Code::Unavailable => {
            assert_eq!(reason, "ERROR_REASON_DATABASE_UNAVAILABLE", "{status:?}");
            assert!(status.get_details_retry_info().unwrap().retry_delay.is_some(), "{status:?}");
        }
        Code::DeadlineExceeded => assert_eq!(reason, "ERROR_REASON_DEADLINE_EXCEEDED", "{status:?}"),
        code => panic!("{code:?}: {status:?}"),
    }
}

/// What was read of an export.
#[derive(Default)]
struct Read {
    messages: Vec<String>,
    resume_token: String,
}

impl Read {
    fn take(&mut self, response: ExportUserDataResponse) {
        self.messages.extend(response.conversations.into_iter().flat_map(|conversation| conversation.messages).map(|message| message.id));
        self.resume_token = response.resume_token;
    }

    async fn take_all(&mut self, export: &mut Streaming<ExportUserDataResponse>) -> Result<(), Status> {
        while let Some(response) = export.message().await? {
            self.take(response);
        }
        Ok(())
    }
}

fn of_anna(resume_token: String) -> ExportUserDataRequest {
    ExportUserDataRequest { user_token: "anna".into(), resume_token, ..Default::default() }
}

fn user_of(round: usize) -> String {
    format!("user {round}")
}

fn with_a_session(round: usize) -> ImportUserDataRequest {
    ImportUserDataRequest { user_token: user_of(round), sessions: vec![records::session("s", 0)], ..Default::default() }
}

async fn erase(mut client: Client, round: usize, validate_only: bool) -> Result<ScopedDeleteResponse, Status> {
    let request_id = if validate_only { String::new() } else { format!("6f1c9b52-8a2c-4b17-9d4e-{round:012}") };
    let request = ScopedDeleteRequest { user_token: user_of(round), sessions: true, request_id, validate_only, ..Default::default() };
    client.users.scoped_delete(request).await.map(tonic::Response::into_inner)
}
