//! DeleteUserMessages: all messages of a subject, all or none.

use super::Error;
use crate::{
    domain::{report::MessagesDeleted, subject::Subject},
    repository::Repository,
};

/// Deletes all messages of the subject.
///
/// # Errors
/// When the database does not answer; then nothing has changed.
pub async fn delete_user_messages(repository: &Repository, subject: &Subject) -> Result<MessagesDeleted, Error> {
    Ok(repository.delete_messages(subject).await?)
}
