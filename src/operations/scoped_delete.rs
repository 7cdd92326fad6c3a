//! ScopedDelete: first everything in the database, in one effect, which accepts the erasure; then the objects of uploads, which no transaction
//! covers; then the uploads are marked as deleted. Whatever interrupts this, the worker goes on with it ([`super::remove_files`]).

use std::{collections::HashSet, time::Duration};

use tokio::time::timeout;

use super::{
    Error, Stores,
    remove_files::{Outcome, remove},
};
use crate::{
    domain::{
        erasure::{Once, Terms},
        report::{Preview, ScopesErased},
        scope::Scopes,
        subject::Subject,
    },
    repository::{Accepted, ErasedScopes, PendingUpload, StoredObjects, in_own_task},
};

/// How long the object store is asked what it holds before an erasure is accepted without its answer.
const STORE_ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Erases the scopes of the subject. An upload whose object cannot be removed is named in the report, and its record left alone.
///
/// # Errors
/// When the terms are not met, or the database does not answer; then no record has changed. [`Error::NotSettled`] if it goes away while
/// files are removed: the erasure has happened but for these, and they are removed later.
pub async fn scoped_delete(stores: &Stores, subject: &Subject, scopes: Scopes, terms: &Terms) -> Result<ScopesErased, Error> {
    let objects = if scopes.chosen().vault { stored_objects(stores, subject).await? } else { StoredObjects::None };
    let erased = match stores.repository.erase_scopes(subject, scopes, terms, &objects).await? {
        Accepted::Before(before) => return Ok(before.report),
        Accepted::Now(erased) if erased.to_remove.is_empty() => {
            stores.repository.empty_log_of_erased().await;
            return Ok(erased.report);
        }
        Accepted::Now(erased) => {
            warn_of_missing(&erased.to_remove, &objects);
            erased
        }
        Accepted::Unfinished(erased) => erased,
    };
    // A caller that leaves now should not leave the files to the worker.
    let (stores, subject, once) = (stores.clone(), subject.clone(), terms.once.clone());
    in_own_task(async move { remove_uploads(&stores, &subject, erased, once.as_ref()).await }).await
}

/// What erasing the scopes would do.
///
/// # Errors
/// When the database does not answer.
pub async fn preview(stores: &Stores, subject: &Subject, scopes: Scopes) -> Result<Preview<ScopesErased>, Error> {
    Ok(stores.repository.reading(subject).await?.preview_of_scopes(subject, scopes).await?)
}

/// Which live uploads have an object. The database should know; one of which it does not know that it has one is to lose it too. A store that
/// does not answer keeps no erasure from being accepted.
async fn stored_objects(stores: &Stores, subject: &Subject) -> Result<StoredObjects, Error> {
    let ask = async {
        match stores.vault.is_empty(subject).await {
            Ok(true) => return Ok(StoredObjects::None),
            Ok(false) => {}
            Err(_) => return Ok(StoredObjects::Unknown),
        }
        let upload_ids = stores.repository.reading(subject).await?.personal_uploads(subject).await?;
        Ok(stores.vault.which_are_there(subject, &upload_ids).await.map_or(StoredObjects::Unknown, StoredObjects::Of))
    };
    timeout(STORE_ANSWERS_WITHIN, ask).await.unwrap_or(Ok(StoredObjects::Unknown))
}

/// What is not there counts as removed. So whoever gave the service another store than its content is in should hear of it.
fn warn_of_missing(to_remove: &[PendingUpload], objects: &StoredObjects) {
    let there: HashSet<&str> = match objects {
        StoredObjects::None => HashSet::new(),
        StoredObjects::Of(ids) => ids.iter().map(String::as_str).collect(),
        StoredObjects::Unknown => return,
    };
    let missing = to_remove.iter().filter(|upload| upload.is_own && upload.has_object && !there.contains(upload.id.as_str())).count();
    if missing > 0 {
        tracing::warn!(
            missing,
            "content that the database knows of was not in the object store when it was erased; is it the right store?"
        );
    }
}

async fn remove_uploads(stores: &Stores, subject: &Subject, erased: ErasedScopes, once: Option<&Once>) -> Result<ScopesErased, Error> {
    let upload_ids: Vec<String> = erased.to_remove.iter().map(|upload| upload.id.clone()).collect();
    let Outcome { removals, objects_left } = remove(stores, subject, &upload_ids).await;
    let finished = stores.repository.finish_erasure(subject, &erased, &removals, objects_left, once).await;
    let report = finished.map_err(Error::not_settled)?;
    stores.repository.empty_log_of_erased().await;
    Ok(report)
}
