//! The category catalogue tells the truth: about the migrated schema, the contract, and what each operation changes.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use prost_types::FileDescriptorSet;
use serde_json::{Map, Value};
use userdata::{
    domain::catalogue::{Column, Nature, OnImport, Operation, Rows, Shown, TABLES, Table, Whose, personal_tables},
    grpc::proto::{self, Conversation, DeleteUserMessagesRequest, ImportUserDataRequest, ScopedDeleteRequest},
    repository::Engine,
};

use crate::{
    on_both_engines, records,
    world::{ACME, Client, OTHER, World},
};

on_both_engines!(
    every_table_and_column_of_the_schema_is_classified,
    every_personal_table_has_the_subject_first_in_its_primary_key,
    every_erasure_changes_what_the_catalogue_says_and_nothing_else,
    an_import_replaces_what_the_catalogue_says_and_nothing_else,
);

async fn every_table_and_column_of_the_schema_is_classified(world: World) {
    let sql = match world.engine {
        Engine::Sqlite => {
            "SELECT m.name AS t, p.name AS c FROM sqlite_master m, pragma_table_info(m.name) p
             WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        }
        Engine::Postgres => "SELECT table_name AS t, column_name AS c FROM information_schema.columns WHERE table_schema = 'public'",
    };
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    let migrated: BTreeSet<(String, String)> = world.query(sql).await.iter().map(|row| (text(row, "t"), text(row, "c"))).collect();
    let named = |table: &Table| table.columns.iter().map(|column| (table.name.to_owned(), column.name.to_owned())).collect::<Vec<_>>();
    let classified: BTreeSet<(String, String)> = TABLES.iter().flat_map(named).collect();
    assert!(migrated.len() > 90, "the schema was not read");
    let nobody_classified: Vec<_> = migrated.difference(&classified).collect();
    let not_in_the_schema: Vec<_> = classified.difference(&migrated).collect();
    assert!(nobody_classified.is_empty(), "classify these in domain/catalogue.rs: {nobody_classified:?}");
    assert!(not_in_the_schema.is_empty(), "the catalogue names what is not there: {not_in_the_schema:?}");
    assert_eq!(TABLES.iter().map(|table| table.columns.len()).sum::<usize>(), classified.len(), "a column is named twice");
}

async fn every_personal_table_has_the_subject_first_in_its_primary_key(world: World) {
    for table in personal_tables() {
        let sql = match world.engine {
            Engine::Sqlite => format!("SELECT name FROM pragma_table_info('{}') WHERE pk = 1", table.name),
            Engine::Postgres => format!(
                "SELECT a.attname::text AS name FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
                 WHERE i.indisprimary AND i.indrelid = '{}'::regclass",
                table.name
            ),
        };
        assert_eq!(world.query(&sql).await, [serde_json::json!({ "name": "subject_id" })], "{}", table.name);
    }
}

#[test]
fn everything_that_is_shown_is_a_field_of_the_contract_and_the_other_way_round() {
    let descriptors = FileDescriptorSet::decode(proto::DESCRIPTORS).unwrap();
    let records = descriptors.file.iter().find(|file| file.name() == "userdata/v1/records.proto").unwrap();
    let fields = |message: &str| -> BTreeSet<String> {
        let message = records.message_type.iter().find(|candidate| candidate.name() == message).expect("a message of records.proto");
        message.field.iter().map(|field| format!("{}.{}", message.name(), field.name())).collect()
    };
    let columns: Vec<&Column> = TABLES.iter().flat_map(|table| table.columns).collect();
    let shown: BTreeSet<String> = columns
        .iter()
        .filter_map(|column| match column.shown {
            Shown::As(field) => Some(field),
            Shown::No(_) => None,
        })
        .flat_map(|field| match field.strip_suffix(".*") {
            Some(message) => fields(message),
            None => BTreeSet::from([field.to_owned()]),
        })
        .collect();
    let mut contract: BTreeSet<String> =
        ["Conversation", "ConversationMetadata", "Message", "Feedback", "Memory", "Upload", "Assistant", "Session", "CompactionCacheEntry"]
            .into_iter()
            .flat_map(fields)
            .collect();
    // Messages are nested by their own column `conversation_id`.
    assert!(contract.remove("Conversation.messages"));
    assert_eq!(shown, contract);
    for column in columns {
        let is_shown = matches!(column.shown, Shown::As(_));
        assert!(column.nature != Nature::Credential || !is_shown, "{}: a credential", column.name);
    }
    for table in TABLES.iter().filter(|table| table.whose == Whose::Application || table.whose == Whose::Service) {
        assert!(table.columns.iter().all(|column| matches!(column.shown, Shown::No(_)) && column.on_import == OnImport::Never));
    }
}

