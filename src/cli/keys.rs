//! `keys`: API keys, directly in the database. Who may open the database may do this; no call over the network may.

use std::io::{self, Write};

use anyhow::{Context, anyhow, ensure};
use clap::{Args, Subcommand, ValueEnum};
use jiff::{SpanRelativeTo, fmt::friendly::SpanParser};
use serde_json::json;

use crate::{
    config::storage::DatabaseArgs,
    domain::{
        api_key::{ApiKey, ApiKeyId, RANDOM_BYTES},
        principal::Permissions,
        secret::Secret,
        subject::ApplicationId,
        timestamp::{Clock, Timestamp},
    },
    repository::{ApiKeys, Repository, UnreadableApiKey},
};

#[derive(Args, Debug)]
pub(super) struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Subcommand, Debug)]
enum KeysCommand {
    /// Make a key and print it: the only time it is shown.
    Create(CreateArgs),
    /// Make another key that permits the same and print it; the old one works until it is revoked or expires.
    Rotate(RotateArgs),
    /// List keys, revoked and expired ones too.
    List(ListArgs),
    /// Revoke a key: every replica refuses it within 5 seconds.
    Revoke(RevokeArgs),
}

#[derive(Args, Debug)]
struct CreateArgs {
    /// Application the key is for.
    #[arg(long, value_name = "ID", value_parser = application)]
    application: ApplicationId,
    /// What the key permits: export, delete-messages, scoped-delete, import, admin, or logs for the first two; separated by commas.
    #[arg(long, value_name = "LIST")]
    permissions: Permissions,
    /// When the key ends: after a time (90d, 12h) or at one (2030-01-31T00:00:00Z). Never, if not given.
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Args, Debug)]
struct RotateArgs {
    /// The old key's id: the 16 digits after `udk_`.
    #[arg(value_name = "ID")]
    id: String,
    /// When the new key ends: after a time (90d, 12h) or at one (2030-01-31T00:00:00Z). Never, if not given.
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Args, Debug)]
struct ListArgs {
    /// Only the keys of this application.
    #[arg(long, value_name = "ID", value_parser = application)]
    application: Option<ApplicationId>,
    /// How to print them.
    #[arg(long, value_enum, default_value = "table")]
    list_format: Format,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Args, Debug)]
struct RevokeArgs {
    /// The key's id: the 16 digits after `udk_`.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum Format {
    Table,
    Json,
}

fn application(text: &str) -> Result<ApplicationId, String> {
    ApplicationId::parse(text).map_err(|complaint| complaint.to_string())
}

pub(super) async fn run(args: KeysArgs) -> anyhow::Result<()> {
    let clock = Clock::default();
    match args.command {
        KeysCommand::Create(args) => create(args, clock).await,
        KeysCommand::Rotate(args) => rotate(args, clock).await,
        KeysCommand::List(args) => list(args, clock).await,
        KeysCommand::Revoke(args) => revoke(args, clock).await,
    }
}

async fn create(args: CreateArgs, clock: Clock) -> anyhow::Result<()> {
    ensure!(args.permissions != Permissions::default(), "--permissions: name at least one");
    let name = args.application.as_str();
    let can_be_sent = name.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) && name.trim() == name;
    ensure!(can_be_sent, "--application: callers send it in a header, so use visible ASCII characters, and spaces only between them");
    let (key, text) = mint(args.application, args.permissions, args.expires.as_deref(), clock.now())?;
    let repository = open(&args.database, clock).await?;
    repository.insert_api_key(&key).await?;
    repository.close().await?;
    show(&key, &text)
}

async fn rotate(args: RotateArgs, clock: Clock) -> anyhow::Result<()> {
    let id = key_id(&args.id)?;
    let now = clock.now();
    let repository = open_existing(&args.database, clock).await?;
    let old = repository.find_api_key(&id).await?.with_context(|| unknown(&id))?;
    ensure!(old.is_live(now), "key {id} is revoked or has expired; make a new one with `keys create`");
    let (key, text) = mint(old.application, old.permissions, args.expires.as_deref(), now)?;
    repository.insert_api_key(&key).await?;
    repository.close().await?;
    show(&key, &text)?;
    Ok(writeln!(io::stderr().lock(), "Key {id} works on. When nobody uses it any more: `keys revoke {id}`.")?)
}

fn mint(application: ApplicationId, permissions: Permissions, expires: Option<&str>, now: Timestamp) -> anyhow::Result<(ApiKey, Secret)> {
    let expires_at = expires.map(|text| expiry(text, now)).transpose()?;
    let mut random = [0; RANDOM_BYTES];
    getrandom::fill(&mut random).map_err(|error| anyhow!("no random bytes: {error}"))?;
    Ok(ApiKey::mint(&random, application, permissions, now, expires_at))
}

fn show(key: &ApiKey, text: &Secret) -> anyhow::Result<()> {
    let ends = key.expires_at.map_or_else(|| "never expires".to_owned(), |at| format!("expires at {}", rfc3339(at)));
    writeln!(
        io::stderr().lock(),
        "Key {} for {} permits {} and {ends}. It is shown only now; keep it safe:",
        key.id,
        key.application.as_str(),
        key.permissions,
    )?;
    Ok(writeln!(io::stdout().lock(), "{}", text.expose())?)
}

