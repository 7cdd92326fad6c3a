//! TLS: made of files that may change while it is used, and handshakes that are bounded in time and number.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{
    LazyConfigAcceptor,
    rustls::{
        self, RootCertStore, ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{
            CertificateDer, PrivateKeyDer,
            pem::{self, PemObject},
        },
        server::{Acceptor, NoServerSessionStorage, WebPkiClientVerifier},
        version::{TLS12, TLS13},
    },
    server::TlsStream,
};
use tokio_util::sync::CancellationToken;

use super::handshakes::Handshakes;
use crate::config::{listen::ListenConfig, tls::TlsFiles};

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_millis(500);

/// The one protocol that is spoken.
const ALPN: &[u8] = b"h2";

/// Why the files make no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// One holds something else.
    #[error("{} holds no {what} in PEM: {error}", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// What it is to hold.
        what: &'static str,
        /// What is wrong.
        error: pem::Error,
    },
    /// The certificate and the key, each or together.
    #[error("the certificate in {} cannot be used with the key in {}: {error}", certificate.display(), key.display())]
    Certificate {
        /// Where the certificate is.
        certificate: PathBuf,
        /// Where the key is.
        key: PathBuf,
        /// What is wrong.
        error: rustls::Error,
    },
    /// A CA of clients.
    #[error("{} holds no CAs that can be used: {error}", path.display())]
    ClientCa {
        /// Where it is.
        path: PathBuf,
        /// What is wrong.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What the files hold.
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Contents {
    async fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let read = async |path: &PathBuf| tokio::fs::read(path).await.map_err(|error| TlsError::Read { path: path.clone(), error });
        let client_ca = match &files.client_ca {
            Some(path) => Some(read(path).await?),
            None => None,
        };
        Ok(Self { certificate: read(&files.certificate).await?, key: read(&files.key).await?, client_ca })
    }

    /// Tells contents apart, without the key being kept for it.
    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for content in [&self.certificate, &self.key].into_iter().chain(&self.client_ca) {
            digest.update(content.len().to_be_bytes());
            digest.update(content);
        }
        digest.finalize().into()
    }

    /// What handshakes need of them. Nothing is remembered for a later handshake: whoever resumes one is not asked for a certificate.
    fn config(&self, files: &TlsFiles) -> Result<ServerConfig, TlsError> {
        let pem = |path: &PathBuf, what| {
            let path = path.clone();
            move |error| TlsError::Pem { path, what, error }
        };
        let refused = |error| TlsError::Certificate { certificate: files.certificate.clone(), key: files.key.clone(), error };
        let chain = certificates(&self.certificate).map_err(pem(&files.certificate, "certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(pem(&files.key, "private key"))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&[&TLS13, &TLS12]).map_err(refused)?;
        let config = match (&self.client_ca, &files.client_ca) {
            (Some(content), Some(path)) => {
                let mut roots = RootCertStore::empty();
                for ca in certificates(content).map_err(pem(path, "certificate"))? {
                    roots.add(ca).map_err(|error| TlsError::ClientCa { path: path.clone(), error: error.into() })?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                config.with_client_cert_verifier(verifier.map_err(|error| TlsError::ClientCa { path: path.clone(), error: error.into() })?)
            }
            _ => config.with_no_client_auth(),
        };
        let mut config = config.with_single_cert(chain, key).map_err(refused)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

fn certificates(content: &[u8]) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(content).collect::<Result<_, _>>()?;
    if certificates.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(certificates) }
}

/// TLS as the files last made it.
pub(super) struct Tls {
    files: TlsFiles,
    /// Of the contents that were seen last, whether they could be used or not.
    seen: [u8; 32],
    config: ArcSwap<ServerConfig>,
    handshakes: Handshakes,
    timeout: Duration,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// Why they make no TLS.
    pub(super) async fn open(files: TlsFiles, listen: &ListenConfig) -> Result<Self, TlsError> {
        let contents = Contents::read(&files).await?;
        let config = ArcSwap::from_pointee(contents.config(&files)?);
        let handshakes = Handshakes::within(listen);
        Ok(Self { seen: contents.digest(), files, config, handshakes, timeout: listen.handshake_timeout })
    }

    /// Takes over what the files hold whenever that changes, until `stop`. What cannot be used is told once, and what was there before stays.
    pub(super) async fn keep_fresh(&self, stop: CancellationToken) {
        let mut seen = Ok(self.seen);
        let look = async {
            loop {
                tokio::time::sleep(INTERVAL).await;
                let contents = Contents::read(&self.files).await;
                let now = contents.as_ref().map(Contents::digest).map_err(ToString::to_string);
                if now == seen {
                    continue;
                }
                seen = now;
                match contents.and_then(|contents| contents.config(&self.files)) {
                    Ok(config) => {
                        self.config.store(Arc::new(config));
                        tracing::info!("the TLS files have changed and are in use");
                    }
                    Err(error) => {
                        tracing::error!(%error, "the TLS files have changed and cannot be used; what they held before stays in use")
                    }
                }
            }
        };
        let _ = stop.run_until_cancelled(look).await;
    }

    /// Shakes hands with a client.
    ///
    /// # Errors
    /// When the client speaks something else, is not let in, or takes too long.
    pub(super) async fn accept(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let handshake = async {
            let peer = socket.peer_addr()?.ip();
            let hello = LazyConfigAcceptor::new(Acceptor::default(), socket).await?;
            // Who connects and says nothing is not in the way of others: what costs something begins here.
            let stream = self.handshakes.run(peer, async { hello.into_stream(self.config.load_full()).await }).await?;
            match stream.get_ref().1.alpn_protocol() {
                Some(ALPN) => Ok(stream),
                _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the client does not offer HTTP/2")),
            }
        };
        timeout(self.timeout, handshake).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}