/// The rows of a table, each by the columns that name it whatever else changes.
type Rowset = BTreeMap<String, Map<String, Value>>;

/// Every row of every table that an operation may change.
async fn rows(world: &World) -> BTreeMap<&'static str, Rowset> {
    let mut tables = BTreeMap::new();
    for table in TABLES.iter().filter(|table| table.whose != Whose::Service) {
        let identity: &[&str] = match table.name {
            "upload_embeddings" => &["subject_id", "upload_id", "chunk_index"],
            "accepted_requests" => &["application_id", "request_id"],
            _ if table.whose == Whose::Subject => &["subject_id", "id"],
            _ => &["id"],
        };
        let rows = world.query(&format!("SELECT * FROM {}", table.name)).await.into_iter().map(|row| {
            let row = row.as_object().unwrap().clone();
            (identity.iter().map(|column| row[*column].to_string()).collect::<Vec<_>>().join(" "), row)
        });
        tables.insert(table.name, rows.collect());
    }
    tables
}

/// Gives each of these users, and two bystanders, two of everything: one personal, one of an institution.
async fn fill(world: &World, users: &[String]) -> Client {
    let mut client = world.client().await;
    let bystander = vec![everything(&users[0], 0)];
    let requests = users.iter().map(String::as_str).chain(["bystander"]).map(|user| everything(user, 0)).collect();
    for answer in [client.import(requests).await.unwrap(), world.client_of(OTHER).await.import(bystander).await.unwrap()] {
        assert_eq!(answer.rejected, 0, "{:?}", answer.rejections);
    }
    let request_id = "00000000-0000-4000-8000-000000000000".to_owned();
    let request = DeleteUserMessagesRequest { user_token: "nobody".to_owned(), request_id, ..Default::default() };
    client.users.delete_user_messages(request).await.unwrap();
    client
}

/// Two records of each kind; with another `step` each of them has changed, in every field.
fn everything(user: &str, step: i32) -> ImportUserDataRequest {
    let numbers = [2 + step, 3 + step];
    let with = |number: i32| {
        let conversation_id = format!("c{}", number - step);
        Conversation {
            messages: vec![records::message(&format!("m{}", number - step), &conversation_id, number)],
            // It wanders to the other conversation.
            feedback: vec![records::feedback(&format!("f{}", 2 + number % 2), number)],
            ..records::conversation(&conversation_id, number)
        }
    };
    let id = |prefix: &str, number: i32| format!("{prefix}{}", number - step);
    ImportUserDataRequest {
        user_token: user.to_owned(),
        conversations: numbers.map(with).into(),
        feedback: vec![],
        memories: numbers.map(|number| records::memory(Some(&id("o", number)), number)).into(),
        uploads: numbers.map(|number| records::upload(&id("u", number), number)).into(),
        upload_contents: numbers.map(|number| records::content(&id("u", number), 0, number as usize)).into(),
        assistants: numbers.map(|number| records::assistant(&id("a", number), &format!("name {number} {step}"), number)).into(),
        sessions: numbers.map(|number| records::session(&id("s", number), number)).into(),
        compaction_cache: numbers.map(|number| records::compaction_cache(&id("k", number), &format!("c{}", 2 + number % 2), number)).into(),
        upload_embeddings: numbers.map(|number| records::embedding(&id("u", number), number)).into(),
        observed_epoch: None,
    }
}

