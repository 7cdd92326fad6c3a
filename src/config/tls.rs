//! The section about TLS: what the server shows of itself, and which clients it lets in.

use std::path::PathBuf;

use super::{Error, listen::ListenConfig};

/// Flags about TLS.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "TLS")]
pub struct TlsArgs {
    /// The server's certificate, and those between it and its CA (PEM). All three files are read again when they change.
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// The private key of the certificate (PEM).
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// CAs of clients (PEM): only clients with a certificate of one of them are served.
    #[arg(long, value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,
}

/// The files that TLS is made of.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The server's certificate, and those between it and its CA.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The CAs of clients, if these must show a certificate.
    pub client_ca: Option<PathBuf>,
}

impl TlsArgs {
    /// Checks the section: there is TLS, or what is listened on may do without.
    ///
    /// # Errors
    /// Which flag cannot be used, and why.
    pub fn check(self, listen: &ListenConfig) -> Result<Option<TlsFiles>, Error> {
        match (self.tls_cert, self.tls_key) {
            (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key, client_ca: self.tls_client_ca })),
            (Some(_), None) => Err(Error::new("tls-cert", "needs --tls-key too")),
            (None, Some(_)) => Err(Error::new("tls-key", "needs --tls-cert too")),
            (None, None) if self.tls_client_ca.is_some() => Err(Error::new("tls-client-ca", "needs --tls-cert and --tls-key too")),
            (None, None) if listen.allow_plaintext => Ok(None),
            (None, None) => {
                let addresses = [("listen", Some(listen.listen)), ("admin-listen", listen.admin_listen)];
                let reached = addresses.into_iter().find_map(|(flag, address)| {
                    address.filter(|address| !address.ip().to_canonical().is_loopback()).map(|address| (flag, address))
                });
                let Some((flag, address)) = reached else { return Ok(None) };
                let problem = format!(
                    "{address} is reached by other machines, and without TLS credentials and contents would travel as plain text; give --tls-cert \
                     and --tls-key, or --allow-plaintext if something in front of the server encrypts"
                );
                Err(Error::new(flag, problem))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser, Debug)]
    struct Server {
        #[command(flatten)]
        listen: ListenConfig,
        #[command(flatten)]
        tls: TlsArgs,
    }

    fn check(flags: &str) -> Result<Option<TlsFiles>, Error> {
        let server = Server::parse_from(["server"].into_iter().chain(flags.split_whitespace()));
        server.tls.check(&server.listen)
    }

    #[test]
    fn plain_text_is_for_this_machine_alone_unless_it_is_asked_for() {
        for listen in ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "0.0.0.0:1 --allow-plaintext"] {
            assert!(matches!(check(&format!("--listen {listen}")), Ok(None)), "{listen}");
        }
        for listen in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[::ffff:10.0.0.1]:1", "127.0.0.1:1 --admin-listen 10.0.0.1:2"] {
            let refused = check(&format!("--listen {listen}")).unwrap_err().to_string();
            assert!(refused.contains("--tls-cert") && refused.contains("--allow-plaintext"), "{refused}");
            assert!(matches!(check(&format!("--listen {listen} --tls-cert a --tls-key b")), Ok(Some(_))), "{listen}");
        }
    }

    #[test]
    fn half_of_tls_is_none() {
        for flags in ["--tls-cert a", "--tls-key a", "--tls-client-ca a", "--tls-cert a --tls-client-ca b --allow-plaintext"] {
            assert!(check(flags).unwrap_err().to_string().contains("needs"), "{flags}");
        }
    }
}
