//! What becomes of files after an erasure: of those that could not be removed, and of content that was on its way.

use std::{fs, path::PathBuf};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use userdata::{
    domain::{
        erasure::{Once, RequestId, Terms},
        report::UploadFailure,
        scope::{Chosen, Scopes},
        subject::{ApplicationId, Subject, UserToken},
        timestamp::{Clock, Timestamp},
    },
    grpc::proto::{ImportUserDataRequest, ScopedDeleteRequest},
    repository::{Accepted, Claim, Engine, ErasedScopes, Removals, Repository, StoredObjects},
};

use crate::{
    exported::with_content,
    on_both_engines, records,
    slow_store::{Held, REMOVAL, SlowStore, import_uploads},
    world::{ACME, Client, World, eventually},
};

on_both_engines!(
    an_erasure_tells_of_the_embeddings_that_stay_with_a_file,
    tries_that_change_nothing_end_no_export,
    an_erasure_that_is_repeated_names_the_files_that_another_has_given_up,
    content_that_was_on_its_way_is_looked_for_until_none_can_come,
    content_of_which_the_store_did_not_say_that_it_is_there_is_looked_for_again,
    content_that_comes_beside_other_content_of_the_upload_is_looked_for_again,
    an_erasure_that_is_repeated_takes_on_the_files_of_one_whose_clock_was_ahead,
    a_worker_shows_no_file_that_an_erasure_has_taken_since,
);

/// An upload of four bytes, with an embedding.
fn upload() -> ImportUserDataRequest {
    ImportUserDataRequest {
        user_token: "anna".to_owned(),
        uploads: vec![records::upload("u", 4)],
        upload_contents: vec![records::content("u", 0, 4)],
        upload_embeddings: vec![records::embedding("u", 0)],
        memories: vec![records::memory(Some("m"), 1)],
        feedback: vec![records::feedback("f", 1)],
        ..Default::default()
    }
}

async fn import(client: &mut Client, request: ImportUserDataRequest) {
    let outcome = client.import(vec![request]).await.unwrap();
    assert_eq!(outcome.rejected, 0, "{:?}", outcome.rejections);
}

/// The one file of the object store.
fn file(world: &World) -> PathBuf {
    let mut files: Vec<_> = world.all_objects().into_keys().collect();
    assert_eq!(files.len(), 1);
    world.objects().join(files.remove(0))
}

/// Puts something that cannot be removed in the place of the file.
fn make_stuck(file: &PathBuf) {
    fs::remove_file(file).unwrap();
    fs::create_dir(file).unwrap();
    fs::write(file.join("in the way"), "").unwrap();
}

fn erase_vault() -> ScopedDeleteRequest {
    ScopedDeleteRequest { user_token: "anna".to_owned(), vault: true, ..Default::default() }
}

async fn an_erasure_tells_of_the_embeddings_that_stay_with_a_file(world: World) {
    let mut client = world.client().await;
    import(&mut client, upload()).await;
    make_stuck(&file(&world));
    let report = client.users.scoped_delete(erase_vault()).await.unwrap().into_inner();
    let remaining = report.remaining.unwrap();
    assert_eq!(report.uploads_failed.len(), 1);
    assert_eq!((remaining.uploads, remaining.embeddings), (1, 1));
}

async fn tries_that_change_nothing_end_no_export(world: World) {
    let mut client = world.client().await;
    import(&mut client, upload()).await;
    let file = file(&world);
    make_stuck(&file);
    client.users.scoped_delete(erase_vault()).await.unwrap();
    let epoch = client.epoch("anna").await;
    eventually("it was tried again", async || client.erasure_status("anna").await.oldest_attempts > 2).await;
    assert_eq!(client.epoch("anna").await, epoch);
    // What an export shows no more is worth an epoch.
    fs::remove_dir_all(&file).unwrap();
    eventually("the file is gone", async || client.pending("anna").await == 0).await;
    assert_eq!(client.epoch("anna").await, epoch + 1);
}

async fn accept(repository: &Repository, subject: &Subject, memory: bool, terms: &Terms) -> Accepted<ErasedScopes> {
    let scopes = Scopes::new(Chosen { vault: true, memory, feedback: !memory, ..Default::default() }).unwrap();
    let objects = StoredObjects::Of(vec!["u".to_owned()]);
    repository.erase_scopes(subject, scopes, terms, &objects).await.unwrap()
}

fn anna() -> Subject {
    Subject::of_accepted_erasure(ApplicationId::parse(ACME).unwrap(), UserToken::parse("anna").unwrap())
}

