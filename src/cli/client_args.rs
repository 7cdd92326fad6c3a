//! Which server the client commands call, and as whom.

use clap::Args;

use crate::{
    domain::secret::Secret,
    grpc::client::{Client, Credential},
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
        Ok(Client::connect(&self.server, credential).await?)
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
