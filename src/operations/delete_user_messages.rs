//! DeleteUserMessages: all messages of a subject, all or none.

use super::{Error, Stores};
use crate::domain::{report::MessagesDeleted, subject::Subject};

/// Deletes all messages of the subject.
///
/// # Errors
/// When the database does not answer; then nothing has changed.
pub async fn delete_user_messages(stores: &Stores, subject: &Subject) -> Result<MessagesDeleted, Error> {
    Ok(stores.repository.delete_messages(subject).await?)
}
