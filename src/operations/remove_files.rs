//! Removing the objects of uploads that erasures have accepted: by the erasure itself, and, where that could not, by the worker of any replica,
//! again and again until they are gone.

use std::{collections::HashSet, convert::Infallible, panic::AssertUnwindSafe};

use futures::FutureExt;
use tokio::time::sleep;

use super::{Error, Stores};
use crate::{
    domain::{report::UploadFailure, subject::Subject},
    fault::{crash_at, planted},
    repository::{Claim, LEASE, Removals},
};

const STILL_THERE: &str = "the object store still lists it";

/// What became of objects, and how many are still listed.
pub(super) struct Outcome {
    pub(super) removals: Removals,
    pub(super) objects_left: u64,
}

/// Removes the objects of uploads, and looks whether they are gone: only what a listing does not show counts as removed. However long that
/// takes, no worker takes it for given up.
pub(super) async fn remove(stores: &Stores, subject: &Subject, upload_ids: &[String]) -> Outcome {
    tokio::select! {
        outcome = remove_and_look(stores, subject, upload_ids) => outcome,
        never = keep(stores, subject, upload_ids) => match never {},
    }
}

async fn keep(stores: &Stores, subject: &Subject, upload_ids: &[String]) -> Infallible {
    loop {
        sleep(LEASE / 3).await;
        if let Err(error) = stores.repository.keep_removals(subject, upload_ids).await {
            tracing::warn!(%error, "others may begin to remove the same files");
        }
    }
}

async fn remove_and_look(stores: &Stores, subject: &Subject, upload_ids: &[String]) -> Outcome {
    crash_at("erasure.before_removal");
    let removed = stores.vault.remove(subject, upload_ids).await;
    crash_at("erasure.after_removal");
    let listed = stores.vault.which_are_there(subject, upload_ids).await.map(HashSet::<String>::from_iter);
    let mut removals = Removals::default();
    for (upload_id, removed) in upload_ids.iter().zip(removed) {
        let gone = match (&removed, &listed) {
            _ if planted("bug.removal-not-checked") => Ok(()),
            (Err(error), _) | (Ok(()), Err(error)) => Err(error.to_string()),
            (Ok(()), Ok(listed)) if listed.contains(upload_id) => Err(STILL_THERE.to_owned()),
            (Ok(()), Ok(_)) => Ok(()),
        };
        match gone {
            Ok(()) => removals.removed.push(upload_id.clone()),
            Err(error) => removals.failed.push(UploadFailure { upload_id: upload_id.clone(), error }),
        }
    }
    let objects_left = listed.map_or(removals.failed.len(), |listed| listed.len()) as u64;
    Outcome { removals, objects_left }
}

/// Tries once to remove what is due. What cannot be, for whatever reason, is due again later, and keeps nothing else.
///
/// # Errors
/// When the database does not say what is due.
pub async fn remove_files_due(stores: &Stores) -> Result<(), Error> {
    for claim in stores.repository.claim_removals().await? {
        match AssertUnwindSafe(remove_claimed(stores, &claim)).catch_unwind().await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "which files are removed could not be noted; it is tried again"),
            // Where, the log has said already.
            Err(_) => tracing::error!("removing files of erased uploads panicked; it is tried again"),
        }
    }
    Ok(())
}

async fn remove_claimed(stores: &Stores, claim: &Claim) -> Result<(), Error> {
    crash_at("worker.before_removal");
    let Outcome { removals, .. } = remove(stores, &claim.subject, &claim.upload_ids).await;
    crash_at("worker.after_removal");
    stores.repository.finish_removals(claim, &removals).await?;
    stores.repository.empty_log_of_erased().await;
    tracing::info!(removed = removals.removed.len(), failed = removals.failed.len(), "tried again to remove files of erased uploads");
    Ok(())
}
