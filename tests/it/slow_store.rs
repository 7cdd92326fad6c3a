//! An object store that is slow at the wrong moment: what other calls for the same user do while it is.

use std::{collections::BTreeMap, env, net::SocketAddr, time::Duration};

use futures::TryStreamExt;
use object_store::{ObjectStore, aws::AmazonS3Builder, path::Path};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use userdata::grpc::{
    document::UserDocument,
    proto::{ExportUserDataRequest, ImportUserDataRequest, ScopedDeleteRequest, ScopedDeleteResponse},
};

use crate::{
    exported::with_content,
    lifecycle::all_healths_are,
    on_both_engines,
    program::Program,
    records,
    resume::slow_client,
    rpc::{assert_reason, nothing_erased},
    world::{Client, World, eventually},
};

on_both_engines!(
    an_export_ends_before_it_shows_a_vault_half_erased,
    content_that_is_imported_while_its_upload_is_removed_is_rejected,
    content_that_arrives_after_the_mark_does_not_stay,
    a_caller_that_leaves_does_not_stop_the_removal,
    content_that_is_replaced_before_it_is_read_ends_no_export,
    an_import_is_erased_as_a_whole_or_not_at_all,
    a_store_that_is_away_is_told_of_as_such_and_used_when_it_is_back,
    a_store_that_does_not_answer_keeps_nothing_else_from_being_erased,
    a_store_that_refuses_to_remove_has_no_upload_marked,
    a_store_that_cannot_be_looked_through_has_its_uploads_named_until_it_can,
);

/// What the way to the S3 server holds up.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Held {
    Nothing,
    /// The answers to requests of this method: what they ask for is done.
    Answers(&'static str),
    /// The requests of this method: nothing is done.
    Requests(&'static str),
    /// The same, and they are not answered: their connections end.
    Refused(&'static str),
}

/// Removals are requests of this method: even one object is removed in bulk.
pub(crate) const REMOVAL: &str = "POST ";
const WRITE: &str = "PUT ";
const READ: &str = "GET ";
const ANY: &str = "";

/// A server whose object store can be held up.
pub(crate) struct SlowStore {
    program: Program,
    hold: watch::Sender<Held>,
    waiting: watch::Receiver<usize>,
    prefix: String,
}

impl SlowStore {
    /// Starts the program on the stores of a world, in the place of its server; but for the objects, which are on S3.
    async fn start(world: &mut World) -> Self {
        Self::start_with(world, &[]).await
    }

    /// The same, with more arguments.
    pub(crate) async fn start_with(world: &mut World, more: &[&str]) -> Self {
        let url = env::var("USERDATA_TEST_S3_URL")
            .expect("this test needs an S3 server: run scripts/test, which starts one and sets USERDATA_TEST_S3_URL");
        let variable = |name| env::var(name).unwrap();
        let (hold, held) = watch::channel(Held::Nothing);
        let (arrived, waiting) = watch::channel(0);
        let endpoint = listen(variable("AWS_ENDPOINT").replace("http://", ""), held, arrived).await;
        // The bucket is also that of other tests.
        let prefix = world.folder().display().to_string();
        let url = format!("s3://{}{prefix}", url.trim_start_matches("s3://").split('/').next().unwrap());
        world.stop_server().await;
        let environment = [
            ("AWS_ENDPOINT", &*format!("http://{endpoint}")),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", &variable("AWS_REGION")),
            ("AWS_ACCESS_KEY_ID", &variable("AWS_ACCESS_KEY_ID")),
            ("AWS_SECRET_ACCESS_KEY", &variable("AWS_SECRET_ACCESS_KEY")),
        ];
        let program =
            Program::serve_with(&world.folder(), &environment, &world.database_url, &[&["--object-store-url", &url], more].concat());
        world.address = program.address().await;
        Self { program, hold, waiting, prefix }
    }

    pub(crate) fn hold(&self, what: Held) {
        self.hold.send_replace(what);
    }

    /// Waits until so many requests have been held up.
    pub(crate) async fn holds(&mut self, count: usize) {
        let held = timeout(Duration::from_secs(20), self.waiting.wait_for(|waiting| *waiting == count)).await;
        held.expect("in vain waited for a request to the object store").unwrap();
    }

    /// How many objects there are.
    async fn objects(&self) -> usize {
        let bucket = env::var("USERDATA_TEST_S3_URL").unwrap();
        let store = AmazonS3Builder::from_env().with_url(bucket).build().unwrap();
        store.list(Some(&Path::from(self.prefix.as_str()))).try_collect::<Vec<_>>().await.unwrap().len()
    }
}

/// A way to `host`, one request per connection, on which things can be held up.
async fn listen(host: String, held: watch::Receiver<Held>, arrived: watch::Sender<usize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            // A client that leaves is no fault.
            tokio::spawn(pass(near, host.clone(), held.clone(), arrived.clone()));
        }
    });
    address
}

