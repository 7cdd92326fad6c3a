//! The client commands against a running server, as people and scripts meet them.

use std::{
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;
use userdata::domain::{
    api_key::ApiKeyId,
    principal::{Permission, Permissions},
    timestamp::Timestamp,
};

use crate::{
    on_both_engines,
    program::Program,
    world::{ACME, World, eventually},
};

on_both_engines!(
    what_is_generated_is_imported_and_exported_again,
    an_import_that_breaks_off_says_where_it_can_go_on,
    erasing_asks_first_and_tells_what_it_did,
);

/// The program with a world's server and key in its environment.
struct Commands {
    environment: Vec<(&'static str, String)>,
    folder: std::path::PathBuf,
}

impl Commands {
    fn of(world: &World) -> Self {
        let environment = vec![
            ("USERDATA_SERVER", format!("http://{}", world.address)),
            ("USERDATA_APPLICATION", ACME.to_owned()),
            ("USERDATA_API_KEY", world.key(ACME).to_owned()),
        ];
        Self { environment, folder: world.folder() }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(arguments, b"")
    }

    fn begin(&self, arguments: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_userdata"));
        command.current_dir(&self.folder).args(arguments).env_clear().envs(self.environment.iter().cloned());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn run_with(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut child = self.begin(arguments);
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // A program that does not read its input closes it.
        let feeding = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        feeding.join().unwrap();
        output
    }

    fn done(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout).to_owned()
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

/// The names of the files in a folder that begin so.
fn files_of(folder: &Path, prefix: &str) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(prefix)).collect()
}

/// A document as an export gives it: its records by creation time, then id.
pub(crate) fn in_the_fixed_order(mut document: Value) -> Value {
    for records in document.as_object_mut().unwrap().values_mut().filter_map(Value::as_array_mut) {
        let id = |record: &Value| record.get("id").or(record.get("objectID")).map(Value::to_string);
        // Times are numbers in memories and texts elsewhere.
        let time = |record: &Value| (record["createdAt"].as_f64().unwrap_or_default(), record["createdAt"].as_str().map(str::to_owned));
        records.sort_by(|one, other| time(one).partial_cmp(&time(other)).unwrap().then_with(|| id(one).cmp(&id(other))));
    }
    document
}

async fn what_is_generated_is_imported_and_exported_again(world: World) {
    let commands = Commands::of(&world);
    let generated = commands.done(&["generate", "--users", "6", "--seed", "7", "--messages", "15"]);
    assert_eq!(generated, commands.done(&["generate", "--users", "6", "--seed", "7", "--messages", "15"]));
    assert_ne!(generated, commands.done(&["generate", "--users", "6", "--seed", "8", "--messages", "15"]));
    commands.done(&["generate", "--users", "6", "--seed", "7", "--messages", "15", "--output", "users.jsonl"]);
    assert_eq!(std::fs::read_to_string(world.folder().join("users.jsonl")).unwrap(), generated);

    let from_file = commands.run(&["import", "users.jsonl"]);
    let rows = (world.all_rows().await, world.all_objects());
    let from_pipe = commands.run_with(&["import", "-"], generated.as_bytes());
    for imported in [from_file, from_pipe] {
        assert!(imported.status.success(), "{}", text(&imported.stderr));
        assert!(text(&imported.stdout).contains("users: 6\n") && text(&imported.stdout).contains("messages: 90\n"));
        assert!(text(&imported.stdout).ends_with("rejected: 0\n"));
        assert!(imported.stderr.is_empty(), "a bar in a pipe: {}", text(&imported.stderr));
    }
    assert!((world.all_rows().await, world.all_objects()) == rows, "the second import changed something");

    for line in generated.lines() {
        let expected = in_the_fixed_order(json(line));
        let user = expected["userToken"].as_str().unwrap();
        let exported = commands.run(&["export", user, "--with-content"]);
        assert!(exported.status.success(), "{}", text(&exported.stderr));
        assert!(json(text(&exported.stdout)) == expected, "another document came out than went in");
        let said = text(&exported.stderr);
        assert!(said.lines().count() == 2 && said.contains("15 messages") && said.contains("sha256") && !said.contains(user), "{said}");
        assert!(json(&commands.done(&["export", user, "--with-content", "--pretty"])) == expected);

        let lines = commands.done(&["export", user, "--format", "jsonl"]);
        assert_eq!(lines.lines().filter(|line| json(line)["message"].is_object()).count(), 15);
        assert_eq!(lines.lines().count() as i64, said.split([' ', ',']).filter_map(|word| word.parse::<i64>().ok()).take(8).sum::<i64>());
        let messages = json(&commands.done(&["export", user, "--category", "memories"]));
        assert_eq!((&messages["memories"], messages["conversations"].as_array().unwrap().len()), (&expected["memories"], 0));
    }
    commands.done(&["export", "nobody", "--output", "nobody.json"]);
    assert_eq!(files_of(&world.folder(), "nobody"), ["nobody.json"]);
    let mode = std::fs::metadata(world.folder().join("nobody.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "others may read an export");
    let nobody = json(&std::fs::read_to_string(world.folder().join("nobody.json")).unwrap());
    assert_eq!(nobody, serde_json::json!({"userToken": "nobody", "conversations": [], "memories": []}));

    // What is wrong with a file is told by line and member; the rest is imported.
    let mut damaged = json(generated.lines().next().unwrap());
    damaged["userToken"] = "damaged".into();
    damaged["conversations"][0]["messages"][0]["role"] = "hunter2".into();
    // The mark at the beginning is what some editors put there.
    let lines = format!("\u{feff}{}\n\nnot json hunter2\n{damaged}\n", generated.lines().next().unwrap());
    let output = commands.run_with(&["import", "-"], lines.as_bytes());
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("line 3: ") && said.contains("line 4: ") && said.contains("conversations[0].messages[0].role"), "{said}");
    assert!(!said.contains("hunter2") && text(&output.stdout).contains("users: 1\n"), "{said}");
}

async fn an_import_that_breaks_off_says_where_it_can_go_on(world: World) {
    let key = world.insert_key(ACME, Permissions::from_iter([Permission::Import])).await;
    let mut commands = Commands::of(&world);
    commands.environment.push(("USERDATA_API_KEY", key.clone()));
    let session = |user: usize, at: &str| {
        let empty = r#""conversations":[],"memories":[]"#;
        format!(r#"{{"userToken":"u{user}",{empty},"sessions":[{{"id":"s","createdAt":"{at}"}}]}}"#) + "\n"
    };
    let whole: String = (1..=250).map(|user| session(user, if user == 240 { "never" } else { "2026-01-01T00:00:00Z" })).collect();
    let lines = |count: usize| whole.match_indices('\n').nth(count - 1).unwrap().0 + 1;

    eventually("the key is good", async || commands.run(&["import", "-"]).status.success()).await;
    let mut import = commands.begin(&["import", "-", "--call-duration", "0s"]);
    let mut input = import.stdin.take().unwrap();
    input.write_all(&whole.as_bytes()[..lines(100)]).unwrap();
    eventually("what was sent is imported", async || world.query("SELECT id FROM sessions").await.len() == 100).await;
    let id = ApiKeyId::parse(key.split('_').nth(1).unwrap()).unwrap();
    assert!(world.repository().revoke_api_key(&id, Timestamp(1)).await.unwrap());
    eventually("the key is good no more", async || !commands.run(&["import", "-"]).status.success()).await;
    drop((input.write_all(&whole.as_bytes()[lines(100)..]), input));
    let output = import.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("sessions: 100\n"), "{}", text(&output.stdout));
    assert!(said.contains("after line 100,") && said.contains("from 101 on"), "{said}");

    commands.environment.pop();
    let output = commands.run_with(&["import", "-"], &whole.as_bytes()[lines(100)..]);
    assert!(text(&output.stderr).contains("line 140: "), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).lines().filter(|line| ["users: 149", "sessions: 149"].contains(line)).count(), 2);
    assert_eq!(world.query("SELECT id FROM sessions").await.len(), 249);
}

async fn erasing_asks_first_and_tells_what_it_did(world: World) {
    let commands = Commands::of(&world);
    let generated = commands.done(&["generate", "--users", "1", "--messages", "15"]);
    let user = json(&generated)["userToken"].as_str().unwrap().to_owned();
    assert!(commands.run_with(&["import", "-"], generated.as_bytes()).status.success());
    let before = world.all_rows().await;

    let wrong_key = format!("{}{}", &world.key(ACME)[..21], "0".repeat(64));
    let failing: [(&[&str], i32, &str); 10] = [
        (&["delete-messages", &user], 1, "--yes"),
        (&["scoped-delete", &user, "--dialogues"], 1, "--yes"),
        (&["scoped-delete", &user, "--yes"], 1, "--dialogues"),
        (&["scoped-delete", &user, "--everything", "--yes"], 2, "--everything"),
        (&["delete-messages", &user, "--yes", "--api-key", &wrong_key], 1, "credential"),
        (&["delete-messages", &user, "--yes", "--api-key", "udk\n"], 1, "credential"),
        (&["delete-messages", &user, "--yes", "--server", "http://127.0.0.1:1"], 1, "http://127.0.0.1:1"),
        (&["delete-messages", &user, "--yes", "--server", "nowhere"], 1, "http://host:port"),
        (&["delete-messages", "", "--yes"], 1, "user_token"),
        (&["import", "nowhere.jsonl"], 1, "nowhere.jsonl"),
    ];
    for (arguments, code, says) in failing {
        // A `y` in a pipe is no answer of a person.
        let output = commands.run_with(arguments, b"y\n");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.starts_with("error: ") && said.contains(says), "{arguments:?}: {said}");
        assert!(code == 2 || said.lines().count() == 1, "{arguments:?}: {said}");
        assert!(!said.contains(&user) && !said.contains(&wrong_key[21..]) && output.stdout.is_empty(), "{arguments:?}: {said}");
    }
    assert!(world.all_rows().await == before, "a command that failed changed something");

    let preview = commands.done(&["delete-messages", &user, "--preview"]);
    assert!(preview.starts_with("messages_deleted: 15\n") && world.all_rows().await == before, "{preview}");
    let plan = preview.lines().find_map(|line| line.strip_prefix("plan_digest: ")).unwrap();
    let other = commands.run(&["delete-messages", &user, "--scrub-residue", "--plan", plan, "--yes"]);
    assert!(!other.status.success() && text(&other.stderr).contains("preview") && world.all_rows().await == before);
    let once = ["delete-messages", &user, "--plan", plan, "--request-id", "6f1c9b52-8a2c-4b17-9d4e-3a5c7e8f9012", "--yes"];
    let told = commands.done(&once);
    assert!(told.starts_with("messages_deleted: 15\n") && told.contains("residue: titles="), "{told}");
    assert!(told.contains("remaining: messages=0 compaction_cache=0\n") && !preview.contains("remaining"), "{told}");
    assert_eq!(commands.done(&once), told);
    let plan = commands.done(&["scoped-delete", &user, "--vault", "--preview"]);
    assert!(plan.lines().any(|line| line.strip_prefix("plan_digest: ").is_some_and(|digest| digest.len() == 64)), "{plan}");
    let told = commands.done(&["scoped-delete", &user, "--memory", "--sessions", "--yes"]);
    assert!(told.contains("dialogues_forgotten: 0\n") && !told.contains("memory_deleted: 0\n"), "{told}");
    assert!(told.contains("remaining: dialogues=0 uploads=0 objects=0 embeddings=0 memories=0"), "{told}");
    let told = commands.done(&["scoped-delete", &user, "--all", "--yes"]);
    assert!(told.contains("memory_deleted: 0\n") && !told.contains("dialogues_forgotten: 0\n"), "{told}");
    assert!(commands.done(&["delete-messages", &user, "--yes"]).starts_with("messages_deleted: 0\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_is_interrupted_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    // A server that never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", silent.local_addr().unwrap());
    let credential = ["--application", ACME, "--api-key", "udk_0123456789abcdef_0123"];
    let export = ["export", "anna", "--output", "anna.json", "--server", &server];
    let mut program = Program::start(folder.path(), &[&export[..], &credential].concat());
    eventually("the export has begun", async || files_of(folder.path(), "anna").len() == 1).await;
    let name = files_of(folder.path(), "anna").remove(0);
    assert!(name.starts_with("anna.json.") && name.ends_with(".unfinished"), "{name}");
    program.signal("TERM");
    assert_eq!(program.ended().await.0, Some(1));
    assert!(program.stderr().contains("interrupted"), "{}", program.stderr());
    assert!(files_of(folder.path(), "").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_prints_calls_that_work_and_ends_with_ctrl_c() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Program::start(folder.path(), &["demo", "--listen", "127.0.0.1:0"]);
    eventually("the demo explains itself", async || demo.stdout().contains("Ctrl-C")).await;
    let said = demo.stdout();
    // The calls to paste, with the program for `cargo run`.
    let export = said.lines().find(|line| line.trim().starts_with("export USERDATA_SERVER")).unwrap();
    let program = env!("CARGO_BIN_EXE_userdata");
    let commands: Vec<String> = said
        .lines()
        .filter_map(|line| line.trim().strip_prefix("cargo run --release -- "))
        .map(|arguments| format!("{export}\n'{program}' {arguments}"))
        .collect();
    assert_eq!(commands.len(), 3);
    for command in &commands {
        let output = Command::new("sh").current_dir(folder.path()).args(["-c", command]).output().unwrap();
        assert!(output.status.success(), "{command}: {}", text(&output.stderr));
        assert!(output.stdout.len() > 60, "{command}: {}", text(&output.stdout));
        assert!(!text(&output.stdout).contains("dialogues_forgotten: 0"), "{command}: {}", text(&output.stdout));
    }
    let example = commands[0].split(" export ").last().unwrap();
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    assert!(readme.contains(&format!("export {example}")), "the README has another user than {example}");
    for tool in ["grpcurl -plaintext", "buf curl"] {
        assert!(said.contains(tool), "{said}");
    }
    demo.signal("INT");
    let (code, took) = demo.ended().await;
    assert_eq!(code, Some(0), "{}", demo.stderr());
    assert!(took.as_secs() < 5, "{took:?}");

    // A second demo in the same folder goes on with what is there, with a new key.
    let mut again = Program::start(folder.path(), &["demo", "--listen", "127.0.0.1:0"]);
    eventually("the demo explains itself", async || again.stdout().contains("Ctrl-C")).await;
    assert!(!again.stdout().contains(said.split("USERDATA_API_KEY=").nth(1).unwrap().split_whitespace().next().unwrap()));
    again.signal("TERM");
    assert_eq!(again.ended().await.0, Some(0));
}
