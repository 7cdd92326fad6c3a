//! `serve` and `migrate`.

use std::io::{self, Write};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    config::{ServerArgs, storage::DatabaseArgs},
    domain::timestamp::Clock,
    repository::{Repository, SchemaState},
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
    /// PostgreSQL role that `serve` connects as: let it do what it needs, and have row-level security refuse it all that is not of the
    /// subject of a call. It is there already, and does not own the tables.
    #[arg(long, value_name = "ROLE")]
    service_role: Option<String>,
    #[command(flatten)]
    database: DatabaseArgs,
}

pub(super) async fn run(args: ServeArgs) -> anyhow::Result<()> {
    let config = args.server.check()?;
    telemetry::start(&config.log)?;
    let mut stop = Box::pin(told_to_stop()?);
    let server = tokio::select! {
        server = Server::build(config, args.migrate, Clock::default()) => server?,
        () = &mut stop => return Ok(()),
    };
    Ok(server.run(stop).await?)
}

pub(super) async fn migrate(args: MigrateArgs) -> anyhow::Result<()> {
    let url = args.database.check()?;
    let repository = Repository::open(&url, 1, Clock::default()).await.with_context(|| format!("cannot open {url}"))?;
    let before = repository.schema_state().await.with_context(|| format!("cannot migrate {url}"))?;
    repository.require_schema(true).await.with_context(|| format!("cannot migrate {url}"))?;
    if let Some(role) = &args.service_role {
        repository.wall_off(role).await.with_context(|| format!("cannot wall off {url} from --service-role {role}"))?;
    }
    repository.close().await?;
    let done = match before {
        SchemaState::Behind(1) => "1 migration was applied".to_owned(),
        SchemaState::Behind(missing) => format!("{missing} migrations were applied"),
        _ => "the schema was up to date already".to_owned(),
    };
    writeln!(io::stderr().lock(), "{url}: {done}")?;
    if let Some(role) = &args.service_role {
        writeln!(io::stderr().lock(), "{url}: row-level security binds {role}; restart whatever serves as that role")?;
    }
    Ok(())
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