async fn pass(mut near: TcpStream, host: String, mut held: watch::Receiver<Held>, arrived: watch::Sender<usize>) -> std::io::Result<()> {
    let mut request = Vec::new();
    let first_line = loop {
        if near.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
        if let Some(end) = request.windows(2).position(|bytes| bytes == b"\r\n") {
            break end;
        }
    };
    let method = String::from_utf8_lossy(&request[..first_line]).into_owned();
    if matches!(*held.borrow(), Held::Refused(of) if method.starts_with(of)) {
        return Ok(());
    }
    let mut wait_while = async |is_held: fn(&Held, &str) -> bool| {
        if is_held(&held.borrow(), &method) {
            arrived.send_modify(|arrived| *arrived += 1);
            let _ = held.wait_for(|held| !is_held(held, &method)).await;
        }
    };
    // A request whose client leaves meanwhile is not done.
    let left = async {
        while near.read_buf(&mut request).await? > 0 {}
        std::io::Result::Ok(())
    };
    tokio::select! {
        () = wait_while(|held, method| matches!(held, Held::Requests(of) if method.starts_with(of))) => {}
        left = left => return left,
    }
    let mut far = TcpStream::connect(host).await?;
    far.write_all(&request[..first_line]).await?;
    far.write_all(b"\r\nconnection: close").await?;
    far.write_all(&request[first_line..]).await?;
    let mut answer = Vec::new();
    let ((mut near_reads, mut near_writes), (mut far_reads, mut far_writes)) = (near.split(), far.split());
    tokio::select! {
        left = copy(&mut near_reads, &mut far_writes) => return left.map(drop),
        answered = far_reads.read_to_end(&mut answer) => drop(answered?),
    }
    wait_while(|held, method| matches!(held, Held::Answers(of) if method.starts_with(of))).await;
    near_writes.write_all(&answer).await
}

/// Imports so many uploads of half a MiB.
pub(crate) async fn import_uploads(client: &mut Client, count: usize) {
    const SIZE: usize = 512 * 1024;
    let mut user = UserDocument::new("anna");
    let ids = (0..count).map(|number| format!("u{number}"));
    let upload = |id: String| {
        let mut upload = records::upload(&id, 0);
        upload.size_bytes = SIZE as i64;
        upload
    };
    user.uploads = ids.clone().map(upload).collect();
    user.contents = ids.map(|id| (id, vec![7; SIZE])).collect::<BTreeMap<_, _>>();
    let outcome = client.import(user.into_requests().collect()).await.unwrap();
    assert_eq!(outcome.rejected, 0, "{:?}", outcome.rejections);
}

/// Imports the content of `u0`.
fn content() -> ImportUserDataRequest {
    let upload_contents = vec![records::content("u0", 0, 512 * 1024)];
    ImportUserDataRequest { user_token: "anna".to_owned(), upload_contents, ..Default::default() }
}

async fn erase_vault(mut client: Client) -> ScopedDeleteResponse {
    let request = ScopedDeleteRequest { user_token: "anna".to_owned(), vault: true, ..Default::default() };
    client.users.scoped_delete(request).await.unwrap().into_inner()
}

