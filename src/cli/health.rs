//! `health`: for the probes of containers.

use std::{
    io::{self, Write},
    time::Duration,
};

use anyhow::{anyhow, bail};
use tonic::{Code, transport::Error};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::client_args::TlsArgs;
use crate::{config::duration, grpc::client};

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
    #[command(flatten)]
    tls: TlsArgs,
}

/// Asks once, and fails unless the answer is SERVING.
pub(super) async fn run(args: HealthArgs) -> anyhow::Result<()> {
    let endpoint = client::endpoint(&args.server, args.tls.read()?)?;
    let asked = async {
        // Its sources repeat each other; the last one says it.
        let unreachable = |error: Error| anyhow!("{} cannot be reached: {}", args.server, anyhow::Error::new(error).root_cause());
        let channel = endpoint.connect().await.map_err(unreachable)?;
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

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio_stream::wrappers::TcpListenerStream;
    use tonic::transport::Server;
    use tonic_health::{ServingStatus, server::health_reporter};

    use super::*;

    #[tokio::test]
    async fn only_a_server_that_serves_is_healthy() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let (reporter, service) = health_reporter();
        reporter.set_service_status("asleep", ServingStatus::NotServing).await;
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));

        let ask = |service: &str, server: &str| {
            run(HealthArgs { server: server.into(), service: service.into(), timeout: Duration::from_secs(5), tls: TlsArgs::default() })
        };
        ask("", &server).await.unwrap();
        assert!(ask("asleep", &server).await.unwrap_err().to_string().ends_with("is NOT_SERVING"));
        assert!(ask("nobody", &server).await.unwrap_err().to_string().contains("knows no service \"nobody\""));
        assert!(ask("", "http://").await.is_err());
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_not_waited_for() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", silent.local_addr().unwrap());
        let error = run(HealthArgs { server, service: String::new(), timeout: Duration::from_millis(200), tls: TlsArgs::default() })
            .await
            .unwrap_err();
        assert!(error.to_string().contains("did not answer within"), "{error}");
    }
}