/// The upload, as a worker claims it now.
async fn claim(world: &World) -> Claim {
    let vault_erased_at = world.query("SELECT vault_erased_at AS at FROM subjects").await[0]["at"].as_i64().map(Timestamp);
    Claim { subject: anna(), vault_erased_at, upload_ids: vec!["u".to_owned()] }
}

fn failed() -> Removals {
    Removals { failed: vec![UploadFailure { upload_id: "u".to_owned(), error: "a fault".to_owned() }], ..Default::default() }
}

fn once() -> Once {
    Once { id: RequestId::parse("6f1c9b52-8a2c-4b17-9d4e-3a5c7e8f9012").unwrap(), digest: [7; 32] }
}

async fn an_erasure_that_is_repeated_names_the_files_that_another_has_given_up(world: World) {
    import(&mut world.client().await, upload()).await;
    make_stuck(&file(&world));
    let (subject, once) = (anna(), once());
    let terms = Terms { once: Some(once.clone()), plan: None };

    let Accepted::Now(first) = accept(world.repository(), &subject, true, &Terms::default()).await else { panic!("not now") };
    let Accepted::Now(second) = accept(world.repository(), &subject, false, &terms).await else { panic!("not now") };
    assert_eq!((first.report.uploads_failed.len(), second.report.uploads_failed.len()), (1, 0));
    // Who has accepted the second is gone. The first gives up, and so does a worker.
    world.repository().finish_erasure(&subject, &first, &failed(), 1, None).await.unwrap();
    world.repository().finish_removals(&claim(&world).await, &failed()).await.unwrap();
    assert_eq!(world.query("SELECT id FROM uploads WHERE removal_error IS NOT NULL").await.len(), 1);

    let Accepted::Unfinished(again) = accept(world.repository(), &subject, false, &terms).await else { panic!("not again") };
    assert_eq!(again.to_remove.iter().map(|upload| upload.id.as_str()).collect::<Vec<_>>(), ["u"]);
    let report = world.repository().finish_erasure(&subject, &again, &failed(), 1, Some(&once)).await.unwrap();
    let named: Vec<_> = report.uploads_failed.iter().map(|failure| failure.upload_id.as_str()).collect();
    assert_eq!((named, report.remaining.uploads), (vec!["u"], 1));
}

async fn content_that_was_on_its_way_is_looked_for_until_none_can_come(world: World) {
    let mut client = world.client().await;
    import(&mut client, upload()).await;
    let file = file(&world);
    // Its writer is gone before all pieces are there.
    let beginning =
        ImportUserDataRequest { user_token: "anna".to_owned(), upload_contents: vec![records::content("u", 0, 2)], ..Default::default() };
    assert_eq!(client.import(vec![beginning]).await.unwrap().rejected, 1);
    let report = client.users.scoped_delete(erase_vault()).await.unwrap().into_inner();
    assert_eq!((report.uploads_deleted, file.exists()), (1, false));

    let now = || Clock::default().now().0;
    let next = async || world.query("SELECT removal_next_at AS next FROM uploads").await[0]["next"].as_i64();
    // Farther off than the time for which a worker has it to himself.
    let is_over = async || next().await.is_some_and(|next| next > now() + 30_000_000_000);
    let unfinished = PathBuf::from(format!("{}#1", file.display()));
    for look in 0..3 {
        eventually("the look before is over", is_over).await;
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(if look == 1 { &unfinished } else { &file }, "late").unwrap();
        // Time goes on.
        world.execute("UPDATE uploads SET removal_next_at = 1").await;
        eventually(&format!("look {look} finds it"), async || !file.exists() && !unfinished.exists()).await;
    }
    eventually("the last look is over", is_over).await;
    world.execute("UPDATE uploads SET content_begun_at = 1, removal_next_at = 1").await;
    eventually("none can come", async || next().await.is_none()).await;
}

/// Pieces of the upload's content, alone.
fn content(offset: usize, length: usize) -> ImportUserDataRequest {
    let upload_contents = vec![records::content("u", offset, length)];
    ImportUserDataRequest { user_token: "anna".to_owned(), upload_contents, ..Default::default() }
}

/// Erases the vault, in which is one upload; gives whether its object is looked for again.
async fn looks_again_after_erasing(world: &World, client: &mut Client) -> bool {
    let report = client.users.scoped_delete(erase_vault()).await.unwrap().into_inner();
    assert_eq!(report.uploads_deleted, 1);
    world.query("SELECT removal_next_at AS next FROM uploads").await[0]["next"].is_i64()
}

