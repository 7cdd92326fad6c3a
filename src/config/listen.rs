//! The section about connections: where they come in, how much one may hold, when they end.

use std::{net::SocketAddr, time::Duration};

use super::duration;

/// Settings about connections.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Connections")]
pub struct ListenConfig {
    /// Address to listen on; port 0 takes any free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:50051")]
    pub listen: SocketAddr,
    /// How long running calls may take to finish after SIGTERM, before they are cut.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = duration::parse)]
    pub drain_timeout: Duration,
    /// Calls that may run at once on one connection.
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_concurrent_streams: u32,
    /// Faulty streams after which a connection is closed.
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_error_resets: u32,
    /// Silence on a connection after which it is asked for a sign of life.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = duration::parse_positive)]
    pub keepalive_interval: Duration,
    /// Time to give that sign before the connection is closed.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse_positive)]
    pub keepalive_timeout: Duration,
}
