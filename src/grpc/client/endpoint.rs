//! Where a server is, and how the way there is secured.

use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::{ClientError, root_cause};
use crate::domain::secret::shows_nothing;

/// What a client knows of TLS; without anything, it believes the CAs of its machine. Prints nothing of a key.
#[derive(Clone, Debug, Default)]
pub struct ClientTls {
    /// The only CAs to believe, in PEM.
    pub ca: Option<Vec<u8>>,
    /// The client's own certificate and its private key, in PEM.
    pub identity: Option<ClientIdentity>,
}

/// A certificate of a client, and its private key. `Debug` shows nothing of them.
#[derive(Clone)]
pub struct ClientIdentity {
    /// The certificate, in PEM.
    pub certificate: Vec<u8>,
    /// Its key, in PEM.
    pub key: Vec<u8>,
}

shows_nothing!(ClientIdentity);

/// The server at an address of `http://` or `https://`.
///
/// # Errors
/// If it is no such address, or what is known of TLS cannot be used.
pub fn endpoint(server: &str, tls: ClientTls) -> Result<Endpoint, ClientError> {
    let endpoint = Endpoint::from_shared(server.to_owned()).map_err(|_| ClientError::Address)?;
    match endpoint.uri().scheme_str() {
        Some("http") if tls.ca.is_some() || tls.identity.is_some() => Err(ClientError::NoTls),
        Some("http") => Ok(endpoint),
        Some("https") => {
            let mut config = ClientTlsConfig::new();
            config = match tls.ca {
                Some(ca) => config.ca_certificate(Certificate::from_pem(ca)),
                None => config.with_native_roots(),
            };
            if let Some(ClientIdentity { certificate, key }) = tls.identity {
                config = config.identity(Identity::from_pem(certificate, key));
            }
            endpoint.tls_config(config).map_err(|error| ClientError::Tls(root_cause(&error)))
        }
        _ => Err(ClientError::Address),
    }
}
