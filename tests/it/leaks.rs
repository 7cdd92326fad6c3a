//! Nothing leaks: calls with a planted word in every field, good ones and bad ones, while the stores fail too; then the word is looked for in
//! all that the program says, in the statuses it answers with, and in PostgreSQL's own log. `LEAK_CALLS` sets how many calls there are.
//! With the feature `failpoints` some of them panic.

mod calls;
mod planted;
mod search;

use std::env;

use userdata::{domain::principal::Permission, repository::Engine};

use self::{calls::Caller, search::Sought};
use crate::{
    credentials::{claims, hs256, hs256_secret},
    on_both_engines,
    program::Program,
    world::{ACME, World},
};

on_both_engines!(nothing_planted_is_in_a_log_or_a_status_whatever_fails);

/// Said where PostgreSQL would log what users said.
const WARNING: &str = "PostgreSQL logs statements with their values";

/// How many calls there are unless `LEAK_CALLS` says.
const CALLS: usize = 240;

async fn nothing_planted_is_in_a_log_or_a_status_whatever_fails(mut world: World) {
    let calls = env::var("LEAK_CALLS").map_or(CALLS, |calls| calls.parse().unwrap());
    let key = world.insert_key(ACME, Permission::ALL.into_iter().collect()).await;
    let weak = world.insert_key(ACME, [Permission::Export].into_iter().collect()).await;
    let token = hs256(&claims("id", &planted::user(0)));
    world.stop_server().await;
    if world.engine == Engine::Postgres {
        // What docs/operations.md has the operator set; and each statement is in the log.
        let name = world.database_url.rsplit('/').next().unwrap().to_owned();
        world.execute(&format!("ALTER DATABASE {name} SET log_min_duration_statement = 0")).await;
        let mut warned = Program::serve(&world.folder(), &world.database_url, &["--object-store-url", "memory://"]);
        warned.address().await;
        warned.signal("TERM");
        assert_eq!(warned.ended().await.0, Some(0));
        assert!(warned.stderr().contains(WARNING), "{}", warned.stderr());
        world.execute(&format!("ALTER DATABASE {name} SET log_error_verbosity = terse")).await;
    }
    let issuer = format!(r#"{{issuer="id", application="{ACME}", audience="userdata", algorithm="HS256", secret="{}"}}"#, hs256_secret());
    let sought = Sought::new(&[&key[21..], &weak[21..], &hs256_secret()], &token);

    let mut codes = Vec::new();
    let mut said = String::new();
    // A store that works, until it is broken; one that never was there.
    let good = format!("file://{}", world.objects().display());
    for (store, share) in [(good.as_str(), calls - calls / 6), ("s3://userdata-no-such-bucket/objects", calls / 6)] {
        let more = ["--object-store-url", store, "--jwt-issuer", &issuer, "--failed-logins", "60000", "--log-filter", "trace", "--migrate"];
        let mut program = Program::serve_with(&world.folder(), &environment(), &world.database_url, &more);
        let mut caller = Caller::new(program.channel().await, &key, &weak, &token);
        for nth in 0..share {
            if nth == share / 2 && store == good {
                break_stores(&world).await;
            }
            caller.call(nth).await;
        }
        program.signal("TERM");
        assert_eq!(program.ended().await.0, Some(0));
        said.push_str(&program.stdout());
        said.push_str(&program.stderr());
        for status in &caller.statuses {
            sought.assert_absent("a status", &search::all_of(status));
        }
        for resume_token in &caller.resume_tokens {
            assert!(!said.contains(resume_token), "the log holds a resume token");
        }
        codes.extend(caller.statuses.iter().map(tonic::Status::code));
    }

    sought.assert_absent("the program's output", said.as_bytes());
    assert!(!said.contains(WARNING), "warned where nothing is logged");
    for told in ["\"level\":\"DEBUG\"", "\"message\":\"call\"", "unforeseen", "object store failed", "\"code\":\"OK\""] {
        assert!(said.contains(told), "nothing was said of {told}");
    }
    for code in calls::EXPECTED {
        assert!(codes.contains(&code), "no call ended with {code:?}: {codes:?}");
    }
    assert!(!cfg!(feature = "failpoints") || said.contains("panicked"), "nothing panicked");
    if world.engine == Engine::Postgres {
        let log = std::fs::read(env::var("USERDATA_TEST_POSTGRES_LOG").unwrap()).unwrap();
        sought.assert_absent("PostgreSQL's log", &log);
        let log = String::from_utf8_lossy(&log);
        assert!(log.contains("INSERT INTO \"memories\"") && log.contains("violates check constraint"), "PostgreSQL logged too little");
    }
}

/// What the program finds in its environment.
fn environment() -> Vec<(&'static str, &'static str)> {
    let mut environment = vec![("RUST_BACKTRACE", "1")];
    for name in ["AWS_ENDPOINT", "AWS_ALLOW_HTTP", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        environment.push((name, env::var(name).unwrap().leak()));
    }
    if cfg!(feature = "failpoints") {
        let panics =
            "import.before_commit=10%panic(zanzibar);erasure.before_commit=10%panic(zanzibar);content.before_finish=5%panic(zanzibar)";
        environment.push(("FAILPOINTS", panics));
    }
    environment
}

/// From here on the database refuses some of what it is given, and says so; and the folder of the object store is none.
async fn break_stores(world: &World) {
    let statements: &[&str] = match world.engine {
        Engine::Postgres => &[
            "UPDATE memories SET episode = to_jsonb(text) WHERE episode IS NOT NULL",
            "ALTER TABLE memories ADD CONSTRAINT refused CHECK (text NOT LIKE '%refused%') NOT VALID",
            "ALTER TABLE sessions ALTER COLUMN device TYPE varchar(60) USING left(device, 60)",
            "DELETE FROM feedback",
            "CREATE UNIQUE INDEX refused ON feedback (notes) WHERE notes LIKE '%refused%'",
        ],
        Engine::Sqlite => &[
            "CREATE TRIGGER refused BEFORE INSERT ON memories WHEN NEW.text LIKE '%refused%' BEGIN SELECT RAISE(ABORT, 'refused'); END",
            "DELETE FROM feedback",
            "CREATE UNIQUE INDEX refused ON feedback (notes) WHERE notes LIKE '%refused%'",
            "UPDATE memories SET episode = json_quote(text) WHERE episode IS NOT NULL",
        ],
    };
    for statement in statements {
        world.execute(statement).await;
    }
    std::fs::remove_dir_all(world.objects()).unwrap();
    std::fs::write(world.objects(), "no folder").unwrap();
}
