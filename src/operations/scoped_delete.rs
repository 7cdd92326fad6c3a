//! ScopedDelete: first the objects of the vault, which no transaction covers, then everything in the database in one effect. The epoch is
//! raised before the first object goes, so that no export shows a vault that is half erased. An import in between has it begin again.

use futures::join;

use super::{Error, Stores};
use crate::{
    domain::{
        report::{ScopesErased, UploadFailure},
        scope::Scopes,
        subject::Subject,
    },
    repository::{self, Tries, in_own_task},
};

/// Erases the scopes of the subject. An upload whose object cannot be removed is named in the report, and its record left alone.
///
/// # Errors
/// When the database does not answer, or imports bring new uploads again and again; then no record has changed, and objects that are gone
/// already will count as removed by the next try.
pub async fn scoped_delete(stores: &Stores, subject: &Subject, scopes: Scopes) -> Result<ScopesErased, Error> {
    let mut tries = Tries::new("scoped_delete");
    loop {
        let vaulted = if scopes.chosen().vault { remove_objects(stores, subject).await? } else { Removals::default() };
        let erased = if vaulted.removed.is_empty() {
            erase_records(stores, subject, scopes, vaulted).await
        } else {
            // A caller that leaves now must not leave content behind that was imported after the removal, with a record that says it is
            // deleted.
            let (stores, subject) = (stores.clone(), subject.clone());
            in_own_task(async move { erase_records(&stores, &subject, scopes, vaulted).await }).await
        };
        match erased {
            Err(error @ repository::Error::ImportedMeanwhile) if tries.again(&error.to_string()) => {}
            outcome => return Ok(outcome?),
        }
    }
}

async fn erase_records(stores: &Stores, subject: &Subject, scopes: Scopes, vaulted: Removals) -> Result<ScopesErased, repository::Error> {
    let mut report = stores.repository.erase_scopes(subject, scopes, &vaulted.removed, &vaulted.failed).await?;
    report.uploads_failed = vaulted.failed;
    join!(stores.repository.empty_log_of_erased(), remove_again(stores, subject, &vaulted.removed));
    Ok(report)
}

/// Removes what an import may have written after the first removal and before the uploads were marked. Later it finds them marked, and
/// takes its content back itself.
async fn remove_again(stores: &Stores, subject: &Subject, removed: &[String]) {
    if !removed.is_empty() && stores.vault.remove_what_is_left(subject, removed).await.is_err() {
        tracing::error!("objects were removed but it could not be seen to that they stay so; what was imported meanwhile is still there");
    }
}

/// What became of the objects of a subject's personal uploads.
#[derive(Default)]
struct Removals {
    removed: Vec<String>,
    failed: Vec<UploadFailure>,
}

async fn remove_objects(stores: &Stores, subject: &Subject) -> Result<Removals, Error> {
    let Stores { repository, vault } = stores;
    let upload_ids = repository.reading().await?.personal_uploads(subject).await?;
    // Where there is no object, nobody can see a vault half erased. A store that does not tell is asked to remove them all the same.
    if upload_ids.is_empty() || vault.is_empty(subject).await.unwrap_or(false) {
        return Ok(Removals { removed: upload_ids, failed: Vec::new() });
    }
    repository.begin_erasure(subject).await?;
    let outcomes = vault.remove(subject, &upload_ids).await;
    let mut removals = Removals::default();
    for (upload_id, outcome) in upload_ids.into_iter().zip(outcomes) {
        match outcome {
            Ok(()) => removals.removed.push(upload_id),
            Err(error) => removals.failed.push(UploadFailure { upload_id, error: error.to_string() }),
        }
    }
    Ok(removals)
}
