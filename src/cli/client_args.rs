//! Which server the client commands call, and as whom.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Args;

use crate::{
    domain::secret::Secret,
    grpc::client::{Client, ClientIdentity, ClientTls, Credential},
};

/// The server and the credential of a client command.
#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    /// The server's address.
    #[arg(long, default_value = "http://127.0.0.1:50051", value_name = "URL")]
    server: String,
    /// The application whose users are meant.
    #[arg(long, value_name = "ID")]
    application: Option<String>,
    /// An API key of the application.
    #[arg(long, value_name = "KEY")]
    api_key: Option<Secret>,
    /// A user's JWT; goes before an application and its key.
    #[arg(long, value_name = "JWT")]
    access_token: Option<Secret>,
    #[command(flatten)]
    tls: TlsArgs,
}

/// How the way to an `https://` server is secured.
#[derive(Debug, Default, Args)]
pub(super) struct TlsArgs {
    /// The only CAs to believe of the server (PEM); without it, those of this machine.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A certificate to show to the server (PEM).
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// The private key of that certificate (PEM).
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

impl TlsArgs {
    /// Reads the files.
    ///
    /// # Errors
    /// If one cannot be read, or half of a pair is missing.
    pub(super) fn read(&self) -> anyhow::Result<ClientTls> {
        let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        let identity = match (&self.cert, &self.key) {
            (Some(certificate), Some(key)) => Some(ClientIdentity { certificate: read(certificate)?, key: read(key)? }),
            (None, None) => None,
            _ => anyhow::bail!("--cert and --key are only of use together"),
        };
        Ok(ClientTls { ca: self.ca.as_deref().map(read).transpose()?, identity })
    }
}

impl ServerArgs {
    /// Connects to the server.
    ///
    /// # Errors
    /// If no credential was given, or the server cannot be reached.
    pub(super) async fn connect(&self) -> anyhow::Result<Client> {
        let credential = match (&self.access_token, &self.application, &self.api_key) {
            (Some(token), ..) => Credential::access_token(token.expose())?,
            (None, Some(application), Some(api_key)) => Credential::api_key(application, api_key.expose())?,
            _ => anyhow::bail!("no credential: give --application and --api-key, or --access-token"),
        };
        Ok(Client::connect(&self.server, self.tls.read()?, credential).await?)
    }
}

/// Under which terms an erasure takes place.
#[derive(Debug, Args)]
pub(super) struct TermsArgs {
    /// A UUID for this erasure: repeated with it, the command changes nothing and tells the first outcome again.
    #[arg(long, value_name = "UUID")]
    pub(super) request_id: Option<String>,
    /// Only tell what would go, and a digest of it.
    #[arg(long, conflicts_with_all = ["request_id", "plan"])]
    pub(super) preview: bool,
    /// The digest that `--preview` told: erase only if exactly that would go.
    #[arg(long, value_name = "DIGEST")]
    pub(super) plan: Option<String>,
}
