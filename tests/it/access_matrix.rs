//! Who may do what to whom, cell by cell: every RPC of the contract's descriptor, every kind of principal, every kind of target. What is
//! expected is in `access_matrix.txt`: an RPC that has no line there fails the test.

use std::collections::BTreeMap;

use prost::Message as _;
use tonic::{Code, Status, metadata::MetadataMap};
use userdata::{
    domain::{
        api_key::{ApiKey, RANDOM_BYTES},
        principal::{Permission, Permissions},
        subject::ApplicationId,
        timestamp::{Clock, Timestamp},
    },
    grpc::proto::{self, DeleteUserMessagesRequest, ImportUserDataRequest, ScopedDeleteRequest},
};

use crate::{
    credentials::{claims, hs256, hs256_issuer, key_headers},
    on_both_engines_and_walled, records,
    rpc::Rpc,
    world::{ACME, OTHER, World},
};

on_both_engines_and_walled!(every_rpc_does_to_every_target_what_the_table_says,);

/// The users: application, token, and how many messages and sessions each has. The number tells whose was seen.
const HELD: [(&str, &str, usize); 4] = [(ACME, "anna", 1), (ACME, "bert", 2), (OTHER, "anna", 4), (OTHER, "olga", 8)];

/// In both applications, with everything erased.
const ERASED: &str = "eve";

/// The columns of the table.
const TARGETS: [&str; 7] = ["own", "other user", "other app's", "nobody", "foreign", "erased", "never seen"];

/// The rows of the table: who calls, and the application it is of.
struct Caller {
    name: &'static str,
    application: &'static str,
    proof: Option<(&'static str, String)>,
}

impl Caller {
    /// What it sends: its credential, and an application that is its own or not.
    fn headers(&self, application: &str) -> MetadataMap {
        match &self.proof {
            Some(("x-api-key", key)) => key_headers(application, key),
            proof => {
                let mut headers = MetadataMap::new();
                headers.insert("x-application-id", application.parse().unwrap());
                if let Some((name, value)) = proof {
                    headers.insert(*name, value.parse().unwrap());
                }
                headers
            }
        }
    }

    /// Whom the call concerns, and the application that the caller names.
    fn aim(&self, target: &str, cell: usize) -> (String, &'static str) {
        let (mine, other) = (self.application, if self.application == ACME { OTHER } else { ACME });
        let second = |application: &str| if application == ACME { "bert" } else { "olga" };
        match target {
            "own" => ("anna".to_owned(), mine),
            "other user" => (second(mine).to_owned(), mine),
            // The only way to name it: a user token means nothing without its application.
            "other app's" => ("anna".to_owned(), other),
            "nobody" => (String::new(), mine),
            "foreign" => (second(other).to_owned(), mine),
            "erased" => (ERASED.to_owned(), mine),
            _ => (format!("never seen {cell}"), mine),
        }
    }
}

async fn callers(world: &World) -> Vec<Caller> {
    let everything: Permissions = Permission::ALL.into_iter().collect();
    let acme = ApplicationId::parse(ACME).unwrap();
    let key = |name, key: &str| Caller { name, application: ACME, proof: Some(("x-api-key", key.to_owned())) };
    let mut callers = vec![Caller { name: "no credential", application: ACME, proof: None }];
    for permission in Permission::ALL {
        callers.push(key(permission.name(), &world.insert_key(ACME, Permissions::default().with(permission)).await));
    }
    callers.push(key("all permissions", world.key(ACME)));
    let (mut revoked, revoked_text) = ApiKey::mint(&[7; RANDOM_BYTES], acme.clone(), everything, Timestamp(1), None);
    revoked.revoked_at = Some(Clock::default().now());
    let (expired, expired_text) = ApiKey::mint(&[8; RANDOM_BYTES], acme, everything, Timestamp(1), Some(Timestamp(2)));
    for (name, minted, text) in [("revoked key", revoked, revoked_text), ("expired key", expired, expired_text)] {
        world.repository().insert_api_key(&minted).await.unwrap();
        if let Some(at) = minted.revoked_at {
            assert!(world.repository().revoke_api_key(&minted.id, at).await.unwrap());
        }
        callers.push(key(name, text.expose()));
    }
    callers.push(Caller { name: "other app's key", application: OTHER, proof: Some(("x-api-key", world.key(OTHER).to_owned())) });
    for (name, issuer, application) in [("user", "acme", ACME), ("other app's user", "other", OTHER)] {
        callers.push(Caller { name, application, proof: Some(("x-access-token", hs256(&claims(issuer, "anna")))) });
    }
    assert_eq!(callers.len(), 12);
    callers
}

/// Brings in a user's records, whether some of them were erased or not.
async fn fill(world: &World, application: &'static str, user_token: &str, count: usize) {
    let mut conversation = records::conversation("c", 0);
    conversation.messages = (0..count).map(|number| records::message(&format!("m{number}"), "c", number as i32)).collect();
    let request = ImportUserDataRequest {
        user_token: user_token.to_owned(),
        conversations: vec![conversation],
        sessions: (0..count).map(|number| records::session(&format!("s{number}"), number as i32)).collect(),
        ..Default::default()
    };
    let outcome = world.client_of(application).await.import_again(vec![request]).await.unwrap();
    assert_eq!(outcome.rejected, 0, "{:?}", outcome.rejections);
}

async fn settle(world: &World) {
    for (application, user_token, count) in HELD.into_iter().chain([(ACME, ERASED, 16), (OTHER, ERASED, 16)]) {
        fill(world, application, user_token, count).await;
        let mut client = world.client_of(application).await;
        let user_token = user_token.to_owned();
        // Once, of everybody: so every user that is held has an erasure to tell of.
        let request = DeleteUserMessagesRequest { user_token: user_token.clone(), ..Default::default() };
        client.users.delete_user_messages(request).await.unwrap();
        if user_token == ERASED {
            let request = ScopedDeleteRequest { user_token, dialogues: true, sessions: true, ..Default::default() };
            client.users.scoped_delete(request).await.unwrap();
        } else {
            fill(world, application, &user_token, count).await;
        }
    }
}

/// The names of the contract's RPCs, from its descriptor.
fn methods() -> Vec<String> {
    let descriptors = prost_types::FileDescriptorSet::decode(proto::DESCRIPTORS).unwrap();
    let services = descriptors.file.iter().filter(|file| file.package().starts_with("userdata.")).flat_map(|file| &file.service);
    services.flat_map(|service| service.method.iter().map(|method| method.name().to_owned())).collect()
}

fn word(outcome: &Result<i64, Status>) -> String {
    match outcome.as_ref().map_err(Status::code) {
        Ok(seen) => format!("ok {seen}"),
        Err(Code::Unauthenticated) => "unknown".to_owned(),
        Err(Code::PermissionDenied) => "denied".to_owned(),
        Err(Code::InvalidArgument) => "invalid".to_owned(),
        Err(code) => format!("{code:?}"),
    }
}

/// The lines of the table, by what they are about.
fn expected() -> BTreeMap<&'static str, &'static str> {
    let lines = include_str!("access_matrix.txt").lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| (line.split_once(':').unwrap().0.trim_end(), line)).collect()
}

