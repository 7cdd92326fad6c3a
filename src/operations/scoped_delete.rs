//! ScopedDelete: first the objects of the vault, which no transaction covers, then everything in the database in one effect. The epoch is
//! raised before the first object goes, so that no export shows a vault that is half erased.

use super::{Error, Stores};
use crate::{
    domain::{
        report::{ScopesErased, UploadFailure},
        scope::Scopes,
        subject::Subject,
    },
    repository::{PageSize, in_own_task},
};

/// Erases the scopes of the subject. An upload whose object cannot be removed is named in the report, and its record left alone.
///
/// # Errors
/// When the database does not answer; then no record has changed, and objects that are gone already will count as removed by the next try.
pub async fn scoped_delete(stores: &Stores, subject: &Subject, scopes: Scopes) -> Result<ScopesErased, Error> {
    let vaulted = if scopes.chosen().vault { remove_objects(stores, subject).await? } else { Removals::default() };
    if vaulted.removed.is_empty() {
        return erase_records(stores, subject, scopes, vaulted).await;
    }
    // A caller that leaves now must not leave content behind that was imported after the removal, with a record that says it is deleted.
    let (stores, subject) = (stores.clone(), subject.clone());
    in_own_task(async move { erase_records(&stores, &subject, scopes, vaulted).await }).await
}

async fn erase_records(stores: &Stores, subject: &Subject, scopes: Scopes, vaulted: Removals) -> Result<ScopesErased, Error> {
    let mut report = stores.repository.erase_scopes(subject, scopes, &vaulted.removed).await?;
    report.uploads_failed = vaulted.failed;
    remove_again(stores, subject, &vaulted.removed).await;
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
    let mut removals = Removals::default();
    let Some(held) = repository.begin_erasing_uploads(subject).await? else { return Ok(removals) };
    let (mut after, mut size) = (None, PageSize::default());
    loop {
        let page = repository.reading().await?.personal_uploads(&held, after.as_ref(), &mut size).await?;
        after = page.records.last().map(|upload| upload.key.clone());
        let upload_ids: Vec<&str> = page.records.iter().map(|upload| upload.key.id.as_str()).collect();
        let outcomes = vault.remove(subject, &upload_ids).await;
        for (upload, outcome) in page.records.into_iter().zip(outcomes) {
            let upload_id = upload.key.id;
            match outcome {
                Ok(()) => removals.removed.push(upload_id),
                Err(error) => removals.failed.push(UploadFailure { upload_id, error: error.to_string() }),
            }
        }
        if page.is_last {
            return Ok(removals);
        }
    }
}
