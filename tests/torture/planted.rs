//! Known mistakes, planted one at a time: each must be found, and by a promise that the sound program keeps. docs/erasure.md lists them.

use std::time::Duration;

use futures::{StreamExt, stream};
use tonic::Code;
use userdata::{
    grpc::proto::{Conversation, ExportUserDataRequest, ExportUserDataResponse},
    repository::Engine::{self, Postgres, Sqlite},
};

use crate::{
    program::{Client, Stores},
    promises::{self, Promise},
    trial::Trial,
};

/// Told where the erasure finds it itself: what the program logs then.
const FOUND_BY_ITSELF: &str = "rows remained after an erasure";

/// A mistake, where it shows, the promise it breaks, and how that is told.
const PLANTED: [(&str, Engine, Promise, &str); 18] = [
    ("bug.acknowledged-before-commit", Sqlite, Promise::Acknowledged, "acknowledged is not there"),
    ("bug.epoch-not-raised", Postgres, Promise::ExportEnds, "as if nothing had been erased"),
    ("bug.epoch-not-checked", Sqlite, Promise::ExportEnds, "as if nothing had been erased"),
    // The statement that takes the lock raises the revision.
    ("bug.import-takes-no-lock", Postgres, Promise::ReplacedRecordVoidsPlan, "something else was erased"),
    ("bug.late-records-taken", Sqlite, Promise::LateRecordsAreRejected, "a late job brought back"),
    ("bug.observed-epoch-ignored", Postgres, Promise::ObservedEpochCounts, "made of erased messages was taken"),
    ("bug.request-not-compared", Sqlite, Promise::AnotherRequestIsRefused, "the id of another request was taken"),
    ("bug.response-not-stored", Postgres, Promise::FirstResponseAgain, "another response"),
    ("bug.plan-not-compared", Sqlite, Promise::PlanIsKept, "more was erased"),
    ("bug.memories-missed", Postgres, Promise::NothingRemains, FOUND_BY_ITSELF),
    ("bug.memories-missed=return;bug.not-verified", Sqlite, Promise::NothingRemains, "still there"),
    ("bug.only-one-conversation=return;bug.not-verified", Postgres, Promise::NothingRemains, "still there"),
    ("bug.notes-not-scrubbed", Postgres, Promise::TextsAreScrubbed, FOUND_BY_ITSELF),
    ("bug.notes-not-scrubbed=return;bug.not-verified", Sqlite, Promise::TextsAreScrubbed, "still there"),
    ("bug.marked-before-removal", Sqlite, Promise::FailedFilesAreNamed, "the answer does not name"),
    ("bug.removal-not-checked", Postgres, Promise::FailedFilesAreNamed, "the answer does not name"),
    ("bug.failed-files-forgotten", Sqlite, Promise::FailedFilesHeal, "nobody removed a file"),
    ("bug.worker-does-nothing", Postgres, Promise::FailedFilesHeal, "nobody removed a file"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_planted_mistake_is_found_and_the_sound_program_makes_none() {
    let trial = Trial::begin("planted mistakes");
    let sound = PLANTED.map(|(_, engine, promise, told)| ("", engine, promise, told));
    let runs: Vec<_> = sound.into_iter().chain(PLANTED).collect();
    let outcomes = stream::iter(runs).map(async |(planted, engine, promise, told)| {
        let stores = Stores::make(engine).await;
        let failpoints = if planted.is_empty() { String::new() } else { format!("{planted}=return") };
        let program = stores.serve(&failpoints).await;
        let mut kept = promises::keep(promise, &stores, &program.client()).await;
        if kept.as_ref().is_err_and(|found| found.starts_with("Internal: ")) {
            program.says(FOUND_BY_ITSELF, Duration::from_secs(10)).await;
            kept = Err(program.log());
        }
        (planted, engine, promise, told, kept)
    });
    let mut outcomes = outcomes.buffer_unordered(4);
    while let Some((planted, engine, promise, told, kept)) = outcomes.next().await {
        match (planted, kept) {
            ("", kept) => trial.check(kept.is_ok(), || format!("{promise:?} on {engine:?} is broken: {}", kept.unwrap_err())),
            (planted, kept) => {
                trial.tried("planted mistakes", 1);
                // By that promise, and not by a program that cannot be reached.
                let is_found = kept.as_ref().is_err_and(|found| found.contains(told));
                trial.tried("found", usize::from(is_found));
                trial.check(is_found, || format!("{planted} on {engine:?} was not found by {promise:?}: {kept:?}"));
            }
        }
    }
    drop(outcomes);
    trial.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_panics_is_told_of_and_goes_on() {
    let stores = Stores::make(Sqlite).await;
    let program = stores.serve("worker.before_removal=1*panic").await;
    promises::keep(Promise::FailedFilesHeal, &stores, &program.client()).await.unwrap();
    program.says("removing files of erased uploads panicked", Duration::from_secs(10)).await;
}

/// What an export shows, or the status it ends with.
pub(crate) async fn export(client: &mut Client, user_token: &str) -> Result<ExportUserDataResponse, tonic::Status> {
    let request = ExportUserDataRequest { user_token: user_token.to_owned(), ..Default::default() };
    let mut frames = client.users.export_user_data(request).await?.into_inner();
    let mut all = ExportUserDataResponse::default();
    while let Some(frame) = frames.message().await? {
        all.conversations.extend(frame.conversations);
        all.feedback.extend(frame.feedback);
        all.memories.extend(frame.memories);
        all.uploads.extend(frame.uploads);
        all.summary = frame.summary;
    }
    if all.summary.is_none() {
        return Err(tonic::Status::new(Code::Unknown, "no summary"));
    }
    Ok(all)
}

/// How many messages an export shows.
pub(crate) fn messages(shown: &ExportUserDataResponse) -> usize {
    shown.conversations.iter().map(|conversation: &Conversation| conversation.messages.len()).sum()
}
