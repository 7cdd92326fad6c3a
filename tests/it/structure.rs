//! The rules of DESIGN's shape that no type can hold, held by reading the sources: who knows whom, what files are called, how long they
//! are, and what is never committed.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// External crates, by what they are for.
const WIRE: [&str; 10] =
    ["hyper", "hyper_util", "tonic", "tonic_health", "tonic_prost", "tonic_reflection", "tonic_types", "prost", "prost_types", "tower"];
const DATABASE: [&str; 3] = ["sea_orm", "migrations", "sqlx"];
const OBJECTS: [&str; 1] = ["object_store"];
const RUNTIME: [&str; 7] = ["tokio", "tokio_stream", "tokio_util", "futures", "serde", "serde_json", "async"];

/// A part of the program, the external crates it may not know, and the other parts that it may.
struct Layer {
    name: &'static str,
    unknown: &'static [&'static [&'static str]],
    knows: &'static [&'static str],
}

const LAYERS: [Layer; 9] = [
    Layer { name: "domain", unknown: &[&WIRE, &DATABASE, &OBJECTS, &RUNTIME], knows: &[] },
    Layer { name: "repository", unknown: &[&WIRE, &OBJECTS], knows: &["domain"] },
    Layer { name: "vault", unknown: &[&WIRE, &DATABASE], knows: &["domain"] },
    Layer { name: "operations", unknown: &[&WIRE, &DATABASE, &OBJECTS], knows: &["domain", "repository", "vault"] },
    // It names the operations it calls, the settings of its credentials, and the log of its calls.
    Layer { name: "grpc", unknown: &[&DATABASE, &OBJECTS], knows: &["domain", "operations", "config", "telemetry"] },
    // Where a store is, is a setting: the stores say what such a setting looks like.
    Layer { name: "config", unknown: &[&WIRE, &DATABASE, &OBJECTS], knows: &["domain", "repository", "vault"] },
    // A layer around the transport, which logs the calls.
    Layer { name: "telemetry", unknown: &[&DATABASE, &OBJECTS], knows: &["domain", "config"] },
    // The composition root: it serves what grpc makes, and builds the stores.
    Layer {
        name: "server",
        unknown: &[&DATABASE, &OBJECTS],
        knows: &["domain", "operations", "grpc", "repository", "vault", "config", "telemetry"],
    },
    // A composition root too; and a client of the contract, whose types it therefore speaks.
    Layer {
        name: "cli",
        unknown: &[&DATABASE, &OBJECTS],
        knows: &["domain", "operations", "grpc", "repository", "vault", "config", "telemetry", "server"],
    },
];

/// Of grpc, what others may name. The generated types are for cli alone: it is a client.
const GRPC_FOR_SERVER: [&str; 11] =
    ["Services", "admission", "arrival", "auth", "caught", "deadline", "methods", "pace", "status", "proto::server", "proto::DESCRIPTORS"];
const GRPC_FOR_CLI: [&str; 3] = ["client", "document", "proto"];

/// Parts through whose hands content goes: nothing there is shown by its `Debug`, which a derive may have written.
const SILENT: [&str; 7] = ["domain", "repository", "vault", "operations", "grpc", "server", "telemetry"];
/// Files there that show settings.
const TELLING: [&str; 2] = ["src/grpc/auth/verifying_keys.rs", "src/domain/principal.rs"];

/// What builds a store or a server.
const BUILDERS: [&str; 3] = ["Repository::open", "Vault::open", "Server::build"];

/// Longer than this only with a reason.
const MAX_LINES: usize = 400;
const LONGER: [(&str, &str); 1] = [("src/grpc/auth/tests/jwt_attacks.rs", "a table")];

#[test]
fn the_sources_keep_the_rules() {
    let mut wrong = Vec::new();
    let mut read = 0;
    for file in files(&["src", "tests", "migrations/src", "build.rs"], "rs") {
        read += 1;
        wrong.extend(check(&name_of(&file), &fs::read_to_string(&file).unwrap()));
    }
    assert!(read > 100, "the sources were not found");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn nothing_committed_names_this_machine_or_a_registry() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut wrong = Vec::new();
    let mut read = 0;
    let folders = ["src", "tests", "migrations", "proto", "docs", "scripts", "supply-chain", ".ci", ".cargo", "build.rs"];
    let in_root = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| {
        // Cargo writes where its crates come from into its lock file.
        path.is_file() && path.file_name().is_some_and(|name| name != "Cargo.lock" && name != ".git")
    });
    for file in files(&folders, "").into_iter().chain(in_root) {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        read += 1;
        wrong.extend(places(&name_of(&file), &text));
    }
    assert!(read > 100, "the files were not found");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// All files with this ending in these folders, which may be files themselves.
