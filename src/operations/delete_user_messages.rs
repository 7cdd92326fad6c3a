//! DeleteUserMessages: all messages of a subject, all or none.

use super::{Error, Stores};
use crate::{
    domain::{
        erasure::Terms,
        report::{MessagesDeleted, Preview},
        subject::Subject,
    },
    repository::Accepted,
};

/// Deletes all messages of the subject; with `scrub` also the texts that were made of them.
///
/// # Errors
/// When the terms are not met, or the database does not answer; then nothing has changed.
pub async fn delete_user_messages(stores: &Stores, subject: &Subject, scrub: bool, terms: &Terms) -> Result<MessagesDeleted, Error> {
    match stores.repository.delete_messages(subject, scrub, terms).await? {
        Accepted::Now(report) | Accepted::Before(report) | Accepted::Unfinished(report) => Ok(report),
    }
}

/// What deleting the messages would do.
///
/// # Errors
/// When the database does not answer.
pub async fn preview(stores: &Stores, subject: &Subject, scrub: bool) -> Result<Preview<MessagesDeleted>, Error> {
    Ok(stores.repository.reading(subject).await?.preview_of_messages(subject, scrub).await?)
}
