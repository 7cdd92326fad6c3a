//! The service, from outside: a real server on port 0, generated clients, a real SQLite file, a real PostgreSQL, a real object store.
//! PostgreSQL and the S3 server are started by `scripts/test`; without them the tests that need them fail.
#![expect(clippy::expect_used, clippy::print_stderr, clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod airline;
mod catalogue;
mod command_line;
mod migrations;
mod model;
mod random_calls;
mod records;
mod sqlite_file;
mod structure;
mod world;
