//! The service, from outside: a real server on port 0, generated clients, a real SQLite file, a real PostgreSQL, a real object store.
//! PostgreSQL and the S3 server are started by `scripts/test`; without them the tests that need them fail.
#![expect(clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod access_matrix;
mod airline;
mod api_keys;
mod bad_input;
mod catalogue;
mod certain;
mod client_commands;
mod command_line;
mod connections;
mod credentials;
mod deadline;
mod delete_messages;
mod exported;
mod faults;
mod isolation;
mod key_sets;
mod leaks;
mod lifecycle;
mod load;
mod logs;
mod lost_commit;
mod migrations;
mod model;
mod overlap;
mod population;
mod program;
mod public_tools;
mod random_calls;
mod records;
mod resume;
mod round_trip;
mod rpc;
mod scoped_delete;
mod settling;
mod slow_store;
mod slowed;
mod sqlite_file;
mod structure;
mod supply_chain;
mod timing;
mod tls;
mod vault;
mod world;
