//! Uploads and their objects: importing content, erasing it, and a store that fails for some of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
};

use prost_types::Timestamp;
use userdata::{
    grpc::{
        document::UserDocument,
        proto::{
            ImportUserDataRequest, ImportUserDataResponse, ScopedDeleteRequest, ScopedDeleteResponse, Upload, UploadContent,
            UploadEmbedding,
        },
    },
    repository::Engine,
};

use crate::{
    exported::{Exported, with_content},
    on_both_engines_and_walled,
    population::settle,
    program::Program,
    rpc::nothing_erased,
    world::{Client, OTHER, World, eventually},
};

on_both_engines_and_walled!(
    a_store_that_fails_for_some_objects_fails_for_no_others,
    erased_uploads_leave_nothing_in_the_store,
    uploads_beyond_what_one_statement_names_are_all_erased,
    content_is_taken_whole_and_in_order_or_not_at_all,
    content_that_the_store_has_lost_is_exported_as_missing,
);

const PIECE: usize = 256 * 1024;

fn upload(id: &str, size_bytes: usize) -> Upload {
    Upload {
        id: id.to_owned(),
        file_name: "file".to_owned(),
        content_type: "application/octet-stream".to_owned(),
        size_bytes: size_bytes as i64,
        status: "ready".to_owned(),
        created_at: Some(Timestamp { seconds: 1_700_000_000, nanos: 0 }),
        ..Default::default()
    }
}

/// Bytes that differ from those of every other seed, and between pieces.
fn bytes(seed: u8, length: usize) -> Vec<u8> {
    (0..length).map(|place| (place / 7 + place / PIECE) as u8 ^ seed).collect()
}

fn missing(upload_id: &str) -> UploadContent {
    UploadContent { missing: true, ..piece(upload_id, 0, b"") }
}

fn piece(upload_id: &str, offset: usize, data: &[u8]) -> UploadContent {
    UploadContent { upload_id: upload_id.to_owned(), offset: offset as i64, data: data.to_vec(), missing: false }
}

/// All files below a folder.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return BTreeSet::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { BTreeSet::from([path]) }).collect()
}

/// The file that holds this content, and no other does.
fn file_of(world: &World, content: &[u8]) -> PathBuf {
    let mut found = files(&world.objects()).into_iter().filter(|file| fs::read(file).unwrap() == content);
    let file = found.next().expect("no file holds the content");
    assert!(found.next().is_none(), "two files hold the content");
    file
}

async fn import(client: &mut Client, user: UserDocument) {
    let outcome = client.import(user.into_requests().collect()).await.unwrap();
    assert_eq!(outcome.rejected, 0, "{:?}", outcome.rejections);
}

async fn erase_vault(client: &mut Client, user_token: &str) -> ScopedDeleteResponse {
    let request = ScopedDeleteRequest { user_token: user_token.to_owned(), vault: true, ..Default::default() };
    client.users.scoped_delete(request).await.unwrap().into_inner()
}

async fn contents(client: &mut Client, user_token: &str) -> BTreeMap<String, Vec<u8>> {
    let mut document = UserDocument::new(user_token);
    for response in Exported::fetch(client, with_content(user_token)).await.0 {
        for item in userdata::grpc::document::items(response) {
            document.push(item).unwrap();
        }
    }
    document.contents
}

/// Rows of the uploads of ids, and of their embeddings.
async fn rows_of(world: &World, ids: &str) -> (Vec<String>, Vec<String>) {
    let columns = "subject_id, created_at, id, file_name, content_type, size_bytes, status, institution_id, deleted_at";
    let uploads = world.query(&format!("SELECT {columns} FROM uploads WHERE id IN ({ids}) ORDER BY subject_id, id")).await;
    let embeddings = world
        .query(&format!("SELECT * FROM upload_embeddings WHERE upload_id IN ({ids}) ORDER BY subject_id, upload_id, chunk_index"))
        .await;
    (uploads.iter().map(ToString::to_string).collect(), embeddings.iter().map(ToString::to_string).collect())
}

