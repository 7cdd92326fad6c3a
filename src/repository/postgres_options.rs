//! How each connection to PostgreSQL is to be, beyond what the database's URL says.

use std::net::IpAddr;

use sea_orm::sqlx::postgres::{PgConnectOptions, PgSslMode};

/// How long a statement waits for another call's lock on a subject, before the transaction is tried again; unless the URL says how long.
const LOCK_WAIT: &str = "10s";

/// How often PostgreSQL looks, while it works on a statement, whether anybody still waits for it; unless the URL says how often.
const CLIENT_CHECK: &str = "1s";

/// The options of a connection of the service's.
pub(super) fn for_service(options: PgConnectOptions) -> PgConnectOptions {
    let of_url = options.get_options().unwrap_or_default().to_owned();
    let settings = [
        ("lock_timeout", LOCK_WAIT),
        ("client_connection_check_interval", CLIENT_CHECK),
        ("log_parameter_max_length_on_error", "0"),
        // No statement here computes much: to compile one takes longer than it saves.
        ("jit", "off"),
        // Users' rows are found by an index. While a table is nearly empty, to read it all is cheaper, and a plan may be kept for long.
        ("enable_seqscan", "off"),
    ];
    // In a URL an IPv6 address has brackets, and nowhere else.
    let host = options.get_host().trim_matches(['[', ']']).to_owned();
    let options = options.application_name("userdata").host(&host);
    encrypted(options.options(settings.into_iter().filter(|(name, _)| !of_url.contains(&format!("{name}=")))))
}

/// What travels to another machine is encrypted for the one that the URL names, and no other: the modes in between encrypt when the server
/// likes to, for whoever answers.
fn encrypted(options: PgConnectOptions) -> PgConnectOptions {
    match options.get_ssl_mode() {
        PgSslMode::Allow | PgSslMode::Prefer if !is_of_this_machine(&options) => options.ssl_mode(PgSslMode::VerifyFull),
        _ => options,
    }
}

fn is_of_this_machine(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    let is_loopback = host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
    options.get_socket().is_some() || host.starts_with('/') || host == "localhost" || is_loopback
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_machine_is_spoken_to_in_plain_text_only_if_the_url_asks_for_it_by_name() {
        let mode = |url: &str| format!("{:?}", for_service(url.parse().unwrap()).get_ssl_mode());
        for host in ["db.internal", "10.1.2.3", "localhost.evil.example", "[2001:db8::1]"] {
            for weak in ["", "?sslmode=prefer", "?sslmode=allow"] {
                assert_eq!(mode(&format!("postgres://u@{host}/d{weak}")), "VerifyFull", "{host}{weak}");
            }
            for (named, is) in [("disable", "Disable"), ("require", "Require"), ("verify-ca", "VerifyCa"), ("verify-full", "VerifyFull")] {
                assert_eq!(mode(&format!("postgres://u@{host}/d?sslmode={named}")), is);
            }
        }
        for host in ["localhost", "127.0.0.1", "127.9.9.9", "[::1]", "%2Fvar%2Frun%2Fpostgresql"] {
            assert_eq!(mode(&format!("postgres://u@{host}/d")), "Prefer", "{host}");
        }
        assert_eq!(mode("postgres://u@ignored/d?host=/var/run/postgresql"), "Prefer");
        assert_eq!(mode("postgres://u@localhost/d?host=db.internal"), "VerifyFull");
        let options: PgConnectOptions = "postgres://u@[::1]/d".parse().unwrap();
        assert_eq!(for_service(options).get_host(), "::1");
    }
}