/// The text is not repeated: by mistake it may be a whole key.
fn key_id(text: &str) -> anyhow::Result<ApiKeyId> {
    ApiKeyId::parse(text).context("the id of a key is 16 digits in lower-case hex; `keys list` shows it")
}

fn unknown(id: &ApiKeyId) -> String {
    format!("there is no key {id}; `keys list` shows those there are")
}

async fn list(args: ListArgs, clock: Clock) -> anyhow::Result<()> {
    let repository = open_existing(&args.database, clock).await?;
    let ApiKeys { keys, unreadable } = repository.list_api_keys(args.application.as_ref()).await?;
    repository.close().await?;
    for UnreadableApiKey { id, problem } in unreadable {
        let name = id.map_or_else(|| "a key whose id is none".to_owned(), |id| format!("key {id}"));
        writeln!(io::stderr().lock(), "{name} admits nobody, for it cannot be read: {problem}")?;
    }
    let mut out = io::stdout().lock();
    match args.list_format {
        Format::Json => {
            let keys: Vec<_> = keys.iter().map(as_json).collect();
            writeln!(out, "{:#}", serde_json::Value::Array(keys))?;
        }
        Format::Table => {
            let head = ["ID", "APPLICATION", "PERMISSIONS", "CREATED", "EXPIRES", "REVOKED"].map(str::to_owned);
            let rows: Vec<_> = std::iter::once(head).chain(keys.iter().map(as_row)).collect();
            let widths: [usize; 6] = std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
            for row in rows {
                let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
                writeln!(out, "{}", cells.join("  ").trim_end())?;
            }
        }
    }
    Ok(())
}

async fn revoke(args: RevokeArgs, clock: Clock) -> anyhow::Result<()> {
    let id = key_id(&args.id)?;
    let repository = open_existing(&args.database, clock).await?;
    let known = repository.revoke_api_key(&id, clock.now()).await?;
    repository.close().await?;
    ensure!(known, unknown(&id));
    Ok(writeln!(io::stderr().lock(), "Key {id} is revoked; every replica refuses it within 5 seconds.")?)
}

/// Opens the database as `serve` does: an SQLite file is migrated, a PostgreSQL schema must be current.
async fn open(database: &DatabaseArgs, clock: Clock) -> anyhow::Result<Repository> {
    let url = database.check()?;
    let repository = Repository::open(&url, 1, clock).await.with_context(|| format!("cannot open {url}"))?;
    repository.require_schema(false).await.with_context(|| format!("cannot use {url}"))?;
    Ok(repository)
}

/// The same, but a file that does not exist is a path that is wrong.
async fn open_existing(database: &DatabaseArgs, clock: Clock) -> anyhow::Result<Repository> {
    let url = database.check()?;
    ensure!(!url.is_absent(), "{url} does not exist; check --database-url");
    open(database, clock).await
}

/// A moment in the future, from `90d` or `2030-01-31T00:00:00Z`.
fn expiry(text: &str, now: Timestamp) -> anyhow::Result<Timestamp> {
    let wrong = || anyhow!("--expires: write a time from now (90d, 12h) or a moment (2030-01-31T00:00:00Z)");
    let nanos = match text.parse::<jiff::Timestamp>() {
        Ok(moment) => moment.as_nanosecond(),
        Err(_) => {
            let span = SpanParser::new().parse_span(text).map_err(|_| wrong())?;
            let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
            i128::from(now.0) + duration.as_nanos()
        }
    };
    let at = i64::try_from(nanos).map(Timestamp).map_err(|_| anyhow!("--expires: must be before the year 2262"))?;
    ensure!(at > now, "--expires: must be in the future");
    Ok(at)
}

fn rfc3339(at: Timestamp) -> String {
    let (seconds, _) = at.parts();
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |at| at.to_string())
}

fn as_json(key: &ApiKey) -> serde_json::Value {
    json!({
        "id": key.id.as_str(),
        "application": key.application.as_str(),
        "permissions": key.permissions.to_string().split_terminator(',').collect::<Vec<_>>(),
        "created": rfc3339(key.created_at),
        "expires": key.expires_at.map(rfc3339),
        "revoked": key.revoked_at.map(rfc3339),
    })
}

fn as_row(key: &ApiKey) -> [String; 6] {
    let moment = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), rfc3339);
    [
        key.id.to_string(),
        key.application.as_str().to_owned(),
        key.permissions.to_string(),
        rfc3339(key.created_at),
        moment(key.expires_at),
        moment(key.revoked_at),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000_000_000_000_000);
    const DAY: i64 = 86_400_000_000_000;

    #[test]
    fn a_key_ends_after_a_time_or_at_one() {
        assert_eq!(expiry("90d", NOW).unwrap(), Timestamp(NOW.0 + 90 * DAY));
        assert_eq!(expiry("1d 12h", NOW).unwrap(), Timestamp(NOW.0 + DAY * 3 / 2));
        assert_eq!(expiry("2002-01-01T01:00:00+01:00", NOW).unwrap(), Timestamp(1_009_843_200_000_000_000));
    }

    #[test]
    fn a_key_cannot_end_in_the_past_or_at_no_time() {
        for bad in ["", "90", "-1d", "0s", "2001-01-01T00:00:00Z", "tomorrow", "9999-01-01T00:00:00Z", "1 month"] {
            assert!(expiry(bad, NOW).is_err(), "{bad}");
        }
    }
}