async fn marked(world: &World) -> usize {
    world.query("SELECT id FROM uploads WHERE status = 'deleted'").await.len()
}

async fn an_export_ends_before_it_shows_a_vault_half_erased(mut world: World) {
    let mut store = SlowStore::start(&mut world).await;
    let mut client = world.client().await;
    import_uploads(&mut client, 8).await;
    let mut export = slow_client(&world).await.export_user_data(with_content("anna")).await.unwrap().into_inner();
    export.message().await.unwrap().unwrap();

    store.hold(Held::Answers(REMOVAL));
    let erasure = tokio::spawn(erase_vault(client));
    store.holds(1).await;
    assert_eq!((store.objects().await, marked(&world).await), (0, 0));
    let status = loop {
        match export.message().await {
            Ok(response) => assert!(response.expect("no summary and no status").summary.is_none(), "files are missing in it"),
            Err(status) => break status,
        }
    };
    assert_reason(&status, Code::Aborted, "ERROR_REASON_ERASED_MEANWHILE");

    store.hold(Held::Nothing);
    let report = erasure.await.unwrap();
    assert_eq!((report.uploads_deleted, report.uploads_failed.len(), marked(&world).await), (8, 0, 8));
}

async fn content_that_is_imported_while_its_upload_is_removed_is_rejected(mut world: World) {
    let mut store = SlowStore::start(&mut world).await;
    let mut client = world.client().await;
    import_uploads(&mut client, 1).await;
    store.hold(Held::Answers(REMOVAL));
    let erasure = tokio::spawn(erase_vault(client.clone()));
    store.holds(1).await;
    assert_eq!((store.objects().await, marked(&world).await, client.pending("anna").await), (0, 0, 1));
    assert_eq!(client.import_again(vec![content()]).await.unwrap().rejections[0].field, "requests[0].upload_contents[0].upload_id");
    let (live, mut marked_upload) = (records::upload("u0", 0), records::upload("u0", 0));
    (marked_upload.status, marked_upload.deleted_at) = ("deleted".to_owned(), records::at(9));
    for upload in [live, marked_upload] {
        let request = ImportUserDataRequest { user_token: "anna".to_owned(), uploads: vec![upload], ..Default::default() };
        assert_eq!(client.import_again(vec![request]).await.unwrap().rejections[0].field, "requests[0].uploads[0].id");
    }
    for include_deleted in [false, true] {
        let shown = client.export_responses(ExportUserDataRequest { include_deleted, ..with_content("anna") }).await.unwrap();
        assert!(shown.iter().all(|response| response.uploads.is_empty()), "an upload is shown while it is removed");
    }

    store.hold(Held::Nothing);
    assert_eq!(erasure.await.unwrap().uploads_deleted, 1);
    assert_eq!((store.objects().await, marked(&world).await, client.pending("anna").await), (0, 1, 0));
}

async fn content_that_arrives_after_the_mark_does_not_stay(mut world: World) {
    let mut store = SlowStore::start(&mut world).await;
    let mut client = world.client().await;
    import_uploads(&mut client, 1).await;
    store.hold(Held::Requests(WRITE));
    let mut writer = client.clone();
    let import = tokio::spawn(async move { writer.import(vec![content()]).await.unwrap() });
    store.holds(1).await;
    assert_eq!(erase_vault(client).await.uploads_deleted, 1);
    assert_eq!((store.objects().await, marked(&world).await), (0, 1));

    store.hold(Held::Nothing);
    let outcome = import.await.unwrap();
    assert_eq!(outcome.rejections[0].field, "requests[0].upload_contents[0].upload_id");
    assert_eq!(store.objects().await, 0);
}

