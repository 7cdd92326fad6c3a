//! Which server the client commands call, and as whom.

use std::{convert::Infallible, fmt, str::FromStr};

use clap::Args;

use crate::grpc::client::{Client, Credential};

/// The server and the credential of a client command.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// The server's address
    #[arg(long, env = "USERDATA_SERVER", default_value = "http://127.0.0.1:50051", value_name = "URL")]
    pub server: String,
    /// The application whose users are meant
    #[arg(long, env = "USERDATA_APPLICATION", value_name = "ID")]
    pub application: Option<String>,
    /// An API key of the application
    #[arg(long, env = "USERDATA_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub api_key: Option<SecretText>,
    /// A user's JWT, instead of an application and its key
    #[arg(long, env = "USERDATA_ACCESS_TOKEN", hide_env_values = true, value_name = "JWT", conflicts_with = "api_key")]
    pub access_token: Option<SecretText>,
}

impl ServerArgs {
    /// Connects to the server.
    ///
    /// # Errors
    /// If no credential was given, or the server cannot be reached.
    pub async fn connect(&self) -> anyhow::Result<Client> {
        let credential = match (&self.access_token, &self.application, &self.api_key) {
            (Some(token), ..) => Credential::access_token(&token.0)?,
            (None, Some(application), Some(api_key)) => Credential::api_key(application, &api_key.0)?,
            _ => anyhow::bail!("no credential: give --application and --api-key, or --access-token"),
        };
        Ok(Client::connect(&self.server, credential).await?)
    }
}

/// A credential on the command line. `Debug` does not show it.
#[derive(Clone)]
pub struct SecretText(String);

impl FromStr for SecretText {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}
