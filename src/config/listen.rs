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
    /// Serve without TLS on an address that other machines reach.
    #[arg(long)]
    pub allow_plaintext: bool,
    /// Another address to listen on: calls that need the permission `admin` are then answered there alone, all others there too.
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<SocketAddr>,
    /// How long running calls may take to finish after SIGTERM, before they are cut.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = duration::parse)]
    pub drain_timeout: Duration,
    /// Connections that may be open at once; more are closed at once. Lowered to what the process may open.
    #[arg(long, value_name = "N", default_value = "10000", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: u32,
    /// Connections that may be open at once from one IPv4 address or IPv6 network (/64); 0 is no bound of its own, for a server behind a
    /// proxy.
    #[arg(long, value_name = "N", default_value = "1000")]
    pub max_connections_per_peer: u32,
    /// TLS handshakes that may run at once, a quarter of them with one peer, unless `--max-connections-per-peer` is 0; others wait, within
    /// their time.
    #[arg(long, value_name = "N", default_value = "500", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_handshakes: u32,
    /// How long a TLS handshake may take.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse_positive)]
    pub handshake_timeout: Duration,
    /// How long a connection may take to bring its first request.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = duration::parse_positive)]
    pub first_request_timeout: Duration,
    /// After how long a connection is closed on which no call makes progress because of its client.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration::parse_positive)]
    pub idle_timeout: Duration,
    /// How long a request may take to arrive: the only one of a call, or the next of an import.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration::parse_positive)]
    pub request_timeout: Duration,
    /// Calls that may run at once on one connection.
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_concurrent_streams: u32,
    /// Streams that are faulty, or refused as too many, after which a connection is closed, however long it lives.
    #[arg(long, value_name = "N", default_value = "1024", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_error_resets: u32,
    /// Silence on a connection after which it is asked for a sign of life.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = duration::parse_positive)]
    pub keepalive_interval: Duration,
    /// Time to give that sign before the connection is closed.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse_positive)]
    pub keepalive_timeout: Duration,
}
