//! The section about load: how long a call may run, how many run at once, how often they come, and how slowly their answers are taken.

use std::{num::NonZeroU32, time::Duration};

use super::duration;

/// Settings about load.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Limits")]
pub struct LimitsConfig {
    /// Longest time for a call, save exports, imports and reflection; a caller may ask for less (`grpc-timeout`).
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration::parse_positive)]
    pub max_call_duration: Duration,
    /// Longest time for an export, an import or a reflection stream, 24h at most; an export goes on from its last resume token.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration::parse_of_stream)]
    pub max_stream_duration: Duration,
    /// Calls that run at once, exports and imports among them.
    #[arg(long, value_name = "N", default_value = "512", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_calls: u32,
    /// Of these, calls of one application; a user with a JWT has a quarter of that, and of its exports.
    #[arg(long, value_name = "N", default_value = "256", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_calls_per_application: u32,
    /// Exports that run at once: each until its client has taken all of it.
    #[arg(long, value_name = "N", default_value = "64", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_exports: u32,
    /// Of these, exports of one application: one whose client takes nothing holds about 2 MiB, and 3 MiB where records are the largest.
    #[arg(long, value_name = "N", default_value = "16", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_exports_per_application: u32,
    /// Bytes of imports in memory: requests, and content that is not finished; the import that goes beyond is ended.
    #[arg(long, value_name = "BYTES", default_value = "268435456", value_parser = clap::value_parser!(u32).range(33_554_432..))]
    pub max_import_bytes: u32,
    /// Of these, bytes of one application.
    #[arg(long, value_name = "BYTES", default_value = "134217728", value_parser = clap::value_parser!(u32).range(33_554_432..))]
    pub max_import_bytes_per_application: u32,
    /// Calls in a second of one application, and as many at once after a pause; without it, any number.
    #[arg(long, value_name = "N")]
    pub rate_per_application: Option<NonZeroU32>,
    /// Calls in a second of one API key, or of one user with a JWT; without it, any number.
    #[arg(long, value_name = "N")]
    pub rate_per_key: Option<NonZeroU32>,
    /// Bytes in a second below which an answer is cut whose client takes it more slowly; 0 waits for as long as the call may run, and
    /// where a client takes nothing at all, for `--idle-timeout`.
    #[arg(long, value_name = "BYTES", default_value = "512")]
    pub min_read_rate: u32,
    /// Time in which that is measured, at least.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration::parse_positive)]
    pub min_read_window: Duration,
}
