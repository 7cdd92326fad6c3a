//! What strangers send, changed at random and at length: nothing of it may crash the service, have it hang, or have it take 64 MiB. bolero finds
//! the inputs; `FUZZ_SECONDS` says how long it looks for each target (`scripts/fuzz`), a second unless it does.
#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod bounded;
mod credentials;
mod documents;
mod mutant;
mod requests;
mod resume_tokens;