async fn a_caller_that_leaves_does_not_stop_the_removal(mut world: World) {
    let mut store = SlowStore::start(&mut world).await;
    let mut client = world.client().await;
    import_uploads(&mut client, 1).await;
    store.hold(Held::Requests(REMOVAL));
    let caller = tokio::spawn(erase_vault(client.clone()));
    store.holds(1).await;

    caller.abort();
    let is_erasure = |line: &Value| line["message"] == "call" && line["method"].as_str().unwrap().ends_with("/ScopedDelete");
    eventually("the server knows that its caller left", async || store.program.log().iter().any(is_erasure)).await;
    assert_eq!((store.objects().await, marked(&world).await), (1, 0));
    store.hold(Held::Nothing);
    eventually("the upload is deleted", async || marked(&world).await == 1).await;
    assert_eq!(store.objects().await, 0);
    // The worker would have done it too, later.
    assert!(!store.program.stderr().contains("tried again to remove files"), "the worker did it");
}

async fn content_that_is_replaced_before_it_is_read_ends_no_export(mut world: World) {
    let mut store = SlowStore::start(&mut world).await;
    let mut client = world.client().await;
    import_uploads(&mut client, 1).await;
    store.hold(Held::Requests(READ));
    let mut reader = client.clone();
    let export = tokio::spawn(async move { reader.export_responses(with_content("anna")).await.unwrap() });
    store.holds(1).await;
    assert_eq!(client.import(vec![content()]).await.unwrap().rejected, 0);

    store.hold(Held::Nothing);
    let responses = export.await.unwrap();
    let data: Vec<u8> = responses.iter().flat_map(|response| &response.upload_contents).flat_map(|piece| piece.data.clone()).collect();
    assert!(data == content().upload_contents[0].data, "not the new content");
}

async fn a_store_that_is_away_is_told_of_as_such_and_used_when_it_is_back(mut world: World) {
    let store = SlowStore::start(&mut world).await;
    let (mut client, channel) = (world.client().await, world.channel().await);
    import_uploads(&mut client, 1).await;
    store.hold(Held::Refused(ANY));
    let told = client.import(vec![content()]).await.unwrap_err();
    assert_reason(&told, Code::Unavailable, "ERROR_REASON_OBJECT_STORE_UNAVAILABLE");
    let told = client.export_responses(with_content("anna")).await.unwrap_err();
    assert_reason(&told, Code::Unavailable, "ERROR_REASON_OBJECT_STORE_UNAVAILABLE");
    // What needs no content is answered.
    assert!(all_healths_are(&channel, ServingStatus::Serving).await);
    client.export("anna").await;

    store.hold(Held::Nothing);
    assert_eq!(client.import(vec![content()]).await.unwrap().rejected, 0);
    let responses = client.export_responses(with_content("anna")).await.unwrap();
    assert_eq!(responses.iter().flat_map(|response| &response.upload_contents).map(|piece| piece.data.len()).sum::<usize>(), 512 * 1024);
}

/// An upload without content, and a memory.
fn upload_and_memory(number: usize) -> ImportUserDataRequest {
    let uploads = vec![records::upload(&format!("late-{number}"), 0)];
    let memories = vec![records::memory(Some(&format!("m-{number}")), 0)];
    ImportUserDataRequest { user_token: "anna".to_owned(), uploads, memories, ..Default::default() }
}

async fn erase_vault_and_memory(mut client: Client) -> Result<ScopedDeleteResponse, Status> {
    let request = ScopedDeleteRequest { user_token: "anna".to_owned(), vault: true, memory: true, ..Default::default() };
    Ok(client.users.scoped_delete(request).await?.into_inner())
}