async fn every_erasure_changes_what_the_catalogue_says_and_nothing_else(world: World) {
    let users = Operation::ALL.map(|operation| format!("{operation:?}"));
    let mut client = fill(&world, &users).await;
    for (operation, user) in Operation::ALL.into_iter().zip(&users) {
        let filled = rows(&world).await;
        run(&mut client, user, operation).await;
        let left = rows(&world).await;
        let subject = world.subject_id(ACME, user).await;
        for table in TABLES.iter().filter(|table| table.whose != Whose::Service) {
            let (before, after) = (&filled[table.name], &left[table.name]);
            assert!(!before.is_empty() && after.keys().all(|row| before.contains_key(row)), "{operation:?}: {} grew", table.name);
            for (name, row) in before {
                let is_the_users = is_of(table, row, subject);
                let said = |by: &[(Operation, Rows)]| {
                    is_the_users && by.iter().any(|(by, rows)| is_part(*by, operation) && reaches(*rows, row, &filled))
                };
                let Some(now) = after.get(name) else {
                    assert!(said(table.removed_by), "{operation:?}: removed {name} of {}", table.name);
                    continue;
                };
                assert!(!said(table.removed_by), "{operation:?}: left {name} of {}", table.name);
                for column in table.columns {
                    let changed = row[column.name] != now[column.name];
                    assert_eq!(changed, said(column.set_by), "{operation:?}: {}.{} of {name}", table.name, column.name);
                }
            }
        }
    }
}

/// What scrubs deletes messages too.
fn is_part(by: Operation, operation: Operation) -> bool {
    by == operation || (by, operation) == (Operation::DeleteUserMessages, Operation::ScrubResidue)
}

fn is_of(table: &Table, row: &Map<String, Value>, subject: i64) -> bool {
    match table.whose {
        Whose::Subject => row["subject_id"] == subject,
        Whose::Subjects => row["id"] == subject,
        Whose::Application | Whose::Service => false,
    }
}

/// Whether rows of this kind include `row`.
fn reaches(rows: Rows, row: &Map<String, Value>, all: &BTreeMap<&'static str, Rowset>) -> bool {
    match rows {
        Rows::Every => true,
        Rows::WithoutInstitution => row["institution_id"].is_null(),
        Rows::Derived(from) => {
            let name = if from == "uploads" { &row["upload_id"] } else { &row["conversation_id"] };
            let origin = all[from].values().find(|origin| origin["subject_id"] == row["subject_id"] && origin["id"] == *name);
            origin.is_some_and(|origin| origin["institution_id"].is_null())
        }
    }
}

async fn run(client: &mut Client, user: &str, operation: Operation) {
    let user_token = user.to_owned();
    if [Operation::DeleteUserMessages, Operation::ScrubResidue].contains(&operation) {
        let scrub_residue = operation == Operation::ScrubResidue;
        let request = DeleteUserMessagesRequest { user_token, scrub_residue, ..Default::default() };
        client.users.delete_user_messages(request).await.unwrap();
        return;
    }
    let scopes = ScopedDeleteRequest {
        user_token,
        dialogues: operation == Operation::Dialogues,
        vault: operation == Operation::Vault,
        memory: operation == Operation::Memory,
        assistants: operation == Operation::Assistants,
        feedback: operation == Operation::Feedback,
        sessions: operation == Operation::Sessions,
        ..Default::default()
    };
    let answer = client.users.scoped_delete(scopes).await.unwrap().into_inner();
    assert!(answer.uploads_failed.is_empty());
}

async fn an_import_replaces_what_the_catalogue_says_and_nothing_else(world: World) {
    let mut client = fill(&world, &["anna".to_owned()]).await;
    let before = rows(&world).await;
    let answer = client.import(vec![everything("anna", 1)]).await.unwrap();
    assert_eq!(answer.rejected, 0, "{:?}", answer.rejections);
    let after = rows(&world).await;
    let anna = world.subject_id(ACME, "anna").await;
    for table in TABLES.iter().filter(|table| table.whose != Whose::Service) {
        let (before, after) = (&before[table.name], &after[table.name]);
        assert!(before.keys().eq(after.keys()), "{}: rows came or went", table.name);
        let mut changed = BTreeSet::new();
        for (name, row) in before {
            let columns = table.columns.iter().map(|column| column.name).filter(|column| row[*column] != after[name][*column]);
            let columns: Vec<_> = columns.collect();
            assert!(columns.is_empty() || is_of(table, row, anna), "{}: {name} changed", table.name);
            changed.extend(columns);
        }
        let replaced = table.columns.iter().filter(|column| column.on_import == OnImport::Replaced).map(|column| column.name);
        assert_eq!(changed, replaced.collect(), "{}", table.name);
    }
}