fn files(within: &[&str], ending: &str) -> Vec<PathBuf> {
    let mut ahead: Vec<PathBuf> = within.iter().map(|name| Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).collect();
    let mut found = Vec::new();
    while let Some(path) = ahead.pop() {
        if path.is_dir() && !path.ends_with("node_modules") && !path.ends_with("target") {
            ahead.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.is_file() && path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found
}

fn name_of(file: &Path) -> String {
    file.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().to_string_lossy().into_owned()
}

/// What is wrong with a source file.
fn check(file: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut complain = |what: String| wrong.push(format!("{file}: {what}"));
    for part in file.trim_end_matches(".rs").split('/') {
        if ["utils", "util", "helpers", "helper", "common", "manager"].contains(&part) {
            complain(format!("is called {part}; name it after what it holds"));
        }
    }
    let lines = text.lines().count();
    if lines > MAX_LINES && !LONGER.iter().any(|(longer, _)| *longer == file) && file.starts_with("src/") {
        complain(format!("has {lines} lines; split it by what it holds"));
    }
    let code = without_comments_and_texts(text);
    if code.split_whitespace().collect::<String>().contains(concat!("[", "allow(")) {
        complain("allows a lint; mend it, or expect it with a reason".to_owned());
    }
    let Some(module) = file.strip_prefix("src/").map(|name| name.trim_end_matches(".rs").trim_end_matches("/mod")) else { return wrong };
    let layer = LAYERS.iter().find(|layer| module.split('/').next() == Some(layer.name));
    if layer.is_some_and(|layer| layer.name == "domain") && (has_word(&code, "async") || has_word(&code, "await")) {
        complain("is async".to_owned());
    }
    if layer.is_some_and(|layer| SILENT.contains(&layer.name))
        && !TELLING.contains(&file)
        && !file.ends_with("tests.rs")
        && !file.contains("/tests/")
        && shows_debug(text)
    {
        complain("shows a Debug outside its tests: give the type a Display, or log what is known to be no content".to_owned());
    }
    if has_word(&code, "of_accepted_erasure") && !["domain/subject", "repository/removal/claims"].contains(&module) {
        complain("makes a subject that nobody was authorised for: ask a principal".to_owned());
    }
    for path in paths(&code, module) {
        let first = path.split("::").next().unwrap_or_default();
        if first == "anyhow" && !module.starts_with("cli") && module != "main" {
            complain(format!("{path}: only cli and main may; give the error a variant"));
        }
        let builds = BUILDERS.iter().any(|builder| path.ends_with(builder));
        if builds && !["server", "cli"].iter().any(|root| module.starts_with(root)) && !module.ends_with("/tests") {
            complain(format!("{path}: only server and cli build"));
        }
        if path.starts_with("crate::repository::entity") && !module.starts_with("repository") {
            complain(format!("{path}: rows stay in the repository"));
        }
        let Some(layer) = layer else { continue };
        if layer.unknown.iter().any(|crates| crates.contains(&first)) {
            complain(format!("{path}: {} does not know {first}", layer.name));
        }
        let Some(other) = path.strip_prefix("crate::") else { continue };
        let (other, within) = other.split_once("::").unwrap_or((other, ""));
        if other != layer.name && LAYERS.iter().any(|layer| layer.name == other) && !layer.knows.contains(&other) {
            complain(format!("{path}: {} does not know {other}", layer.name));
        }
        let named = |allowed: &[&str]| allowed.iter().any(|allowed| within == *allowed || within.starts_with(&format!("{allowed}::")));
        if other == "grpc"
            && (layer.name == "server" && !named(&GRPC_FOR_SERVER) && within != "proto::self"
                || layer.name == "cli" && !named(&GRPC_FOR_CLI))
        {
            complain(format!("{path}: not for {}", layer.name));
        }
    }
    wrong
}

/// Whether a source shows a value by its `Debug` before its tests begin: in a format, or as a field of a line of the log.
fn shows_debug(text: &str) -> bool {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let in_format = code.contains(":?}") || code.contains(":#?}") || code.contains("dbg!(") || code.contains("field::debug(");
    in_format
        || code
            .split("tracing::")
            .skip(1)
            .any(|line| line.split(");").next().is_some_and(|fields| fields.contains([' ', '(']) && has_sigil(fields)))
}

/// Whether a field of a line of the log has the sigil `?`.
fn has_sigil(fields: &str) -> bool {
    let bytes = fields.as_bytes();
    (1..bytes.len()).any(|at| {
        bytes[at] == b'?' && matches!(bytes[at - 1], b' ' | b'(' | b'=') && bytes.get(at + 1).is_some_and(u8::is_ascii_alphabetic)
    })
}

/// Places that mean nothing to a reader elsewhere, each in two halves so that this file does not name them.
fn places(file: &str, text: &str) -> Vec<String> {
    let places = [
        ("/wo", "rk/"),
        ("/ro", "ot/"),
        ("/ho", "me/"),
        ("/tmp/", "wt-"),
        ("crates", ".io"),
        ("pypi", ".org"),
        ("npmjs", ".org"),
        ("npmjs", ".com"),
        ("static.rust-", "lang.org"),
        ("proxy.go", "lang.org"),
    ];
    let lines = text.lines().enumerate();
    let named = |line: &str| places.iter().map(|(one, two)| format!("{one}{two}")).find(|place| line.contains(place));
    lines.filter_map(|(nth, line)| named(line).map(|place| format!("{file}:{}: names {place}", nth + 1))).collect()
}

/// The code alone: comments, texts and characters are blank.
fn without_comments_and_texts(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(hashes) = raw_text(rest) {
            let end = format!("\"{}", "#".repeat(hashes));
            let begin = 2 + hashes;
            rest[begin..].find(&end).map_or(rest.len(), |at| begin + at + end.len())
        } else if next == '"' {
            end_of_text(rest)
        } else if next == '\'' && !rest[1..].starts_with('\\') && rest.chars().nth(2) == Some('\'') {
            2 + rest.chars().nth(1).map_or(0, char::len_utf8)
        } else if rest.starts_with("'\\") {
            2 + rest.char_indices().skip(3).find(|(_, char)| *char == '\'').map_or(0, |(at, _)| at - 1)
        } else {
            0
        };
        if skipped == 0 {
            code.push(next);
            rest = &rest[next.len_utf8()..];
        } else {
            code.push(' ');
            rest = &rest[skipped..];
        }
    }
    code
}

/// How many hashes a raw text has that begins here.
fn raw_text(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(hashes)
}

fn end_of_text(rest: &str) -> usize {
    let mut escaped = false;
    for (at, char) in rest.char_indices().skip(1) {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

fn has_word(code: &str, word: &str) -> bool {
    code.split(|char| !is_word(char)).any(|found| found == word)
}

/// Every path in the code, those of `use` in full, from `crate` where it is the program's own.
fn paths(code: &str, module: &str) -> Vec<String> {
    let mut found = Vec::new();
    for statement in code.split_inclusive(';') {
        let import =
            ["use ", "\nuse ", "    use "].iter().find_map(|begin| statement.rfind(begin).map(|at| &statement[at + begin.len()..]));
        if let Some(tree) = import.filter(|_| has_word(statement, "use")) {
            expand("", tree.trim_end_matches(';').trim(), &mut found);
        }
    }
    // What ends in colons begins a tree.
    let is_path = |word: &&str| word.contains("::") && !word.ends_with(':');
    for word in code.split(|char| !is_word(char) && char != ':').filter(is_path) {
        found.push(word.trim_matches(':').to_owned());
    }
    found.into_iter().map(|path| absolute(&path, module)).collect()
}

/// The paths of a tree: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expand(before: &str, tree: &str, found: &mut Vec<String>) {
    let Some((begin, inner)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or(tree).trim();
        if !path.is_empty() {
            found.push(format!("{before}{path}"));
        }
        return;
    };
    let before = format!("{before}{}", begin.trim());
    let (mut depth, mut start) = (0, 0);
    let inner = inner.trim().strip_suffix('}').unwrap_or(inner);
    for (at, char) in inner.char_indices().chain([(inner.len(), ',')]) {
        match char {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&before, inner[start..at].trim(), found);
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// A path from `crate`, where it begins with `super` or `self`.
fn absolute(path: &str, module: &str) -> String {
    let mut here: Vec<&str> = module.split('/').collect();
    let mut path = path;
    let mut relative = false;
    while let Some(rest) = path.strip_prefix("super::") {
        here.pop();
        (path, relative) = (rest, true);
    }
    if let Some(rest) = path.strip_prefix("self::") {
        (path, relative) = (rest, true);
    }
    if !relative {
        return path.to_owned();
    }
    here.insert(0, "crate");
    format!("{}::{path}", here.join("::"))
}

#[test]
fn every_rule_can_be_broken() {
    let planted = [
        ("src/domain/scope.rs", "use tokio::sync::Mutex;"),
        ("src/domain/scope.rs", "#[derive(serde::Serialize)] struct A;"),
        ("src/domain/scope.rs", "use std::{fmt, future::Future};\nuse prost::{Message as _, bytes};"),
        ("src/domain/scope.rs", "fn a() -> sea_orm::DbErr { todo() }"),
        ("src/domain/scope.rs", "fn a() -> tonic::Status { todo() }"),
        ("src/domain/scope.rs", "async fn a() {}"),
        ("src/domain/scope.rs", "use crate::{repository::Repository};"),
        ("src/domain/scope.rs", "use super::super::grpc::proto;"),
        ("src/repository/page.rs", "use crate::{\n    domain::subject::Subject,\n    grpc::{self, proto},\n};"),
        ("src/repository/page.rs", "use crate::vault::Vault;"),
        ("src/repository/mod.rs", "fn a(of: &super::operations::Error) {}"),
        ("src/vault/open.rs", "use crate::repository::Repository;"),
        ("src/vault/open.rs", "use crate::grpc;"),
        ("src/grpc/status.rs", "use crate::{domain::subject::Subject, repository};"),
        ("src/grpc/status.rs", "fn a(error: crate::vault::Error) {}"),
        ("src/grpc/convert/time.rs", "use sea_orm::Value;"),
        ("src/operations/scoped_delete.rs", "use object_store::path::Path;"),
        ("src/operations/scoped_delete.rs", "use crate::{domain::{scope::Scopes}, grpc::proto::Category};"),
        ("src/operations/scoped_delete.rs", "let a = sea_orm::Condition::all();"),
        ("src/config/auth.rs", "use crate::grpc::proto::Category;"),
        ("src/server/health.rs", "use crate::grpc::proto::ScopedDeleteRequest;"),
        ("src/server/health.rs", "use crate::grpc::{proto::{self, Message}};"),
        ("src/cli/keys.rs", "use crate::grpc::status;"),
        ("src/cli/keys.rs", "use crate::repository::entity::api_key;"),
        ("src/server/mod.rs", "fn run() -> anyhow::Result<()> { Ok(()) }"),
        ("src/grpc/service.rs", "let a = Repository::open(url, 1, clock);"),
        ("src/operations/export_user_data.rs", "let a = crate::vault::Vault::open(url);"),
        ("src/grpc/service.rs", "let a = Subject::of_accepted_erasure(application, user_token);"),
        ("src/grpc/utils.rs", ""),
        ("src/cli/common/text.rs", ""),
        ("src/vault/manager.rs", ""),
        ("tests/it/helpers.rs", ""),
        ("src/repository/page.rs", "let a = format!(\"{row:?}\");"),
        ("src/grpc/status.rs", "fn a() { tracing::debug!(request_id, ?request, \"called\"); }"),
        ("src/server/run.rs", "fn a() { tracing::debug!(error = ?error, \"failed\"); }"),
        ("src/lib.rs", concat!("#![", "allow(missing_docs)]")),
        ("tests/it/world.rs", concat!("#[", "allow(\n    dead_code\n)]\nstruct A;")),
    ];
    for (file, text) in planted {
        assert!(!check(file, text).is_empty(), "not noticed in {file}: {text}");
    }
    assert!(!check("src/domain/scope.rs", &"\n".repeat(401)).is_empty());
    assert!(!places("README.md", concat!("see /wo", "rk/main")).is_empty() && !places("a", concat!("https://crates", ".io/x")).is_empty());
}

#[test]
fn what_is_allowed_is_not_complained_about() {
    let good = [
        (
            "src/domain/scope.rs",
            "//! Knows no tonic::Status.\nuse super::subject::Subject; /// `crate::grpc::proto`\nlet a = \"sea_orm::\\\"x\";",
        ),
        ("src/domain/scope.rs", "let (a, b) = ('\"', '\\''); let c = r#\"tokio::\"#; #[cfg(test)] mod tests { use super::*; }"),
        ("src/grpc/status.rs", "use crate::{domain::subject::Subject, operations};\nuse tonic::Status;"),
        ("src/cli/sample/user.rs", "use crate::grpc::{document::UserDocument, proto::{Memory, Upload}};"),
        ("src/server/run.rs", "use crate::grpc::{Services, proto::{self, server::import_service_server}}; let a = proto::DESCRIPTORS;"),
        (
            "src/grpc/status.rs",
            "let a = work()?; tracing::debug!(%error, \"what?\"); #[cfg(test)] mod tests { fn a() { panic!(\"{b:?}\") } }",
        ),
        ("src/cli/keys.rs", "let a: anyhow::Result<_> = Repository::open(url, 1, clock).await;"),
    ];
    for (file, text) in good {
        assert_eq!(check(file, text), Vec::<String>::new(), "{text}");
    }
}
