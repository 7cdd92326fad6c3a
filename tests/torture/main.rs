//! The service under torture: the real program, killed at any moment and at the worst ones, on both engines, and what must hold after it.
//! `scripts/torture` runs the long sizes. `TORTURE_SEED` replays a run: every run prints its seed, and so does every failure.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test says what went wrong by failing, and what it tried by printing"
)]

mod batch;
mod broken_histories;
mod calls;
mod cluster;
mod crash;
mod database_crash;
mod file_faults;
mod files;
mod fleet;
mod held;
mod histories;
mod history;
mod idempotency;
mod lane;
mod model;
mod patience;
mod person;
mod plan;
mod planted;
mod program;
mod promises;
mod racer;
#[path = "../it/records.rs"]
mod records;
mod s3_faults;
mod trial;
mod vaulted;