async fn content_of_which_the_store_did_not_say_that_it_is_there_is_looked_for_again(world: World) {
    let mut client = world.client().await;
    import(&mut client, upload()).await;
    let file = file(&world);
    make_stuck(&file);
    client.import(vec![content(0, 4)]).await.expect_err("something is in the way");
    fs::remove_dir_all(&file).unwrap();
    assert!(looks_again_after_erasing(&world, &mut client).await);
}

async fn content_that_comes_beside_other_content_of_the_upload_is_looked_for_again(world: World) {
    for is_older in [true, false] {
        let mut client = world.client().await;
        import(&mut client, ImportUserDataRequest { upload_contents: vec![], ..upload() }).await;
        let begun = async || world.query("SELECT content_begun_at AS begun FROM uploads").await[0]["begun"].as_i64();
        let begin = async || {
            let (requests, stream) = mpsc::channel(2);
            let import = {
                let mut client = client.clone();
                tokio::spawn(async move { client.imports.import_user_data(ReceiverStream::new(stream)).await })
            };
            let before = begun().await;
            requests.send(content(0, 2)).await.unwrap();
            eventually("it has begun", async || begun().await != before).await;
            (requests, import)
        };
        let (older, newer) = (begin().await, begin().await);
        let ((requests, ends_well), unfinished) = if is_older { (newer, older) } else { (older, newer) };
        requests.send(content(2, 2)).await.unwrap();
        drop(requests);
        assert_eq!(ends_well.await.unwrap().unwrap().into_inner().rejected, 0);
        assert!(
            looks_again_after_erasing(&world, &mut client).await,
            "while one comes that began {}",
            if is_older { "before" } else { "after" }
        );
        drop(unfinished);
        world.execute("DELETE FROM uploads").await;
        world.execute("UPDATE subjects SET vault_erased_at = NULL").await;
    }
    // By itself, it is at its end.
    let mut client = world.client().await;
    import(&mut client, upload()).await;
    assert!(!looks_again_after_erasing(&world, &mut client).await);
}

async fn an_erasure_that_is_repeated_takes_on_the_files_of_one_whose_clock_was_ahead(world: World) {
    import(&mut world.client().await, upload()).await;
    let (subject, terms) = (anna(), Terms { once: Some(once()), plan: None });
    let behind = Clock::fixed(Timestamp(Clock::default().now().0 - 1_000_000_000));
    let replica = Repository::open(&world.config.storage.database, 2, behind).await.unwrap();
    let Accepted::Now(first) = accept(world.repository(), &subject, true, &Terms::default()).await else { panic!("not now") };
    let Accepted::Now(second) = accept(&replica, &subject, false, &terms).await else { panic!("not now") };
    // What is no file's is noted by the clock.
    assert_eq!(world.query("SELECT id FROM subjects WHERE feedback_erased_at < vault_erased_at").await.len(), 1);
    // Both are gone before they have removed the file.
    drop((first, second));
    let Accepted::Unfinished(again) = accept(&replica, &subject, false, &terms).await else { panic!("not again") };
    assert_eq!(again.to_remove.iter().map(|upload| upload.id.as_str()).collect::<Vec<_>>(), ["u"]);
}

async fn a_worker_shows_no_file_that_an_erasure_has_taken_since(world: World) {
    import(&mut world.client().await, upload()).await;
    let erase = async |memory| accept(world.repository(), &anna(), memory, &Terms::default()).await;
    erase(true).await;
    let claim = claim(&world).await;
    erase(false).await;
    world.repository().finish_removals(&claim, &failed()).await.unwrap();
    assert!(world.query("SELECT id FROM uploads WHERE removal_error IS NOT NULL").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_removes_files_has_them_to_himself_for_as_long_as_it_takes() {
    let mut world = World::start(Engine::Postgres).await;
    let mut store = SlowStore::start_with(&mut world, &[]).await;
    let mut client = world.client().await;
    import_uploads(&mut client, 1).await;
    store.hold(Held::Answers(REMOVAL));
    let mut by = client.clone();
    let erasure = tokio::spawn(async move { by.users.scoped_delete(erase_vault()).await });
    store.holds(1).await;
    let until = async || world.query("SELECT removal_next_at AS next FROM uploads").await[0]["next"].as_i64().unwrap();
    let first = until().await;
    eventually("he asks for more time", async || until().await > first).await;
    assert!(Clock::default().now().0 < first, "it was another who took it when the time was over");
    // It is not given up, and not shown.
    let shown = client.export_responses(with_content("anna")).await.unwrap();
    assert!(shown.iter().all(|response| response.uploads.is_empty()));
    store.hold(Held::Nothing);
    assert_eq!(erasure.await.unwrap().unwrap().into_inner().uploads_deleted, 1);
}