async fn every_rpc_does_to_every_target_what_the_table_says(mut world: World) {
    world.config.auth.issuers = vec![hs256_issuer("acme", ACME), hs256_issuer("other", OTHER)];
    settle(&world).await;
    let callers = callers(&world).await;
    world.restart().await;
    let channel = world.channel().await;

    let methods = methods();
    assert!(methods.len() >= 5, "the descriptor was not read");
    for method in methods {
        let known = Rpc::EVERY_GUISE.iter().any(|rpc| rpc.method() == method);
        assert!(known, "{method} is new: give it a variant in rpc.rs, and this test will say which lines it needs");
    }
    let mut expected = expected();
    let (mut wrong, mut cells) = (Vec::new(), 0);
    for rpc in Rpc::EVERY_GUISE {
        for caller in &callers {
            let mut line = format!("{:<16} {:<16}:", format!("{rpc:?}"), caller.name);
            for target in TARGETS {
                cells += 1;
                let (user_token, application) = caller.aim(target, cells);
                let before = rows(&world).await;
                let outcome = rpc.count(&channel, &caller.headers(application), &user_token).await;
                line.push_str(&format!(" {:<10}", word(&outcome)));
                let aimed_at = HELD.iter().position(|held| outcome.is_ok() && (held.0, held.1) == (caller.application, &*user_token));
                for (whose, (now, before)) in rows(&world).await.iter().zip(&before).enumerate() {
                    assert!(now == before || aimed_at == Some(whose), "{line}: changed what {:?} holds", HELD[whose]);
                }
                if let Some((application, user_token, count)) = aimed_at.map(|whose| HELD[whose]) {
                    fill(&world, application, user_token, count).await;
                }
            }
            let line = line.trim_end();
            let about = line.split_once(':').unwrap().0.trim_end();
            if expected.remove(about) != Some(line) {
                wrong.push(line.to_owned());
            }
        }
    }
    assert!(wrong.is_empty(), "access_matrix.txt should say, if this is as it should be:\n{}", wrong.join("\n"));
    assert!(expected.is_empty(), "access_matrix.txt tells of what there is no more:\n{expected:?}");
}

/// What each user holds, by what it has in the two tables that the calls change.
async fn rows(world: &World) -> Vec<String> {
    let sql = "SELECT s.application_id AS a, s.user_token AS u, (SELECT COUNT(*) FROM messages m WHERE m.subject_id = s.id) AS m, \
               (SELECT COUNT(*) FROM sessions n WHERE n.subject_id = s.id) AS n FROM subjects s";
    let found = world.query(sql).await;
    let of = |application: &str, user_token: &str| {
        found.iter().filter(|row| row["a"] == application && row["u"] == user_token).map(ToString::to_string).collect()
    };
    HELD.iter().map(|(application, user_token, _)| of(application, user_token)).collect()
}
