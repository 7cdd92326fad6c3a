//! `demo`: the service with invented users, in a local folder, and calls to paste.

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
};

use anyhow::{Context, anyhow};
use tokio_util::sync::CancellationToken;

use super::{sample, serve::told_to_stop};
use crate::{
    config::{
        ServerConfig, auth::AuthConfig, limits::LimitsConfig, listen::ListenConfig, log::LogConfig, storage::StorageConfig, tls::TlsArgs,
    },
    domain::{
        api_key::{ApiKey, RANDOM_BYTES},
        principal::{Permission, Permissions},
        secret::Secret,
        subject::ApplicationId,
        timestamp::Clock,
    },
    grpc::{
        client::{Client, ClientTls, Credential},
        document::UserDocument,
    },
    repository::Repository,
    server::Server,
    telemetry,
};

const APPLICATION: &str = "DEMO";
const USERS: u64 = 36;
const SEED: u64 = 1;
const CONNECTIONS: u32 = 4;

#[derive(clap::Args, Debug)]
pub(super) struct DemoArgs {
    /// Folder for the database and the uploads. Remove it to begin anew.
    #[arg(long, value_name = "FOLDER", default_value = "userdata-demo")]
    demo_folder: PathBuf,
    #[command(flatten)]
    listen: ListenConfig,
    #[command(flatten)]
    limits: LimitsConfig,
    #[command(flatten)]
    log: LogConfig,
}

pub(super) async fn run(args: DemoArgs) -> anyhow::Result<()> {
    let tls = TlsArgs::default().check(&args.listen)?;
    telemetry::start(&args.log)?;
    let clock = Clock::default();
    let folder = std::path::absolute(&args.demo_folder).context("--demo-folder")?;
    let storage = StorageConfig {
        database: format!("sqlite://{}", folder.join("userdata.db").display()).parse()?,
        database_max_connections: CONNECTIONS,
        object_store: format!("file://{}", folder.join("objects").display()).parse()?,
    };
    // The key first: the server reads the keys when it is built.
    let repository = Repository::open(&storage.database, 1, clock).await?;
    repository.require_schema(true).await?;
    let (key, is_new) = replace_key(&repository, clock).await?;
    repository.close().await?;

    let config = ServerConfig { storage, listen: args.listen, tls, limits: args.limits, auth: AuthConfig::default(), log: args.log };
    let server = Server::build(config, true, clock).await?;
    let address = server.address();
    let failed = CancellationToken::new();
    let (stop, give_up) = (told_to_stop()?, failed.clone());
    let running = tokio::spawn(server.run(async move {
        tokio::select! {
            () = stop => {}
            () = give_up.cancelled() => {}
        }
    }));
    let filled = if is_new { fill(address, &key).await } else { Ok(()) };
    let begun = filled.and_then(|()| explain(address, &key, &folder.display().to_string()));
    if begun.is_err() {
        failed.cancel();
    }
    running.await.context("the server stopped")??;
    begun
}

/// Makes a key that may do everything, and revokes those of earlier demos; tells whether there were none.
async fn replace_key(repository: &Repository, clock: Clock) -> anyhow::Result<(Secret, bool)> {
    let application = ApplicationId::parse(APPLICATION)?;
    let now = clock.now();
    let earlier = repository.list_api_keys(Some(&application)).await?.keys;
    for key in &earlier {
        repository.revoke_api_key(&key.id, now).await?;
    }
    let mut random = [0; RANDOM_BYTES];
    getrandom::fill(&mut random).map_err(|error| anyhow!("no random bytes: {error}"))?;
    let permissions: Permissions = Permission::ALL.into_iter().collect();
    let (key, text) = ApiKey::mint(&random, application, permissions, now, None);
    repository.insert_api_key(&key).await?;
    Ok((text, earlier.is_empty()))
}

/// Imports the invented users, as any client would: into a new folder only, for what was erased since shall not come back.
async fn fill(address: SocketAddr, key: &Secret) -> anyhow::Result<()> {
    // The port is bound: the connection waits until the server takes it.
    let credential = Credential::api_key(APPLICATION, key.expose())?;
    let mut client = Client::connect(&format!("http://{address}"), ClientTls::default(), credential).await?;
    let (requests, receiver) = tokio::sync::mpsc::channel(4);
    let invent = tokio::task::spawn_blocking(move || {
        for request in sample::documents(SEED, USERS, None).flat_map(UserDocument::into_requests) {
            // A closed channel means that the import has failed, and says why itself.
            if requests.blocking_send(request).is_err() {
                break;
            }
        }
    });
    let outcome = client.import(receiver).await?;
    invent.await?;
    anyhow::ensure!(outcome.rejected == 0, "{} invented records were rejected", outcome.rejected);
    Ok(())
}

/// Prints what is running, and calls to paste.
fn explain(address: SocketAddr, key: &Secret, folder: &str) -> anyhow::Result<()> {
    let server = format!("http://{address}");
    // One of whom an erasure of everything personal erases dialogues.
    let has_dialogues = |user: &UserDocument| user.conversations.iter().any(|conversation| conversation.institution_id.is_none());
    let example = sample::documents(SEED, USERS, None).find(has_dialogues).context("no such user was invented")?.user_token;
    let key = key.expose();
    writeln!(
        io::stdout().lock(),
        r#"
userdata is serving on {address}, with SQLite and uploads in {folder}

  application  {APPLICATION}
  API key      {key}
  users        {USERS} invented ones, as `userdata generate --users {USERS} --seed {SEED}` writes them

Look at what there is:

  export USERDATA_SERVER={server} USERDATA_APPLICATION={APPLICATION} USERDATA_API_KEY={key}
  cargo run --release -- export {example} --pretty

  grpcurl -plaintext -H 'x-application-id: {APPLICATION}' -H 'x-api-key: {key}' \
    -d '{{"userToken": "{example}"}}' {address} userdata.v1.UserDataService/ExportUserData

  buf curl --protocol grpc --http2-prior-knowledge -H 'x-application-id: {APPLICATION}' -H 'x-api-key: {key}' \
    -d '{{"userToken": "{example}"}}' {server}/userdata.v1.UserDataService/ExportUserData

Erase:

  cargo run --release -- delete-messages {example} --yes
  cargo run --release -- scoped-delete {example} --all --yes

  grpcurl -plaintext -H 'x-application-id: {APPLICATION}' -H 'x-api-key: {key}' \
    -d '{{"userToken": "{example}", "dialogues": true, "vault": true}}' {address} userdata.v1.UserDataService/ScopedDelete

Ctrl-C stops it. Remove {folder} to begin anew.
"#
    )?;
    Ok(())
}
