//! GetErasureStatus: what has become of erasures, of one subject or of all of an application.

use super::{Error, Stores};
use crate::domain::{
    report::ErasureStatus,
    subject::{ApplicationId, Subject},
};

/// What has become of the erasures of a subject.
///
/// # Errors
/// When the database does not answer.
pub async fn of_subject(stores: &Stores, subject: &Subject) -> Result<ErasureStatus, Error> {
    Ok(stores.repository.reading(subject).await?.erasure_status(subject).await?)
}

/// What has become of the erasures of all subjects of an application.
///
/// # Errors
/// When the database does not answer.
pub async fn of_application(stores: &Stores, application: &ApplicationId) -> Result<ErasureStatus, Error> {
    Ok(stores.repository.reading_removals_of(application).await?.erasure_status_of_all(application).await?)
}
