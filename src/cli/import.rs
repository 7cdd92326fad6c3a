//! `import FILE`.

use std::{
    io::{Write, stderr, stdout},
    path::PathBuf,
};

use anyhow::{Context, bail};
use clap::Args;
use indicatif::ProgressBar;
use tokio::{
    fs::File,
    io::{AsyncBufRead, AsyncBufReadExt, BufReader, stdin},
    sync::mpsc,
};

use super::{client_args::ServerArgs, progress};
use crate::{
    domain::subject::UserToken,
    grpc::{
        document::{Place, UserDocument, too_large},
        proto::{ImportUserDataRequest, ImportUserDataResponse, RecordRejection},
    },
};

/// Imports user documents from JSON Lines.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// JSON Lines, one user document per line; `-` for standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The server and the credential.
    #[command(flatten)]
    server: ServerArgs,
}

/// Requests that may wait to be sent.
const WAITING_REQUESTS: usize = 4;

/// What some editors write before the first line.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Runs the command.
///
/// # Errors
/// If the file cannot be read, the call failed, or anything was rejected; what was not rejected stays imported.
pub(super) async fn run(args: ImportArgs) -> anyhow::Result<()> {
    let (input, length): (Box<dyn AsyncBufRead + Unpin>, _) = if args.file.as_os_str() == "-" {
        (Box::new(BufReader::new(stdin())), None)
    } else {
        let file = File::open(&args.file).await.with_context(|| format!("cannot open {}", args.file.display()))?;
        let length = file.metadata().await.ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len());
        (Box::new(BufReader::new(file)), length)
    };
    let mut client = args.server.connect().await?;
    let bar = progress::bytes(length);
    let (sender, requests) = mpsc::channel(WAITING_REQUESTS);
    let mut feed = Feed { input, sender, bar: bar.clone(), begins: Vec::new(), users: 0, faults: 0 };
    let (fed, answered) = tokio::join!(
        async {
            let fed = feed.run().await;
            // The server answers when there are no more requests.
            drop(feed.sender);
            fed.map(|()| (feed.begins, feed.users, feed.faults))
        },
        client.import(requests)
    );
    bar.finish_and_clear();
    let answer = answered?;
    let (begins, users, faults) = fed?;
    report(&answer, &begins, users)?;
    if faults > 0 || answer.rejected > 0 {
        bail!("{} records were rejected, and {faults} lines could not be sent; the others are imported", answer.rejected);
    }
    Ok(())
}

/// Turns lines into requests.
struct Feed {
    input: Box<dyn AsyncBufRead + Unpin>,
    sender: mpsc::Sender<ImportUserDataRequest>,
    bar: ProgressBar,
    /// For each request sent, the line it comes from and where in its document it begins.
    begins: Vec<(u64, Place)>,
    users: u64,
    faults: u64,
}

impl Feed {
    /// Sends the whole input; ends early if the server no longer listens, whose answer then says why.
    async fn run(&mut self) -> anyhow::Result<()> {
        let mut line = Vec::new();
        for number in 1_u64.. {
            line.clear();
            let bytes = self.input.read_until(b'\n', &mut line).await.context("cannot read the input")?;
            if bytes == 0 || self.sender.is_closed() {
                break;
            }
            self.bar.inc(bytes as u64);
            if number == 1 && line.starts_with(BYTE_ORDER_MARK) {
                line.drain(..BYTE_ORDER_MARK.len());
            }
            if !line.trim_ascii().is_empty() {
                match self.line(number, &line).await {
                    Ok(true) => self.users += 1,
                    Ok(false) => break,
                    Err(problem) => {
                        self.faults += 1;
                        self.bar.suspend(|| writeln!(stderr().lock(), "line {number}: {problem}"))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Sends one document; `false` if the server no longer listens.
    async fn line(&mut self, number: u64, line: &[u8]) -> anyhow::Result<bool> {
        let document = UserDocument::parse(line)?;
        if let Err(complaint) = UserToken::parse(document.user_token.as_str()) {
            bail!("userToken {complaint}");
        }
        let mut place = Place::default();
        for request in document.into_requests() {
            let begin = place.pass(&request);
            if let Some(problem) = too_large(&request) {
                bail!("{problem}; what stands before it is imported");
            }
            self.begins.push((number, begin));
            if self.sender.send(request).await.is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn report(answer: &ImportUserDataResponse, begins: &[(u64, Place)], users: u64) -> anyhow::Result<()> {
    let mut err = stderr().lock();
    for rejection in &answer.rejections {
        writeln!(err, "{}", explain(rejection, begins))?;
    }
    let counts = answer.imported.unwrap_or_default();
    let mut out = stdout().lock();
    writeln!(out, "users: {users}")?;
    writeln!(out, "conversations: {}", counts.conversations)?;
    writeln!(out, "messages: {}", counts.messages)?;
    writeln!(out, "feedback: {}", counts.feedback)?;
    writeln!(out, "memories: {}", counts.memories)?;
    writeln!(out, "uploads: {}", counts.uploads)?;
    writeln!(out, "assistants: {}", counts.assistants)?;
    writeln!(out, "sessions: {}", counts.sessions)?;
    writeln!(out, "compaction_cache: {}", counts.compaction_cache)?;
    writeln!(out, "rejected: {}", answer.rejected)?;
    Ok(())
}

/// A rejection, with the line of the file and the path in its document.
fn explain(rejection: &RecordRejection, begins: &[(u64, Place)]) -> String {
    let found = rejection.field.strip_prefix("requests[").and_then(|field| field.split_once("].")).and_then(|(index, field)| {
        let (line, begin) = begins.get(index.parse::<usize>().ok()?)?;
        Some(format!("line {line}: {} {}", begin.path(field), rejection.description))
    });
    found.unwrap_or_else(|| format!("{} {}", rejection.field, rejection.description))
}
