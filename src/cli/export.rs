//! `export USER`.

use std::{
    io::{BufWriter, Write, stderr, stdout},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use futures::FutureExt;
use jiff::Timestamp;
use tempfile::{Builder, NamedTempFile};

use super::{client_args::ServerArgs, progress, serve::told_to_stop};
use crate::grpc::{
    client::Export,
    document::{Item, Line, UserDocument},
    proto::{Category, ExportSummary, ExportUserDataRequest},
};

/// Exports everything held about a user.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// The user token.
    #[arg(value_name = "USER")]
    user: String,
    /// One JSON document, or JSON Lines with a record each, which need no memory.
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
    /// Spread the JSON document over lines; without, it is one line that `import` takes, save messages and feedback without their
    /// conversations.
    #[arg(long)]
    pretty: bool,
    /// The file to write; standard output if absent. It appears when the export is complete.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Only these categories; repeat it or separate them by commas.
    #[arg(long, value_enum, value_delimiter = ',')]
    category: Vec<CategoryName>,
    /// Also forgotten and soft-deleted records, marked; needs the permission `admin`.
    #[arg(long)]
    include_deleted: bool,
    /// Also the content of uploads, as base64.
    #[arg(long)]
    with_content: bool,
    /// The server and the credential.
    #[command(flatten)]
    server: ServerArgs,
}

/// How an export is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Format {
    /// One JSON document that nests as the HTTP documents do.
    Json,
    /// JSON Lines, a record each.
    Jsonl,
}

/// A category on the command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum CategoryName {
    /// Conversations, without what is nested in them.
    Conversations,
    /// Messages.
    Messages,
    /// Feedback.
    Feedback,
    /// Memories.
    Memories,
    /// Uploads.
    Uploads,
    /// Assistants.
    Assistants,
    /// Sessions.
    Sessions,
    /// Compaction cache.
    CompactionCache,
}

impl From<CategoryName> for Category {
    fn from(name: CategoryName) -> Self {
        match name {
            CategoryName::Conversations => Self::Conversations,
            CategoryName::Messages => Self::Messages,
            CategoryName::Feedback => Self::Feedback,
            CategoryName::Memories => Self::Memories,
            CategoryName::Uploads => Self::Uploads,
            CategoryName::Assistants => Self::Assistants,
            CategoryName::Sessions => Self::Sessions,
            CategoryName::CompactionCache => Self::CompactionCache,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// If the call failed, the export is not whole, or it cannot be written.
pub(super) async fn run(args: ExportArgs) -> anyhow::Result<()> {
    let client = args.server.connect().await?;
    let export = client.export(ExportUserDataRequest {
        user_token: args.user.clone(),
        categories: args.category.iter().map(|name| Category::from(*name).into()).collect(),
        resume_token: String::new(),
        include_deleted: args.include_deleted,
        include_upload_content: args.with_content,
    });
    let written = match &args.output {
        None => write(export, &args, &mut BufWriter::new(stdout())).await?,
        Some(path) => {
            let file = unfinished(path)?;
            let mut stopped = Box::pin(told_to_stop()?);
            let mut out = BufWriter::new(&file);
            let written = tokio::select! {
                written = write(export, &args, &mut out) => Some(written?),
                () = &mut stopped => None,
            };
            drop(out);
            // It may have been told while the document was written, which does not wait for anything.
            let Some(written) = written.filter(|_| stopped.now_or_never().is_none()) else {
                bail!("the export was interrupted; {} was not written", path.display());
            };
            file.as_file().sync_all().with_context(|| format!("cannot write {}", path.display()))?;
            file.persist(path).map_err(|error| error.error).with_context(|| format!("cannot create {}", path.display()))?;
            written
        }
    };
    report(&written).context("cannot write to standard error")
}

/// What was written.
struct Written {
    summary: ExportSummary,
    missing: u64,
}

async fn write(mut export: Export, args: &ExportArgs, out: &mut impl Write) -> anyhow::Result<Written> {
    let cannot_write = "cannot write the export";
    let bar = progress::bytes(None);
    let mut document = UserDocument::new(&args.user);
    let mut missing = 0;
    while let Some(items) = export.next().await? {
        for item in items {
            missing += u64::from(matches!(&item, Item::UploadContent(piece) if piece.missing));
            match args.format {
                Format::Json => document.push(item)?,
                Format::Jsonl => {
                    serde_json::to_writer(&mut *out, &Line { user_token: &args.user, item: &item }).context(cannot_write)?;
                    out.write_all(b"\n").context(cannot_write)?;
                }
            }
        }
        bar.set_position(export.bytes());
        bar.set_message(format!("{} records", export.counts().total()));
    }
    bar.finish_and_clear();
    if args.format == Format::Json {
        let written =
            if args.pretty { serde_json::to_writer_pretty(&mut *out, &document) } else { serde_json::to_writer(&mut *out, &document) };
        written.context(cannot_write)?;
        out.write_all(b"\n").context(cannot_write)?;
    }
    out.flush().context(cannot_write)?;
    let summary = export.summary().context("the export has no summary")?.clone();
    Ok(Written { summary, missing })
}

fn report(written: &Written) -> std::io::Result<()> {
    let Written { summary, missing } = written;
    let counts = summary.counts.unwrap_or_default();
    let mut err = stderr().lock();
    writeln!(
        err,
        "exported: {} conversations, {} messages, {} feedback, {} memories, {} uploads, {} assistants, {} sessions, {} compaction cache entries",
        counts.conversations,
        counts.messages,
        counts.feedback,
        counts.memories,
        counts.uploads,
        counts.assistants,
        counts.sessions,
        counts.compaction_cache
    )?;
    let as_of = summary.as_of.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok());
    let as_of = as_of.map_or_else(String::new, |time| format!(", as of {time}"));
    writeln!(err, "{} bytes, sha256 {}{as_of}", summary.bytes, summary.sha256)?;
    if *missing > 0 {
        writeln!(err, "the object store holds no content for {missing} of the uploads")?;
    }
    Ok(())
}

/// A file beside `target` that is removed unless it is persisted, so that half an export is never taken for a whole one. Only its owner may
/// read it.
fn unfinished(target: &Path) -> anyhow::Result<NamedTempFile> {
    let mut name = target.file_name().with_context(|| format!("{} names no file", target.display()))?.to_owned();
    name.push(".");
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = Builder::new().prefix(&name).suffix(".unfinished").tempfile_in(folder);
    file.with_context(|| format!("cannot create a file in {}", folder.display()))
}