async fn an_import_is_erased_as_a_whole_or_not_at_all(mut world: World) {
    let mut store = SlowStore::start(&mut world).await;
    let mut client = world.client().await;
    // Before the erasure is accepted: while the store is asked what it holds.
    assert_eq!(client.import(vec![upload_and_memory(0)]).await.unwrap().rejected, 0);
    store.hold(Held::Answers(READ));
    let erasure = tokio::spawn(erase_vault_and_memory(client.clone()));
    store.holds(1).await;
    assert_eq!(client.import(vec![upload_and_memory(1)]).await.unwrap().rejected, 0);
    store.hold(Held::Nothing);
    let report = erasure.await.unwrap().unwrap();
    assert_eq!((report.uploads_deleted, report.memory_deleted), (2, 2));

    // After it: while the store removes.
    let mut document = UserDocument::new("anna");
    document.uploads = vec![records::upload("large", 4)];
    document.contents = [("large".to_owned(), vec![1; 4])].into();
    assert_eq!(client.import_again(document.into_requests().collect()).await.unwrap().rejected, 0);
    store.hold(Held::Answers(REMOVAL));
    let erasure = tokio::spawn(erase_vault_and_memory(client.clone()));
    store.holds(2).await;
    assert_eq!(client.import_again(vec![upload_and_memory(2)]).await.unwrap().rejected, 0);
    store.hold(Held::Nothing);
    let report = erasure.await.unwrap().unwrap();
    assert_eq!((report.uploads_deleted, report.memory_deleted), (1, 0));
    let left = |sql: &'static str| async { world.query(sql).await.len() };
    assert_eq!((left("SELECT id FROM uploads WHERE status <> 'deleted'").await, left("SELECT id FROM memories").await), (1, 1));
}

async fn a_store_that_does_not_answer_keeps_nothing_else_from_being_erased(mut world: World) {
    let mut store = SlowStore::start(&mut world).await;
    let mut client = world.client().await;
    import_uploads(&mut client, 1).await;
    assert_eq!(client.import(vec![upload_and_memory(0)]).await.unwrap().rejected, 0);
    store.hold(Held::Requests(ANY));
    let erasure = tokio::spawn(erase_vault_and_memory(client.clone()));
    store.holds(1).await;
    eventually("the memory is erased", async || world.query("SELECT id FROM memories").await.is_empty()).await;
    assert_eq!((store.objects().await, marked(&world).await, client.pending("anna").await), (1, 0, 2));

    store.hold(Held::Nothing);
    let report = erasure.await.unwrap().unwrap();
    assert_eq!((report.memory_deleted, report.uploads_deleted, store.objects().await), (1, 2, 0));
}

async fn a_store_that_refuses_to_remove_has_no_upload_marked(mut world: World) {
    let store = SlowStore::start(&mut world).await;
    let mut client = world.client().await;
    import_uploads(&mut client, 3).await;
    store.hold(Held::Refused(REMOVAL));
    let report = erase_vault(client.clone()).await;
    let failed: Vec<&str> = report.uploads_failed.iter().map(|failure| failure.upload_id.as_str()).collect();
    assert_eq!((report.uploads_deleted, report.bytes_freed, failed), (0, 0, vec!["u0", "u1", "u2"]));
    assert_eq!((store.objects().await, marked(&world).await), (3, 0));
    // Until it is gone, what is held is shown; and again is a change of what exports show.
    let shown: Vec<_> = client.export("anna").await.into_iter().flat_map(|response| response.uploads).collect();
    assert!(shown.iter().map(|upload| upload.id.as_str()).eq(["u0", "u1", "u2"]) && shown.iter().all(|upload| upload.deleted_at.is_none()));
    assert_eq!(client.epoch("anna").await, 2);

    store.hold(Held::Nothing);
    eventually("they are removed without a call", async || marked(&world).await == 3).await;
    assert_eq!((store.objects().await, client.pending("anna").await), (0, 0));
    assert_eq!(erase_vault(client).await, nothing_erased());
}

async fn a_store_that_cannot_be_looked_through_has_its_uploads_named_until_it_can(mut world: World) {
    let store = SlowStore::start(&mut world).await;
    let mut client = world.client().await;
    import_uploads(&mut client, 2).await;
    store.hold(Held::Refused(READ));
    // Nobody has seen that they are gone.
    let report = erase_vault(client.clone()).await;
    assert_eq!((report.uploads_deleted, report.uploads_failed.len(), marked(&world).await), (0, 2, 0));
    assert_eq!(client.pending("anna").await, 2);
    store.hold(Held::Nothing);
    eventually("it is seen that they are gone", async || client.pending("anna").await == 0).await;
    assert_eq!((store.objects().await, marked(&world).await), (0, 2));
}
