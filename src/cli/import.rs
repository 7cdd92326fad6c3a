//! `import FILE`.

use std::{
    io::{Write, stderr, stdout},
    path::PathBuf,
    time::{Duration, Instant},
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
    config::duration,
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
    /// After how long the next line begins another call: less than the server gives one (`--max-stream-duration`). When a call breaks off,
    /// what is known to be imported ends with the one before.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration::parse)]
    call_duration: Duration,
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
    let mut feed = Feed { input, bar: progress::bytes(length), lines: 0, users: 0, faults: 0 };
    let (mut imported, mut rejected) = ([0; 8], 0);
    let broken = loop {
        let (sender, requests) = mpsc::channel(WAITING_REQUESTS);
        let before = feed.lines;
        let (fed, answered) = tokio::join!(feed.run(sender, args.call_duration), client.import(requests));
        let answer = match answered {
            Ok(answer) => answer,
            Err(error) => break Some((error, before)),
        };
        let begins = fed.inspect_err(|_| feed.bar.finish_and_clear())?;
        feed.bar.suspend(|| answer.rejections.iter().try_for_each(|rejection| writeln!(stderr(), "{}", explain(rejection, &begins))))?;
        for (imported, (_, count)) in imported.iter_mut().zip(counts(&answer)) {
            *imported += i64::from(count);
        }
        rejected += i64::from(answer.rejected);
        if feed.input.fill_buf().await.context("cannot read the input")?.is_empty() {
            break None;
        }
    };
    feed.bar.finish_and_clear();
    let broken = match broken {
        Some((error, 0)) => return Err(error.into()),
        broken => broken,
    };
    let mut out = stdout().lock();
    writeln!(out, "users: {}", feed.users)?;
    for ((kind, _), imported) in counts(&ImportUserDataResponse::default()).iter().zip(imported) {
        writeln!(out, "{kind}: {imported}")?;
    }
    writeln!(out, "rejected: {rejected}")?;
    if let Some((error, line)) = broken {
        bail!("{error}; that was after line {line}, or some lines later: go on with those from {} on", line + 1);
    }
    if feed.faults > 0 || rejected > 0 {
        bail!("{rejected} records were rejected, and {} lines could not be sent; the others are imported", feed.faults);
    }
    Ok(())
}

/// For each request sent, the line it comes from and where in its document it begins.
type Begins = Vec<(u64, Place)>;

/// Turns lines into requests.
struct Feed {
    input: Box<dyn AsyncBufRead + Unpin>,
    bar: ProgressBar,
    /// How many were read.
    lines: u64,
    users: u64,
    faults: u64,
}

impl Feed {
    /// Sends the lines of one call; ends early if the server no longer listens, whose answer then says why. It answers when the sender is
    /// gone.
    async fn run(&mut self, sender: mpsc::Sender<ImportUserDataRequest>, duration: Duration) -> anyhow::Result<Begins> {
        let (mut begins, mut line, begun) = (Begins::new(), Vec::new(), Instant::now());
        while (begins.is_empty() || begun.elapsed() < duration) && !sender.is_closed() {
            line.clear();
            let bytes = self.input.read_until(b'\n', &mut line).await.context("cannot read the input")?;
            if bytes == 0 {
                break;
            }
            self.lines += 1;
            self.bar.inc(bytes as u64);
            if self.lines == 1 && line.starts_with(BYTE_ORDER_MARK) {
                line.drain(..BYTE_ORDER_MARK.len());
            }
            if !line.trim_ascii().is_empty() {
                match send(self.lines, &line, &sender, &mut begins).await {
                    Ok(true) => self.users += 1,
                    Ok(false) => break,
                    Err(problem) => {
                        self.faults += 1;
                        let number = self.lines;
                        self.bar.suspend(|| writeln!(stderr().lock(), "line {number}: {problem}"))?;
                    }
                }
            }
        }
        Ok(begins)
    }
}

/// Sends one document; `false` if the server no longer listens.
async fn send(number: u64, line: &[u8], sender: &mpsc::Sender<ImportUserDataRequest>, begins: &mut Begins) -> anyhow::Result<bool> {
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
        begins.push((number, begin));
        if sender.send(request).await.is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn counts(answer: &ImportUserDataResponse) -> [(&'static str, i32); 8] {
    let counts = answer.imported.unwrap_or_default();
    [
        ("conversations", counts.conversations),
        ("messages", counts.messages),
        ("feedback", counts.feedback),
        ("memories", counts.memories),
        ("uploads", counts.uploads),
        ("assistants", counts.assistants),
        ("sessions", counts.sessions),
        ("compaction_cache", counts.compaction_cache),
    ]
}

/// A rejection, with the line of the file and the path in its document.
fn explain(rejection: &RecordRejection, begins: &[(u64, Place)]) -> String {
    let found = rejection.field.strip_prefix("requests[").and_then(|field| field.split_once("].")).and_then(|(index, field)| {
        let (line, begin) = begins.get(index.parse::<usize>().ok()?)?;
        Some(format!("line {line}: {} {}", begin.path(field), rejection.description))
    });
    found.unwrap_or_else(|| format!("{} {}", rejection.field, rejection.description))
}
