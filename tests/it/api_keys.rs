//! Keys in the database that are not as the service writes them.

use std::process::Command;

use serde_json::{Value, json};
use tonic::{Code, Status};
use userdata::{
    domain::{
        api_key::ApiKeyId,
        principal::{Permission, Permissions},
        timestamp::Timestamp,
    },
    repository::Engine,
};

use crate::{
    credentials::key_headers,
    on_both_engines,
    program::Program,
    rpc::Rpc,
    world::{ACME, World, eventually},
};

on_both_engines!(a_key_that_cannot_be_read_is_refused_and_named_and_the_others_are_read_on,);

/// A row with these permissions, and the rest as it should be.
async fn insert(world: &World, id: &str, permissions: &str, expires_and_revoked: &str) {
    let digest = match world.engine {
        Engine::Sqlite => "zeroblob(32)",
        Engine::Postgres => "decode(repeat('00', 32), 'hex')",
    };
    let row = format!("'{id}', 'ACME', {digest}, '{permissions}', 1, {expires_and_revoked}");
    let columns = "id, application_id, digest, permissions, created_at, expires_at, revoked_at";
    world.execute(&format!("INSERT INTO api_keys ({columns}) VALUES ({row})")).await;
}

async fn a_key_that_cannot_be_read_is_refused_and_named_and_the_others_are_read_on(mut world: World) {
    world.stop_server().await;
    insert(&world, "00000000000000aa", "hunter2", "NULL, NULL").await;
    // Of those that admit nobody any more nothing is read.
    insert(&world, "00000000000000cc", "hunter2", "1, NULL").await;
    insert(&world, "00000000000000dd", "hunter2", "NULL, 1").await;
    let objects = format!("file://{}", world.objects().display());
    let program = Program::serve(&world.folder(), &world.database_url, &["--object-store-url", &objects]);
    let channel = program.channel().await;
    // While it runs, as another program would.
    insert(&world, "hunter2", "export", "NULL, NULL").await;
    if world.engine == Engine::Sqlite {
        insert(&world, "00000000000000bb", "export", "'hunter2', NULL").await;
    }

    let key = world.insert_key(ACME, Permissions::from_iter([Permission::Export])).await;
    let call = async || Rpc::Export.call(&channel, &key_headers(ACME, &key), "anna").await;
    eventually("a new key works", async || call().await.is_ok()).await;
    let id = ApiKeyId::parse(key.split('_').nth(1).unwrap()).unwrap();
    // The first revocation counts.
    for at in [Timestamp(1), Timestamp(2)] {
        assert!(world.repository().revoke_api_key(&id, at).await.unwrap());
    }
    let kept = world.repository().list_api_keys(None).await.unwrap().keys;
    assert_eq!(kept.iter().find(|kept| kept.id == id).unwrap().revoked_at, Some(Timestamp(1)));
    let refused = |outcome: Result<(), Status>| outcome.is_err_and(|status| status.code() == Code::Unauthenticated);
    eventually("a revoked key works no more", async || refused(call().await)).await;

    let named = || -> Vec<Value> {
        let told = program.log().into_iter().filter(|line| line["message"].as_str().unwrap().starts_with("an API key in the database"));
        told.inspect(|line| assert_eq!(line["level"], "ERROR")).map(|line| line["key"].clone()).collect()
    };
    let expected = match world.engine {
        Engine::Sqlite => vec![json!("00000000000000aa"), json!(null), json!("00000000000000bb")],
        Engine::Postgres => vec![json!("00000000000000aa"), json!(null)],
    };
    eventually("each is named", async || named().len() >= expected.len()).await;
    let mut named = named();
    assert_eq!(named.len(), expected.len(), "more than once: {named:?}");
    named.retain(|key| !expected.contains(key));
    assert!(named.is_empty() && !program.stderr().contains("hunter2"), "{}", program.stderr());

    let keys = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_userdata"));
        command.arg("keys").args(arguments).env("USERDATA_DATABASE_URL", &world.database_url).output().unwrap()
    };
    let listed = keys(&["list"]);
    let (shown, said) = (String::from_utf8(listed.stdout).unwrap(), String::from_utf8(listed.stderr).unwrap());
    assert!(listed.status.success() && shown.contains(id.as_str()), "{said}");
    assert!(
        said.contains("key 00000000000000aa admits nobody") && said.contains("whose id is none") && !said.contains("hunter2"),
        "{said}"
    );
    assert!(keys(&["rotate", &world.key(ACME)[4..20]]).status.success());
    assert!(!keys(&["rotate", "00000000000000aa"]).status.success());
}
