//! The statuses that callers see.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::proto::ErrorReason;

const DOMAIN: &str = "userdata";
const DATABASE_RETRY: Duration = Duration::from_secs(2);

/// A status whose details hold an `ErrorInfo` with `reason`, and whatever `more` adds.
pub fn with_reason(code: Code, reason: ErrorReason, message: impl Into<String>, more: impl FnOnce(&mut ErrorDetails)) -> Status {
    let mut details = ErrorDetails::with_error_info(reason.as_str_name(), DOMAIN, HashMap::new());
    more(&mut details);
    Status::with_error_details(code, message, details)
}

/// The one answer to every credential that is not accepted, and to none at all.
pub fn unauthenticated() -> Status {
    let message = "no credential, or one that is not accepted; send an API key with its application id, or a user's JWT";
    with_reason(Code::Unauthenticated, ErrorReason::CredentialNotAccepted, message, |_| ())
}

/// The answer while the database cannot be reached.
pub fn database_unavailable() -> Status {
    let message = "the database cannot be reached; try again";
    with_reason(Code::Unavailable, ErrorReason::DatabaseUnavailable, message, |details| {
        details.set_retry_info(Some(DATABASE_RETRY));
    })
}
