//! A key that is revoked while calls run that began with it: they end as new ones are refused.

use bytes::Bytes;
use tonic::Code;
use userdata::{
    domain::timestamp::Clock,
    grpc::proto::{DeleteUserMessagesRequest, ExportUserDataRequest, ImportUserDataRequest},
};

use crate::{
    credentials::{accepts, id_of, key_headers},
    deadline::{DELETE_MESSAGES, EXPORT, IMPORT, RawCall, ending, import_anna, status_of},
    on_both_engines, records,
    rpc::assert_reason,
    world::{ACME, World, eventually},
};

on_both_engines!(a_revoked_key_ends_the_calls_that_have_begun);

async fn a_revoked_key_ends_the_calls_that_have_begun(world: World) {
    // More than an export reads ahead.
    import_anna(&world, 400_000).await;
    let memory =
        |id: &str| ImportUserDataRequest { user_token: "boris".into(), memories: vec![records::memory(Some(id), 0)], ..Default::default() };
    let mut import = RawCall::begin(&world, IMPORT, "60S").await;
    import.send(&memory("before"), false);
    eventually("the first request is taken", async || world.query("SELECT object_id FROM memories").await.len() == 1).await;
    let mut erasure = RawCall::begin(&world, DELETE_MESSAGES, "60S").await;
    erasure.send(&DeleteUserMessagesRequest { user_token: "anna".into(), ..Default::default() }, false);
    let mut export = RawCall::begin(&world, EXPORT, "60S").await;
    export.send(&ExportUserDataRequest { user_token: "anna".into(), ..Default::default() }, true);
    let (head, mut body) = export.response.await.unwrap().into_parts();

    let key = world.key(ACME);
    assert!(world.repository().revoke_api_key(&id_of(key), Clock::default().now()).await.unwrap());
    let channel = world.channel().await;
    eventually("the key is refused", async || !accepts(&channel, &key_headers(ACME, key)).await).await;
    import.send(&memory("after"), false);
    erasure.requests.send_data(Bytes::new(), true).unwrap();

    for status in [status_of(import.response).await, status_of(erasure.response).await, ending(&head.headers, &mut body).await.0] {
        assert_reason(&status, Code::Unauthenticated, "ERROR_REASON_CREDENTIAL_NOT_ACCEPTED");
    }
    assert_eq!(world.query("SELECT object_id FROM memories").await.len(), 1, "a record came with a revoked key");
    assert_eq!(world.query("SELECT id FROM messages").await.len(), 20, "messages were deleted with a revoked key");
}
