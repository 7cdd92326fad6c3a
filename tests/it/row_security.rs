//! The second wall: where PostgreSQL's row-level security binds the service's role, a statement that forgets whose rows it is about is
//! refused, by the database. That the service itself is never refused is for the tests that run `on_walled_postgres`.

use std::ops::RangeInclusive;

use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement, TransactionTrait};
use userdata::{
    domain::{
        catalogue::{TABLES, Table, personal_tables},
        timestamp::Clock,
    },
    grpc::proto::{DeleteUserMessagesRequest, ExportUserDataRequest, ScopedDeleteRequest},
    repository::{Error, Repository, RowSecurity},
};

use crate::{
    isolation::everything,
    population::settle,
    program::Program,
    world::{ACME, Client, OTHER, World, make_postgres_database, make_role},
};

const REFUSED: &str = "a statement has reached a row that is not of the subject it is for";

/// What the service sets before its statements.
#[derive(Clone, Copy, Debug)]
enum Settings {
    None,
    Of(&'static str, &'static str, &'static str),
}

const ANNA: Settings = Settings::Of("subject", ACME, "anna");

/// Runs a statement as the service's role; gives the number it finds, or what the database says.
async fn run(service: &DatabaseConnection, settings: Settings, sql: &str) -> Result<i64, String> {
    let transaction = service.begin().await.unwrap();
    if let Settings::Of(reach, application, user_token) = settings {
        let set = |name, value| format!("set_config('userdata.{name}', '{value}', true)");
        let all = [set("reach", reach), set("application_id", application), set("user_token", user_token)].join(", ");
        transaction.execute_unprepared(&format!("SELECT {all}")).await.unwrap();
    }
    let found = transaction.query_one_raw(Statement::from_string(DbBackend::Postgres, sql)).await;
    let found = match found {
        Ok(row) => Ok(row.map_or(0, |row| row.try_get_by_index(0).unwrap())),
        Err(error) => Err(error.to_string()),
    };
    transaction.rollback().await.unwrap();
    found
}

async fn assert_refused(service: &DatabaseConnection, settings: Settings, sql: &str) {
    let refusal = run(service, settings, sql).await.expect_err(&format!("{settings:?}: {sql}"));
    assert!(refusal.contains(REFUSED), "{settings:?}: {sql}: {refusal}");
}

/// Statements about a table that forget whose rows they are about.
fn forgetful(table: &Table) -> Vec<String> {
    let (name, first) = (table.name, table.columns[0].name);
    let mut statements = vec![format!("SELECT count(*) FROM {name}"), format!("UPDATE {name} SET {first} = {first}")];
    statements.extend((!table.removed_by.is_empty()).then(|| format!("DELETE FROM {name}")));
    statements
}

/// Users of two applications with rows in every table, and a connection as the service's role.
async fn populated() -> (World, DatabaseConnection) {
    let world = World::start_walled().await;
    for (application, user_token) in [(ACME, "anna"), (ACME, "boris"), (OTHER, "anna")] {
        settle(&mut world.client_of(application).await, user_token).await;
    }
    for application in [ACME, OTHER] {
        world.execute(&format!("INSERT INTO accepted_requests VALUES ('{application}', 'r', '', '', true, 0)")).await;
    }
    let service = Database::connect(world.service_url.as_deref().unwrap()).await.unwrap();
    (world, service)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_forgets_its_filter_is_refused() {
    let (world, service) = populated().await;
    let before = world.all_rows().await;
    let walled: Vec<&Table> = TABLES.iter().filter(|table| !["api_keys", "seaql_migrations"].contains(&table.name)).collect();
    assert_eq!(walled.len(), personal_tables().count() + 2);
    for table in walled {
        for statement in forgetful(table) {
            for settings in [
                Settings::None,
                ANNA,
                Settings::Of("subject", ACME, "nobody"),
                Settings::Of("subject", ACME, ""),
                Settings::Of("subject", "", ""),
                Settings::Of("", ACME, "anna"),
            ] {
                assert_refused(&service, settings, &statement).await;
            }
        }
        if table.removed_by.is_empty() {
            let refusal = run(&service, ANNA, &format!("DELETE FROM {}", table.name)).await.unwrap_err();
            assert!(refusal.contains("permission denied"), "{refusal}");
        }
    }
    assert_eq!(world.all_rows().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_subject_are_reached_for_that_subject_alone() {
    let (world, service) = populated().await;
    let [anna, boris, other] =
        [world.subject_id(ACME, "anna").await, world.subject_id(ACME, "boris").await, world.subject_id(OTHER, "anna").await];
    for table in personal_tables().map(|table| table.name) {
        let held = world.rows_of(anna).await[table].len() as i64;
        assert!(held > 0, "{table}");
        let count = |subject: i64| format!("SELECT count(*) FROM {table} WHERE subject_id = {subject}");
        assert_eq!(run(&service, ANNA, &count(anna)).await, Ok(held), "{table}");
        let (to_boris, from_boris) = (
            format!("UPDATE {table} SET subject_id = {boris} WHERE subject_id = {anna}"),
            format!("UPDATE {table} SET subject_id = {anna} WHERE subject_id = {boris}"),
        );
        for statement in [count(boris), count(other), to_boris, from_boris] {
            assert_refused(&service, ANNA, &statement).await;
        }
        // Nor for those who look at all of an application, or at the removals of all.
        for settings in [Settings::Of("application", ACME, ""), Settings::Of("removals", "", "")] {
            assert_refused(&service, settings, &count(anna)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_look_for_removals_see_those_alone_and_change_nothing() {
    let (world, service) = populated().await;
    let anna = world.subject_id(ACME, "anna").await;
    world.execute(&format!("UPDATE uploads SET removal_since = 1, removal_next_at = 9000000000000000000 WHERE subject_id = {anna}")).await;
    let held = world.rows_of(anna).await["uploads"].len() as i64;
    let waiting = "SELECT count(*) FROM uploads WHERE removal_next_at IS NOT NULL";
    let of_acme = "SELECT count(*) FROM subjects WHERE application_id = 'ACME'";
    let (of_application, of_all) = (Settings::Of("application", ACME, ""), Settings::Of("removals", "", ""));
    for settings in [of_application, of_all] {
        assert_eq!(run(&service, settings, waiting).await, Ok(held));
        assert_eq!(run(&service, settings, of_acme).await, Ok(2));
        let changes = [
            "UPDATE uploads SET status = '' WHERE removal_next_at IS NOT NULL",
            "UPDATE subjects SET epoch = 0 WHERE application_id = 'ACME'",
            "INSERT INTO subjects (application_id, user_token, epoch, created_at) VALUES ('ACME', 'new', 0, 0)",
        ];
        for statement in ["SELECT count(*) FROM uploads"].into_iter().chain(changes) {
            assert_refused(&service, settings, statement).await;
        }
    }
    assert_eq!(run(&service, of_all, "SELECT count(*) FROM subjects").await, Ok(3));
    assert_refused(&service, of_application, "SELECT count(*) FROM subjects").await;
    assert_refused(&service, ANNA, of_acme).await;
}

/// What others hold besides: a user of another application, so many times, all of whose files wait for their removal.
async fn add_others(world: &World, copies: RangeInclusive<i32>) {
    let base = world.subject_id(OTHER, "base").await;
    let copies = format!("generate_series({}, {}) AS copy", copies.start(), copies.end());
    for table in personal_tables() {
        let (name, columns): (_, Vec<&str>) = (table.name, table.columns.iter().map(|column| column.name).collect());
        let (all, first, others) = (columns.join(", "), columns[0], columns[1..].join(", "));
        let copied = format!("SELECT {first} + 1000000 * copy, {others} FROM {name}, {copies} WHERE {first} = {base}");
        world.execute(&format!("INSERT INTO {name} ({all}) {copied}")).await;
    }
    let copied = format!("SELECT {base} + 1000000 * copy, '{OTHER}', 'copy ' || copy, 0, 0 FROM {copies}");
    world.execute(&format!("INSERT INTO subjects (id, application_id, user_token, epoch, created_at) {copied}")).await;
    let wait = "UPDATE uploads SET removal_since = 1, removal_attempts = 0, removal_next_at = 9000000000000000000";
    world.execute(&format!("{wait} WHERE deleted_at IS NULL AND subject_id % 1000000 = {base}")).await;
}

/// A plan that began with rows of others would be refused. Which plan is made depends on what PostgreSQL knows of the tables.
#[tokio::test(flavor = "multi_thread")]
async fn no_call_is_refused_however_much_others_hold() {
    let world = World::start_walled().await;
    settle(&mut world.client_of(OTHER).await, "base").await;
    for table in personal_tables().map(|table| table.name) {
        world.execute(&format!("DELETE FROM {table} WHERE ctid <> (SELECT min(ctid) FROM {table})")).await;
    }
    let mut client = world.client().await;
    let (mut held, mut round) = (0, 0);
    for copies in [0, 1, 2, 10, 30, 100, 1_000] {
        if copies > held {
            add_others(&world, held + 1..=copies).await;
            held = copies;
        }
        for analyse in [false, true] {
            if analyse {
                world.execute("ANALYZE").await;
            }
            round += 1;
            every_call(&mut client, round).await;
        }
    }
}

/// Everything there is to do with a user, from its first import on.
pub(crate) async fn every_call(client: &mut Client, round: u32) {
    let user_token = &format!("anna {round}");
    let uuid = |nth| format!("6f1c9b52-8a2c-4b17-9d4e-{:012}", 2 * round + nth);
    settle(client, user_token).await;
    let everything = everything(user_token);
    let messages = DeleteUserMessagesRequest { user_token: user_token.to_owned(), scrub_residue: true, ..Default::default() };
    client.users.scoped_delete(ScopedDeleteRequest { validate_only: true, ..everything.clone() }).await.unwrap();
    client.users.delete_user_messages(DeleteUserMessagesRequest { validate_only: true, ..messages.clone() }).await.unwrap();
    assert_eq!(client.epoch(user_token).await, 0);
    for include_deleted in [false, true] {
        let user_token = user_token.to_owned();
        let request = ExportUserDataRequest { user_token, include_deleted, include_upload_content: true, ..Default::default() };
        client.export_responses(request).await.unwrap();
    }
    client.users.delete_user_messages(DeleteUserMessagesRequest { request_id: uuid(0), ..messages }).await.unwrap();
    let everything = ScopedDeleteRequest { request_id: uuid(1), ..everything };
    let erased = client.users.scoped_delete(everything.clone()).await.unwrap().into_inner();
    assert_eq!(client.users.scoped_delete(everything).await.unwrap().into_inner(), erased);
    assert_eq!((client.pending(user_token).await, client.pending("").await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_turns_it_on_and_the_service_says_whether_it_is_bound() {
    let (owner_url, _, name) = make_postgres_database().await;
    let folder = tempfile::tempdir().unwrap();
    let migrate = async |more: &[&str]| {
        let mut program = Program::start(folder.path(), &[&["migrate", "--database-url", &owner_url], more].concat());
        (program.ended().await.0, program.stderr())
    };
    let serve = async |url: &str| {
        let mut program = Program::serve(folder.path(), url, &[]);
        program.address().await;
        program.signal("TERM");
        program.ended().await;
        program.log()
    };
    let is_bound = |log: &[serde_json::Value]| log.iter().find(|line| line["message"] == "listening").unwrap()["row_security"] == true;
    let warned = |log: &[serde_json::Value]| {
        log.iter().any(|line| line["level"] == "WARN" && line["message"].as_str().unwrap().contains("row-level"))
    };

    let (code, said) = migrate(&["--service-role", &name]).await;
    assert!(code == Some(1) && said.contains("there is no such role"), "{said}");
    let log = serve(&owner_url).await;
    assert!(!is_bound(&log) && !warned(&log));
    let owner = Database::connect(&owner_url).await.unwrap();
    owner.execute_unprepared(&format!("CREATE ROLE {name}_owner; ALTER TABLE subjects OWNER TO {name}_owner")).await.unwrap();
    let service_url = make_role(&owner_url, &name).await;
    owner.execute_unprepared(&format!("GRANT {name}_owner TO {name}")).await.unwrap();
    for role in [&name, "userdata"] {
        let (code, said) = migrate(&["--service-role", role]).await;
        assert!(code == Some(1) && said.contains("would not bind it"), "{said}");
    }
    owner.execute_unprepared(&format!("ALTER TABLE subjects OWNER TO userdata; DROP ROLE {name}_owner")).await.unwrap();

    for _ in 0..2 {
        let (code, said) = migrate(&["--service-role", &name]).await;
        assert!(code == Some(0) && said.contains(&format!("row-level security binds {name}")), "{said}");
    }
    let log = serve(&service_url).await;
    assert!(is_bound(&log) && !warned(&log));
    let log = serve(&owner_url).await;
    assert!(!is_bound(&log) && warned(&log));

    // As after an upgrade that brings a table which nobody has walled off.
    owner.execute_unprepared("ALTER TABLE sessions DISABLE ROW LEVEL SECURITY").await.unwrap();
    let opened = async |url: &str| Repository::open(&url.parse().unwrap(), 1, Clock::default()).await.map(|opened| opened.row_security());
    assert!(matches!(opened(&service_url).await, Err(Error::HalfWalled)));
    assert!(matches!(opened(&owner_url).await, Ok(RowSecurity::Unbound)));
    assert_eq!(migrate(&["--service-role", &name]).await.0, Some(0));
    assert!(matches!(opened(&service_url).await, Ok(RowSecurity::Binding)));

    // The role does what the service needs, and nothing else.
    let service = Database::connect(&service_url).await.unwrap();
    for statement in
        ["CREATE TABLE t (i int)", "INSERT INTO api_keys VALUES ('', '', '', '', 0)", "DELETE FROM seaql_migrations", "DROP TABLE sessions"]
    {
        let refusal = service.execute_unprepared(statement).await.unwrap_err().to_string();
        assert!(refusal.contains("permission denied") || refusal.contains("must be owner"), "{statement}: {refusal}");
    }
    service.close().await.unwrap();
    owner.execute_unprepared(&format!("DROP OWNED BY {name}; DROP ROLE {name}")).await.unwrap();
    owner.close().await.unwrap();
}

#[tokio::test]
async fn sqlite_has_no_such_wall() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("userdata.db").display());
    let repository = Repository::open(&url.parse().unwrap(), 1, Clock::default()).await.unwrap();
    repository.require_schema(true).await.unwrap();
    assert!(matches!(repository.wall_off("userdata").await, Err(Error::NoServiceRole(_))));
    assert_eq!(repository.row_security(), RowSecurity::Absent);
}
