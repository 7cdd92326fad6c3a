//! The lock file: held against the advisories that `scripts/audit` cannot know, and never left aside.

use std::fs;

use semver::{Version, VersionReq};
use serde::Deserialize;

#[derive(Deserialize)]
struct LockFile {
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: Version,
}

#[derive(Deserialize)]
struct Advisories {
    advisory: Vec<Advisory>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advisory {
    id: String,
    package: String,
    mended: VersionReq,
    about: String,
}

#[test]
fn no_crate_is_older_than_the_version_that_mends_an_advisory() {
    let lock = read("Cargo.lock");
    let advisories = read("supply-chain/advisories.toml");
    assert_eq!(check(&lock, &advisories), Vec::<String>::new());

    let locked = |name: &str| toml::from_str::<LockFile>(&lock).unwrap().package.into_iter().find(|package| package.name == name).unwrap();
    for (package, old) in [("jsonwebtoken", "10.2.0"), ("h2", "0.4.15"), ("libsqlite3-sys", "0.34.0")] {
        let now = format!("name = \"{package}\"\nversion = \"{}\"", locked(package).version);
        let lowered = lock.replace(&now, &format!("name = \"{package}\"\nversion = \"{old}\""));
        let wrong = check(&lowered, &advisories);
        assert!(wrong.len() == 1 && wrong[0].contains(&format!("{package} {old}")), "{wrong:?}");
    }
    let gone = advisories.replace("\"h2\"", "\"h3\"");
    assert!(check(&lock, &gone)[0].contains("h3"), "an entry about nothing was not noticed");
}

/// What is wrong with a lock file by these advisories.
fn check(lock: &str, advisories: &str) -> Vec<String> {
    let packages = toml::from_str::<LockFile>(lock).unwrap().package;
    let advisories = toml::from_str::<Advisories>(advisories).unwrap().advisory;
    let mut wrong = Vec::new();
    for Advisory { id, package, mended, about } in advisories {
        let locked: Vec<_> = packages.iter().filter(|locked| locked.name == package).collect();
        if locked.is_empty() {
            wrong.push(format!("{id}: {package} is not in Cargo.lock any more: remove the entry"));
        }
        let old = locked.into_iter().filter(|locked| !mended.matches(&locked.version));
        wrong.extend(old.map(|old| format!("{id}: {package} {} is to be {mended}: {about}", old.version)));
    }
    wrong
}

#[test]
fn scripts_build_what_the_lock_file_says() {
    let scripts = fs::read_dir(file("scripts")).unwrap().map(|entry| entry.unwrap().path());
    let scripts = scripts.chain([file(".ci/run"), file("tests/clients/run")]);
    let mut builds = 0;
    for script in scripts {
        let text = fs::read_to_string(&script).unwrap();
        for line in text.lines().filter(|line| is_build(line)) {
            builds += 1;
            assert!(line.contains("--locked"), "{}: {line}", script.display());
        }
    }
    assert!(builds > 5, "the scripts were not found");
    assert!(is_build("  nice cargo test --all") && !is_build("cargo fmt --all --check") && !is_build("# cargo test"));
}

/// Whether a line of a script has cargo build something.
fn is_build(line: &str) -> bool {
    let builds = ["test", "build", "run", "bench", "clippy", "doc", "install", "fetch", "tree"];
    let said = line.trim_start().starts_with('#') || line.trim_start().starts_with("echo");
    !said && builds.iter().any(|what| line.contains(&format!("cargo {what} ")))
}

fn read(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap()
}

fn file(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}
