//! `health`: for the probes of containers.

use std::{
    io::{self, Write},
    time::Duration,
};

use anyhow::{Context, bail};
use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::config::duration;

#[derive(clap::Args, Debug)]
pub(super) struct HealthArgs {
    /// The server to ask.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:50051")]
    server: String,
    /// A service by its full name; without it, the server as a whole.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    service: String,
    /// How long to wait for the answer.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration::parse_positive)]
    timeout: Duration,
}

/// Asks once, and fails unless the answer is SERVING.
pub(super) async fn run(args: HealthArgs) -> anyhow::Result<()> {
    let endpoint = Endpoint::from_shared(args.server.clone()).with_context(|| format!("--server: {:?} is no URL", args.server))?;
    let asked = async {
        let channel = endpoint.connect().await.with_context(|| format!("{} cannot be reached", args.server))?;
        let request = HealthCheckRequest { service: args.service.clone() };
        match HealthClient::new(channel).check(request).await {
            Ok(response) => Ok(response.into_inner().status()),
            Err(status) if status.code() == Code::NotFound => bail!("{} knows no service {:?}", args.server, args.service),
            Err(status) => bail!("{} answers {}: {}", args.server, status.code(), status.message()),
        }
    };
    let Ok(status) = tokio::time::timeout(args.timeout, asked).await else {
        bail!("{} did not answer within {:?}", args.server, args.timeout);
    };
    match status? {
        ServingStatus::Serving => Ok(writeln!(io::stdout().lock(), "SERVING")?),
        other => bail!("{} is {}", args.server, other.as_str_name()),
    }
}
