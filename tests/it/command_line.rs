//! The command line as its users meet it: the real program, its exit codes, and what it prints where.

use std::{
    path::Path,
    process::{Command, Output},
};

fn userdata(folder: &Path, environment: &[(&str, &str)], arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_userdata"));
    command.current_dir(folder).args(arguments.split_whitespace()).env_clear().envs(environment.iter().copied());
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn done(output: &Output) -> &str {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn a_key_is_shown_once_listed_without_its_secret_and_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &str| userdata(folder.path(), &[], arguments);
    let created = run("keys create --application DEMO --permissions logs,import --expires 90d");
    let key = done(&created).strip_suffix('\n').unwrap();
    let (id, secret) = key.strip_prefix("udk_").unwrap().split_once('_').unwrap();
    assert_eq!((id.len(), secret.len()), (16, 64));
    assert!(text(&created.stderr).contains(id) && !text(&created.stderr).contains(secret));
    done(&run("keys create --application OTHER --permissions admin"));

    let list = run("keys list --application DEMO --list-format json");
    let keys: serde_json::Value = serde_json::from_str(done(&list)).unwrap();
    assert_eq!(keys.as_array().unwrap().len(), 1);
    assert_eq!(keys[0]["id"], id);
    assert_eq!(keys[0]["permissions"], serde_json::json!(["export", "delete-messages", "import"]));
    assert!(keys[0]["expires"].is_string() && keys[0]["revoked"].is_null());

    done(&run(&format!("keys revoke {id}")));
    let list = run("keys list");
    let row = done(&list).lines().find(|line| line.starts_with(id)).unwrap();
    assert!(!row.ends_with('-'), "{row}");
    assert_eq!(done(&list).lines().count(), 3);
    assert!(!done(&list).contains(secret));
}

#[test]
fn a_command_that_fails_says_why_in_one_line_and_exits_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let commands = [
        "keys revoke 0123456789abcdef",
        "keys revoke udk_0123456789abcdef_hunter2",
        "keys create --application DEMO --permissions export --expires yesterday",
        "keys create --application DEMO --permissions ,",
        "keys create --application GRÖSSE --permissions export",
        "keys list --database-url mysql://anna:hunter2@db/x",
        "health --server http://127.0.0.1:1",
    ];
    for command in commands {
        let output = userdata(folder.path(), &[], command);
        assert_eq!(output.status.code(), Some(1), "{command}");
        let error = text(&output.stderr);
        assert!(error.starts_with("error: ") && error.lines().count() == 1 && !error.contains("hunter2"), "{command}: {error}");
        assert!(output.stdout.is_empty(), "{command}");
    }
    assert_eq!(userdata(folder.path(), &[], "keys create --application DEMO").status.code(), Some(2));
    assert_eq!(userdata(folder.path(), &[], "--help").status.code(), Some(0));
}

#[test]
fn a_command_that_only_looks_makes_no_file() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["keys list", "keys revoke 0123456789abcdef"] {
        let output = userdata(folder.path(), &[], &format!("{command} --database-url sqlite://mistyped/userdata.db"));
        assert_eq!(output.status.code(), Some(1), "{command}");
        assert!(text(&output.stderr).contains("mistyped/userdata.db") && output.stdout.is_empty(), "{command}: {}", text(&output.stderr));
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_migration_says_what_it_did() {
    let folder = tempfile::tempdir().unwrap();
    let migrate = || userdata(folder.path(), &[], "migrate --database-url sqlite://new.db");
    for says in ["2 migrations", "up to date already"] {
        let output = migrate();
        done(&output);
        let said = text(&output.stderr);
        assert!(said.contains("new.db") && said.contains(says) && said.lines().count() == 1, "{said}");
    }
}

#[test]
fn a_flag_wins_over_the_environment_and_the_environment_over_the_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("settings.toml"), "database_url = \"sqlite://from-file.db\"\n").unwrap();
    let made = |name: &str| folder.path().join(name).exists();
    let file = ("USERDATA_CONFIG", "settings.toml");
    let environment = ("USERDATA_DATABASE_URL", "sqlite://from-environment.db");

    done(&userdata(folder.path(), &[file, environment], "migrate --database-url sqlite://from-flag.db"));
    assert!(made("from-flag.db") && !made("from-environment.db") && !made("from-file.db"));
    done(&userdata(folder.path(), &[file, environment], "migrate"));
    assert!(made("from-environment.db") && !made("from-file.db"));
    done(&userdata(folder.path(), &[file], "migrate"));
    assert!(made("from-file.db") && !made("userdata-data"));
    done(&userdata(folder.path(), &[], "migrate"));
    assert!(made("userdata-data/userdata.db"));
}

#[test]
fn no_help_shows_a_value_of_the_environment_or_the_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("settings.toml"), "database_url = \"postgres://anna:hunter2@db/x\"\n").unwrap();
    for environment in [("USERDATA_CONFIG", "settings.toml"), ("USERDATA_DATABASE_URL", "postgres://anna:hunter2@db/x")] {
        let help = userdata(folder.path(), &[environment], "keys list --help");
        assert!(done(&help).contains("USERDATA_DATABASE_URL") && !done(&help).contains("hunter2"), "{}", done(&help));
    }
}

#[test]
fn a_bad_value_of_the_environment_is_traced_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let output = userdata(folder.path(), &[("USERDATA_LIST_FORMAT", "yaml")], "keys list");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("USERDATA_LIST_FORMAT"), "{}", text(&output.stderr));
}
