//! The service, from outside: a real server on port 0, generated clients, a real SQLite file, a real PostgreSQL, a real object store.
//! PostgreSQL and the S3 server are started by `scripts/test`; without them the tests that need them fail.
#![expect(clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod airline;
mod catalogue;
mod command_line;
mod delete_messages;
mod exported;
mod model;
mod population;
mod random_calls;
mod records;
mod resume;
mod round_trip;
mod scoped_delete;
mod vault;
mod world;
