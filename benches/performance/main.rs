//! How fast the service is, beside the engines underneath it: run it by `scripts/bench`. See `docs/performance/README.md`.
//!
//! Each row of the table is a ratio of ours to a reference that was measured in turn with it. The program fails if a goal is missed. Beside
//! measuring, it is two servers that ours is compared with: `plain-service`, and `echo`.

mod client;
mod curves;
mod database;
mod dataset;
mod echo;
mod everything;
mod h2load;
mod layout;
mod pgbench;
mod plain_service;
mod population;
mod process;
mod proof;
mod report;
mod rounds;
mod row_writer;
mod rows;
mod server;
mod shell;
mod world;

use std::{convert::Infallible, io::Write, path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{bail, ensure};
use clap::{Parser, Subcommand};
use tokio::net::TcpListener;
use tonic::{body::Body, codegen::http, server::NamedService, transport::server::TcpIncoming};
use tower::Service;

use database::Engine::{self, Postgres, Sqlite};
use rounds::Outcome;
use world::World;

#[derive(Parser)]
struct Args {
    /// 100,000 rows instead of a million, two rounds, and nothing that is only shown: about two minutes.
    #[arg(long)]
    quick: bool,
    /// Only these rows of the table.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u8).range(1..=14))]
    row: Vec<u8>,
    /// How often each side is measured: 5, or 2 if quick.
    #[arg(long)]
    rounds: Option<usize>,
    /// Draw the growth curves, as a whole run that is not quick does.
    #[arg(long)]
    curves: bool,
    /// Messages of the largest user, a power of ten: to try the benchmark itself.
    #[arg(long, hide = true)]
    largest: Option<u32>,
    /// What cargo says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    server: Option<ServerCommand>,
}

#[derive(Subcommand)]
enum ServerCommand {
    /// The plain version of the service.
    PlainService {
        #[arg(long)]
        database: String,
        #[arg(long)]
        digests: bool,
    },
    /// A server that only answers.
    Echo {
        #[arg(long)]
        reply_bytes: usize,
        /// Reads what it would have to answer with from this SQLite file.
        #[arg(long)]
        reads: Option<PathBuf>,
        /// Erases what it is told to, by hand-written SQL, in this database.
        #[arg(long)]
        erases: Option<String>,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let single = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    let servers = || tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match &args.server {
        Some(ServerCommand::PlainService { database, digests }) => servers()?.block_on(plain_service::serve(database, *digests))?,
        // With reads, as the service does it: on several threads it took twice the time.
        Some(ServerCommand::Echo { erases: Some(database), .. }) => single()?.block_on(echo::serve_erasing(database))?,
        Some(ServerCommand::Echo { reply_bytes, reads: Some(file), .. }) => single()?.block_on(echo::serve(*reply_bytes, Some(file)))?,
        Some(ServerCommand::Echo { reply_bytes, .. }) => servers()?.block_on(echo::serve(*reply_bytes, None))?,
        None => return single()?.block_on(measure(&args)),
    }
    Ok(ExitCode::SUCCESS)
}

async fn measure(args: &Args) -> anyhow::Result<ExitCode> {
    let asked_for = |row: u8| args.row.is_empty() || args.row.contains(&row);
    let largest = args.largest.unwrap_or(if args.quick { 100_000 } else { 1_000_000 });
    ensure!(largest >= 1_000 && 10_u32.pow(largest.ilog10()) == largest, "--largest is a power of ten, of 1,000 at least");
    let mut world = World::new(args.quick, args.rounds.unwrap_or(if args.quick { 2 } else { 5 }), largest)?;
    for engine in [Sqlite, Postgres] {
        proof::rows_are_as_imported(engine, world.folder()).await?;
    }

    let mut outcomes = Vec::new();
    for row in 1..=14 {
        if !asked_for(row) {
            continue;
        }
        let began = Instant::now();
        let engines: &[Engine] = match row {
            1 | 5 | 6 => &[Postgres],
            2 | 4 | 7 => &[Sqlite],
            _ => &[Sqlite, Postgres],
        };
        for &engine in engines {
            outcomes.extend(measure_row(row, &mut world, engine).await?);
            // A whole run takes long: what is measured stays if it is cut short.
            report::write_json(&outcomes, &[], args.quick)?;
        }
        report::say(&format!("row {row} took {:.0} s", began.elapsed().as_secs_f64()))?;
    }
    let mut curves = Vec::new();
    if args.curves || (args.row.is_empty() && !args.quick) {
        for engine in [Sqlite, Postgres] {
            curves.extend(rows::growth::curves(&world, engine).await?);
        }
        report::say(&format!("drawn: {}", curves::draw(&curves)?.join(", ")))?;
    }
    report::table(&outcomes)?;
    report::write_json(&outcomes, &curves, args.quick)?;
    Ok(if outcomes.iter().all(Outcome::is_met) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure_row(row: u8, world: &mut World, engine: Engine) -> anyhow::Result<Vec<Outcome>> {
    match row {
        1 | 2 => rows::export::beside_shell(world, engine).await,
        3 => rows::export::beside_plain(world, engine).await,
        4 => rows::calls::beside_echo(world).await,
        5 => rows::calls::beside_pgbench(world).await,
        6 | 7 => rows::delete::beside_raw(world, engine).await,
        8 => rows::scoped::beside_sql(world, engine).await,
        9 => rows::neighbours::of_large_users(world, engine).await,
        10 => rows::memory::of_exports(world, engine).await,
        11 => rows::export::beside_small(world, engine).await,
        12 => rows::scale::beside_small_table(world, engine).await,
        13 => rows::scoped::beside_few_messages(world, engine).await,
        14 => rows::import::beside_raw(world, engine).await,
        _ => bail!("the table has no row {row}"),
    }
}

/// Serves until killed, and tells where, as the service itself does.
async fn listen<S>(service: S) -> anyhow::Result<()>
where
    S: Service<http::Request<Body>, Error = Infallible, Response = http::Response<Body>> + NamedService + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let line = serde_json::json!({ "message": "listening", "address": listener.local_addr()?.to_string() });
    writeln!(std::io::stderr().lock(), "{line}")?;
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    Ok(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await?)
}
