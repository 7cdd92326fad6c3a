//! Peers whose credentials are refused again and again hear of it late, and only of that.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;
use tonic::{Code, Status};
use userdata::repository::Engine;

use crate::{
    credentials::{key_headers, seen},
    on_both_engines,
    program::Program,
    rpc::{Rpc, assert_reason},
    world::{ACME, World, eventually},
};

on_both_engines!(refusals_come_late_after_too_many_and_a_good_credential_is_believed_at_once,);

async fn refusals_come_late_after_too_many_and_a_good_credential_is_believed_at_once(mut world: World) {
    world.config.auth.failed_logins = 3;
    world.restart().await;
    let channel = world.channel().await;
    let (good, bad) = (key_headers(ACME, world.key(ACME)), key_headers(ACME, "udk_"));
    let refusal = async || -> (Status, Duration) {
        let begun = Instant::now();
        (Rpc::ErasureStatus.call(&channel, &bad, "anna").await.unwrap_err(), begun.elapsed())
    };
    let mut refusals = Vec::new();
    for _ in 0..3 {
        refusals.push(refusal().await);
    }
    let late = refusal();
    let believed = async {
        let begun = Instant::now();
        for rpc in Rpc::ALL {
            rpc.call(&channel, &good, "anna").await.unwrap();
        }
        begun.elapsed()
    };
    let (late, believed) = tokio::join!(late, believed);
    assert!(late.1 > Duration::from_secs(4), "one refusal too many came after {:?}", late.1);
    assert!(believed < late.1, "good calls took {believed:?}");
    assert!(refusals.iter().all(|(_, took)| *took < Duration::from_secs(4)), "{refusals:?}");
    for (status, _) in &refusals {
        assert_reason(status, Code::Unauthenticated, "ERROR_REASON_CREDENTIAL_NOT_ACCEPTED");
        assert_eq!(seen(status), seen(&late.0), "a late refusal is another one");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_refusal_comes_before_the_callers_deadline_and_is_none_of_that() {
    let mut world = World::start(Engine::Sqlite).await;
    world.config.auth.failed_logins = 1;
    world.restart().await;
    let (channel, mut bad) = (world.channel().await, key_headers(ACME, "udk_"));
    bad.insert("grpc-timeout", "4S".parse().unwrap());
    let begun = Instant::now();
    for _ in 0..2 {
        let refused = Rpc::ErasureStatus.call(&channel, &bad, "anna").await.unwrap_err();
        assert_reason(&refused, Code::Unauthenticated, "ERROR_REASON_CREDENTIAL_NOT_ACCEPTED");
    }
    assert!(begun.elapsed() > Duration::from_secs(2), "one refusal too many came after {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_tells_of_it_now_and_then_and_not_what_was_shown() {
    let mut world = World::start(Engine::Sqlite).await;
    world.stop_server().await;
    let objects = format!("file://{}", world.objects().display());
    let program = Program::serve(&world.folder(), &world.database_url, &["--object-store-url", &objects, "--failed-logins", "1"]);
    let channel = program.channel().await;
    let bad = key_headers(ACME, "udk_hunter2");
    let calls = (0..6).map(|_| Rpc::ErasureStatus.call(&channel, &bad, "anna"));
    assert!(join_all(calls).await.iter().all(Result::is_err));

    let told = || program.log().into_iter().filter(|line| line["peer"].is_string()).collect::<Vec<_>>();
    eventually("the log tells of it", async || !told().is_empty()).await;
    let [line] = &told()[..] else { panic!("not one line: {:?}", told()) };
    assert_eq!((&line["level"], &line["peer"]), (&json!("WARN"), &json!("127.0.0.1")));
    assert!(line["refused"].as_u64().is_some_and(|refused| refused >= 2), "{line}");
    assert!(!program.stderr().contains("hunter2"));
}