async fn a_store_that_fails_for_some_objects_fails_for_no_others(world: World) {
    let mut client = world.client().await;
    let mut user = UserDocument::new("anna");
    user.uploads = (0..12).map(|number| upload(&format!("u{number:02}"), 100 + number)).collect();
    user.contents = (0..12).map(|number| (format!("u{number:02}"), bytes(number, 100 + usize::from(number)))).collect();
    let embedding =
        |upload_id: &String| UploadEmbedding { upload_id: upload_id.clone(), chunk_index: 0, model: "m".to_owned(), vector: vec![1.0] };
    let upload_embeddings = user.contents.keys().map(embedding).collect();
    import(&mut client, user.clone()).await;
    let request = ImportUserDataRequest { user_token: "anna".to_owned(), upload_embeddings, ..Default::default() };
    assert_eq!(client.import(vec![request]).await.unwrap().rejected, 0);
    settle(&mut client, "other").await;
    let stuck = file_of(&world, b"u1 of");
    settle(&mut world.client_of(OTHER).await, "anna").await;

    // In the place of two objects is something that cannot be removed; a third is gone already.
    let faulty: Vec<PathBuf> = ["u03", "u07"].iter().map(|id| file_of(&world, &user.contents[*id])).collect();
    let gone = file_of(&world, &user.contents["u05"]);
    let done: Vec<PathBuf> = user.contents.values().map(|content| file_of(&world, content)).filter(|file| !faulty.contains(file)).collect();
    let others = &files(&world.objects()) - &done.iter().chain(&faulty).cloned().collect();
    assert_eq!((done.len(), others.len()), (10, 6));
    fs::remove_file(gone).unwrap();
    for file in &faulty {
        fs::remove_file(file).unwrap();
        fs::create_dir(file).unwrap();
        fs::write(file.join("in the way"), "").unwrap();
    }
    let failing = "'u03', 'u07'";
    let before = rows_of(&world, failing).await;
    assert_eq!((before.0.len(), before.1.len()), (2, 2));

    for expected in [(10, (0..12).sum::<i64>() - 3 - 7 + 1_000), (0, 0)] {
        let report = erase_vault(&mut client, "anna").await;
        assert_eq!((report.uploads_deleted, report.bytes_freed), expected);
        let failed: Vec<&str> = report.uploads_failed.iter().map(|failure| failure.upload_id.as_str()).collect();
        assert_eq!(failed, ["u03", "u07"]);
        for failure in &report.uploads_failed {
            assert_eq!(failure.error, "the object store failed or did not answer");
        }
        assert_eq!(rows_of(&world, failing).await, before);
    }
    assert!(done.iter().all(|file| !file.exists()), "an object is left");
    let left = world.query("SELECT id FROM uploads WHERE id LIKE 'u__' AND status <> 'deleted' ORDER BY id").await;
    assert_eq!(left.iter().map(|row| row["id"].as_str().unwrap()).collect::<Vec<_>>(), ["u03", "u07"]);

    // The other scopes of a call take effect whatever the store does.
    let request = ScopedDeleteRequest { user_token: "other".to_owned(), vault: true, memory: true, ..Default::default() };
    fs::remove_file(&stuck).unwrap();
    fs::create_dir_all(stuck.join("in the way")).unwrap();
    let report = client.users.scoped_delete(request).await.unwrap().into_inner();
    assert_eq!((report.memory_deleted, report.uploads_deleted, report.uploads_failed.len()), (2, 2, 1));

    // The fault clears, and the service mends what is left by itself.
    assert_eq!(client.pending("anna").await, 2);
    for file in &faulty {
        fs::remove_dir_all(file).unwrap();
    }
    eventually("the files are gone", async || client.pending("anna").await == 0).await;
    assert_eq!(erase_vault(&mut client, "anna").await, nothing_erased());
    let (uploads, embeddings) = rows_of(&world, failing).await;
    assert!(uploads.iter().all(|row| row.contains(r#""status":"deleted""#)) && embeddings.is_empty());
}

async fn erased_uploads_leave_nothing_in_the_store(world: World) {
    let (mut client, mut other) = (world.client().await, world.client_of(OTHER).await);
    settle(&mut client, "bystander").await;
    settle(&mut other, "anna").await;
    let others = files(&world.objects());
    settle(&mut client, "anna").await;
    let own = &files(&world.objects()) - &others;
    // Their names tell nobody's name.
    for file in &own {
        let name = file.strip_prefix(world.objects()).unwrap().to_str().unwrap();
        assert!(!["ACME", "anna", "u1", "u2", "institution"].iter().any(|word| name.contains(word)), "{name}");
    }
    assert_eq!(own.len(), 3);
    // What a writer that died leaves; others' stays.
    let beside = |file: &PathBuf| PathBuf::from(format!("{}#1", file.display()));
    for file in own.iter().filter(|file| fs::read(file).unwrap() != b"u-institu") {
        fs::write(beside(file), "half").unwrap();
    }

    let report = erase_vault(&mut client, "anna").await;
    // One of the three never had content.
    assert_eq!((report.uploads_deleted, report.bytes_freed), (3, 112));
    let left = &files(&world.objects()) - &others;
    assert_eq!(left.len(), 1);
    assert_eq!(fs::read(left.first().unwrap()).unwrap(), b"u-institu");
    assert_eq!(&files(&world.objects()) & &others, others);
    assert_eq!(contents(&mut client, "anna").await, BTreeMap::from([("u-institution".to_owned(), b"u-institu".to_vec())]));

    // Content of an erased upload is not taken.
    let request =
        ImportUserDataRequest { user_token: "anna".to_owned(), upload_contents: vec![piece("u1", 0, b"again")], ..Default::default() };
    let outcome = client.import(vec![request]).await.unwrap();
    assert_eq!(rejections(&outcome), ["requests[0].upload_contents[0].upload_id"]);
    assert_eq!(&files(&world.objects()) - &others, left);
}

async fn uploads_beyond_what_one_statement_names_are_all_erased(world: World) {
    const COUNT: usize = 1_300;
    let mut client = world.client().await;
    let mut user = UserDocument::new("anna");
    user.uploads = (0..COUNT).map(|number| upload(&format!("u{number}"), number)).collect();
    user.contents = BTreeMap::from([("u1".to_owned(), bytes(1, 1)), ("u1299".to_owned(), bytes(2, 1_299))]);
    import(&mut client, user).await;
    let request = ScopedDeleteRequest { user_token: "anna".to_owned(), vault: true, memory: true, sessions: true, ..Default::default() };
    let report = client.users.scoped_delete(request).await.unwrap().into_inner();
    let expected = ScopedDeleteResponse { uploads_deleted: COUNT as i32, bytes_freed: (0..COUNT as i64).sum(), ..nothing_erased() };
    assert_eq!(report, expected);
    assert_eq!(files(&world.objects()), BTreeSet::new());
    assert_eq!(world.query("SELECT id FROM uploads WHERE status <> 'deleted'").await.len(), 0);
}

fn rejections(outcome: &ImportUserDataResponse) -> Vec<&str> {
    assert_eq!(outcome.rejected as usize, outcome.rejections.len());
    outcome.rejections.iter().map(|rejection| rejection.field.as_str()).collect()
}

async fn content_is_taken_whole_and_in_order_or_not_at_all(world: World) {
    let mut client = world.client().await;
    let request = |upload_contents| ImportUserDataRequest { user_token: "anna".to_owned(), upload_contents, ..Default::default() };
    let unknown = client.import(vec![request(vec![piece("u", 0, b"abc")])]).await.unwrap();
    assert_eq!(rejections(&unknown), ["requests[0].upload_contents[0].upload_id"]);
    let mut user = UserDocument::new("anna");
    user.uploads = vec![upload("u", 6), upload("v", 2), upload("empty", 0)];
    import(&mut client, user).await;

    let cases: [(&str, Vec<UploadContent>, &[&str]); 10] = [
        ("unknown", vec![piece("w", 0, b"abc")], &["0].upload_id"]),
        ("unknown, after a piece that is missing", vec![missing("u"), piece("w", 0, b"abc")], &["1].upload_id"]),
        ("not from its beginning", vec![piece("u", 3, b"def")], &["0].offset"]),
        ("with a gap", vec![piece("u", 0, b"abc"), piece("u", 4, b"ef")], &["1].offset"]),
        ("overlapping", vec![piece("u", 0, b"abc"), piece("u", 2, b"cdef")], &["1].offset"]),
        ("too long", vec![piece("u", 0, b"abcdefg")], &["0].data"]),
        ("too long in the end", vec![piece("u", 0, b"abc"), piece("u", 3, b"defg")], &["1].data"]),
        ("unfinished", vec![piece("u", 0, b"abc")], &["0].data"]),
        ("interleaved", vec![piece("u", 0, b"abc"), piece("v", 0, b"x"), piece("u", 3, b"def")], &["0].data", "1].data", "2].offset"]),
        (
            "of negative offset, and too large a piece",
            vec![UploadContent { offset: -1, ..piece("u", 0, &[0; 1024 * 1024 + 1]) }],
            &["0].data", "0].offset"],
        ),
    ];
    for (which, pieces, expected) in cases {
        let outcome = client.import(vec![request(pieces)]).await.unwrap();
        let mut found: Vec<&str> = outcome.rejections.iter().map(|rejection| rejection.field.as_str()).collect();
        found.sort_unstable();
        let mut expected: Vec<String> = expected.iter().map(|field| format!("requests[0].upload_contents[{field}")).collect();
        expected.sort_unstable();
        assert_eq!(found, expected, "{which}");
        assert_eq!(files(&world.objects()), BTreeSet::new(), "{which}");
    }

    // In pieces over several requests, after faults of others; an empty file; then replaced by what is sent later.
    let requests = vec![
        request(vec![piece("w", 0, b"?"), piece("u", 0, b"ab")]),
        request(vec![piece("u", 2, b""), piece("u", 2, b"cd")]),
        request(vec![piece("u", 4, b"ef"), piece("empty", 0, b""), piece("v", 0, b"vw")]),
        request(vec![piece("v", 0, b"xy")]),
        request(vec![missing("u")]),
        // What breaks off does not harm what is there.
        request(vec![piece("u", 0, b"123")]),
    ];
    let outcome = client.import(requests).await.unwrap();
    assert_eq!(rejections(&outcome), ["requests[0].upload_contents[0].upload_id", "requests[5].upload_contents[0].data"]);
    let expected = [("empty", &b""[..]), ("u", b"abcdef"), ("v", b"xy")].map(|(id, content)| (id.to_owned(), content.to_vec()));
    assert_eq!(contents(&mut client, "anna").await, BTreeMap::from(expected));
    assert_eq!(files(&world.objects()).len(), 3);
}

async fn content_that_the_store_has_lost_is_exported_as_missing(world: World) {
    let mut client = world.client().await;
    let mut user = UserDocument::new("anna");
    user.uploads = vec![upload("lost", 600_000), upload("never", 5), upload("there", 600_001)];
    user.contents = BTreeMap::from([("lost".to_owned(), bytes(1, 600_000)), ("there".to_owned(), bytes(2, 600_001))]);
    import(&mut client, user.clone()).await;
    fs::remove_file(file_of(&world, &user.contents["lost"])).unwrap();
    let exported = Exported::fetch(&mut client, with_content("anna")).await;
    let pieces: Vec<UploadContent> = exported.0.iter().flat_map(|response| response.upload_contents.clone()).collect();
    let there = &user.contents["there"];
    let missing = |id| UploadContent { missing: true, ..piece(id, 0, b"") };
    let expected = [
        missing("lost"),
        missing("never"),
        piece("there", 0, &there[..PIECE]),
        piece("there", PIECE, &there[PIECE..2 * PIECE]),
        piece("there", 2 * PIECE, &there[2 * PIECE..]),
    ];
    assert!(pieces == expected, "other pieces came");
    // Without content, nothing is asked of the store.
    assert!(client.export("anna").await.iter().all(|response| response.upload_contents.is_empty()));
}

#[tokio::test]
async fn an_erasure_in_another_store_than_the_content_is_in_tells_the_operator() {
    let mut world = World::start(Engine::Sqlite).await;
    let mut user = UserDocument::new("anna");
    user.uploads = vec![upload("elsewhere", 2), upload("never", 5)];
    user.contents = BTreeMap::from([("elsewhere".to_owned(), bytes(1, 2))]);
    import(&mut world.client().await, user).await;
    world.stop_server().await;
    let program = Program::serve(&world.folder(), &world.database_url, &["--object-store-url", "file://wrong"]);
    world.address = program.address().await;
    assert_eq!(erase_vault(&mut world.client().await, "anna").await.uploads_deleted, 2);
    let told = program.log().into_iter().find(|line| line["message"].as_str().unwrap().contains("is it the right store?"));
    assert_eq!(told.expect("nothing was told")["missing"], 1);
}

/// Imports, exports, imports elsewhere, and erases files, one of them larger than a part of a multipart upload.
async fn a_cycle(object_store: &str) {
    let world = World::start_with(Engine::Sqlite, |config| config.storage.object_store = object_store.parse().unwrap()).await;
    let (mut client, mut other) = (world.client().await, world.client_of(OTHER).await);
    // The store may be that of other tests.
    let user_token = format!("anna {}", world.folder().display());
    let mut user = UserDocument::new(user_token.as_str());
    let sizes = [0, 1, PIECE, 12 * 1024 * 1024];
    user.uploads = sizes.iter().enumerate().map(|(number, size)| upload(&format!("u{number}"), *size)).collect();
    user.contents = sizes.iter().enumerate().map(|(number, size)| (format!("u{number}"), bytes(number as u8, *size))).collect();
    user.uploads.push(Upload { institution_id: Some("institution".to_owned()), ..upload("v", 3) });
    user.contents.insert("v".to_owned(), b"its".to_vec());
    user.uploads.push(upload("lost", 7));
    import(&mut client, user.clone()).await;
    let exported = Exported::fetch(&mut client, with_content(&user_token)).await;
    assert!(contents(&mut client, &user_token).await == user.contents, "other content came out");
    let outcome = other.import(exported.to_requests(&user_token)).await.unwrap();
    assert_eq!(outcome.rejected, 0, "{:?}", outcome.rejections);
    assert!(Exported::fetch(&mut other, with_content(&user_token)).await.bytes() == exported.bytes(), "another export came out");

    // Content that breaks off, and content that is replaced.
    let large = bytes(9, 6 * 1024 * 1024);
    let mut pieces: Vec<ImportUserDataRequest> = large
        .chunks(1024 * 1024)
        .enumerate()
        .map(|(number, data)| ImportUserDataRequest {
            user_token: user_token.clone(),
            upload_contents: vec![piece("u3", number * 1024 * 1024, data)],
            ..Default::default()
        })
        .collect();
    let upload_contents = vec![piece("u1", 0, b"!")];
    pieces.push(ImportUserDataRequest { user_token: user_token.clone(), upload_contents, ..Default::default() });
    let outcome = client.import(pieces).await.unwrap();
    assert_eq!(rejections(&outcome), ["requests[0].upload_contents[0].data"]);
    user.contents.insert("u1".to_owned(), b"!".to_vec());
    assert!(contents(&mut client, &user_token).await == user.contents, "content that broke off did harm");

    let report = erase_vault(&mut client, &user_token).await;
    assert_eq!((report.uploads_deleted, report.bytes_freed), (5, sizes.iter().sum::<usize>() as i64 + 7));
    assert_eq!(report.uploads_failed, []);
    assert_eq!(erase_vault(&mut client, &user_token).await, nothing_erased());
    assert_eq!(contents(&mut client, &user_token).await, BTreeMap::from([("v".to_owned(), b"its".to_vec())]));
    assert!(Exported::fetch(&mut other, with_content(&user_token)).await.bytes() == exported.bytes(), "another's files went");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_in_come_out_and_are_erased_on_s3() {
    let url = env::var("USERDATA_TEST_S3_URL")
        .expect("this test needs an S3 server: run scripts/test, which starts one and sets USERDATA_TEST_S3_URL");
    a_cycle(&url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_in_come_out_and_are_erased_in_memory() {
    a_cycle("memory://").await;
}
