//! `serve` and `migrate`.

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    config::{ServerArgs, storage::DatabaseArgs},
    domain::timestamp::Clock,
    repository::Repository,
    server::Server,
    telemetry,
};

#[derive(clap::Args, Debug)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Bring a PostgreSQL schema up to date before serving. An SQLite file always is.
    #[arg(long)]
    migrate: bool,
}

#[derive(clap::Args, Debug)]
pub(super) struct MigrateArgs {
    #[command(flatten)]
    database: DatabaseArgs,
}

pub(super) async fn run(args: ServeArgs) -> anyhow::Result<()> {
    let config = args.server.check()?;
    telemetry::start(&config.log)?;
    let server = Server::build(config, args.migrate, Clock::default()).await?;
    Ok(server.run(told_to_stop()?).await?)
}

pub(super) async fn migrate(args: MigrateArgs) -> anyhow::Result<()> {
    let url = args.database.check()?;
    let repository = Repository::open(&url, 1, Clock::default()).await.with_context(|| format!("cannot open {url}"))?;
    repository.require_schema(true).await.with_context(|| format!("cannot migrate {url}"))?;
    Ok(repository.close().await?)
}

/// Ready when the process is told to stop: SIGTERM, or Ctrl-C.
pub(super) fn told_to_stop() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
