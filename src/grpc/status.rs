//! The statuses that callers see: the one place where causes become codes.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::proto::ErrorReason;
use crate::{
    domain::{
        limits::{MAX_CALL_BYTES, MAX_ELEMENTS, MAX_REQUEST_BYTES, MAX_STRANGERS_BYTES},
        principal::NotPermitted,
        violation::{Complaint, FieldViolation},
    },
    operations,
    telemetry::Call,
};

const DOMAIN: &str = "userdata";

/// When to try again what a store's absence prevented.
const STORE_RETRY: Duration = Duration::from_secs(2);

/// When to try again, elsewhere or here, what a shutdown prevented.
const DRAIN_RETRY: Duration = Duration::from_secs(1);

/// When to try again what there was no room for.
const LOAD_RETRY: Duration = Duration::from_secs(1);

/// A status travels in headers, of which common clients take 8 KiB.
const MAX_VIOLATIONS: usize = 16;

/// A status whose details hold an `ErrorInfo` with `reason`, and whatever `more` adds.
fn with_reason(code: Code, reason: ErrorReason, message: impl Into<String>, more: impl FnOnce(&mut ErrorDetails)) -> Status {
    let mut details = ErrorDetails::with_error_info(reason.as_str_name(), DOMAIN, HashMap::new());
    more(&mut details);
    Status::with_error_details(code, message, details)
}

fn try_again(code: Code, reason: ErrorReason, message: &str, after: Duration) -> Status {
    with_reason(code, reason, message, |details| {
        details.set_retry_info(Some(after));
    })
}

/// The one answer to every credential that is not accepted, and to none at all.
pub fn unauthenticated() -> Status {
    let message = "no credential, or one that is not accepted; send an API key with its application id, or a user's JWT";
    with_reason(Code::Unauthenticated, ErrorReason::CredentialNotAccepted, message, |_| ())
}

/// The answer while the database cannot be reached, or others have all connections to it.
pub fn database_unavailable() -> Status {
    let message = "the database does not answer, or no connection to it became free; try again";
    try_again(Code::Unavailable, ErrorReason::DatabaseUnavailable, message, STORE_RETRY)
}

/// The answer to a call that a shutdown cuts.
pub fn draining() -> Status {
    let message = "the server is shutting down; try again, an export with the last resume token that arrived";
    try_again(Code::Unavailable, ErrorReason::Draining, message, DRAIN_RETRY)
}

/// The answer to a call that the server has no room for, with what it has so many of.
pub fn overloaded(what: &str) -> Status {
    let message = format!("the server has as many {what} as it takes; try again, at another replica if there is one");
    try_again(Code::Unavailable, ErrorReason::Overloaded, &message, LOAD_RETRY)
}

/// The answer to a call of an application or a peer that has its share of what the server can do, with the reason.
pub fn share_in_use(reason: &str) -> Status {
    too_many(reason, LOAD_RETRY)
}

/// The answer to a call that comes too often, with the reason, and after which time it does not any more.
pub fn too_many(reason: &str, after: Duration) -> Status {
    try_again(Code::ResourceExhausted, ErrorReason::LimitExceeded, &format!("{reason}; try again later, and less often"), after)
}

/// The answer to a call whose client takes the answer too slowly.
pub fn read_too_slowly() -> Status {
    let message = "the answer was taken too slowly; take an export up again with the last resume token that arrived";
    try_again(Code::ResourceExhausted, ErrorReason::ReadTooSlowly, message, LOAD_RETRY)
}

/// The answer to a call whose deadline has passed, or that has run as long as the server lets any.
pub fn deadline_exceeded() -> Status {
    let message = "the deadline of the call, or the longest time that the server gives one, has passed; give it more time if you gave it \
                   little, and an export the last resume token that arrived";
    with_reason(Code::DeadlineExceeded, ErrorReason::DeadlineExceeded, message, |_| ())
}

/// The answer to a call whose request does not arrive.
pub fn request_incomplete() -> Status {
    let message = "the rest of the request did not arrive in time; send it without long breaks";
    with_reason(Code::DeadlineExceeded, ErrorReason::DeadlineExceeded, message, |_| ())
}

/// The answer to a caller who may not do this.
pub fn not_permitted(reason: &NotPermitted) -> Status {
    with_reason(Code::PermissionDenied, ErrorReason::NotPermitted, reason.to_string(), |_| ())
}

/// The answer to a request with fields that are wrong. Of very many it names the first 16.
pub fn invalid(mut violations: Vec<FieldViolation>) -> Status {
    let unnamed = violations.len().saturating_sub(MAX_VIOLATIONS);
    violations.truncate(MAX_VIOLATIONS);
    let mut message = violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    if unnamed > 0 {
        message.push_str(&format!("; and {unnamed} more"));
    }
    with_reason(Code::InvalidArgument, ErrorReason::InvalidRequest, message, |details| {
        for violation in violations {
            details.add_bad_request_violation(violation.field, violation.complaint.to_string());
        }
    })
}

/// What the codec says of a request with too many elements; which request that is, it does not know ([`unreadable`]).
pub(super) fn too_many_elements() -> Status {
    Status::invalid_argument("too many elements")
}

/// The answer to a stream of requests that cannot be read on: what the transport says of it, or that a request was too large.
pub fn unreadable(status: Status, request: &str) -> Status {
    match status.code() {
        Code::OutOfRange => too_large(request, &format!("{MAX_REQUEST_BYTES} bytes")),
        Code::InvalidArgument => invalid(vec![FieldViolation::new(request, Complaint::TooManyElements { limit: MAX_ELEMENTS })]),
        _ => status,
    }
}

fn too_large(request: &str, limit: &str) -> Status {
    let message = format!("{request} is larger than {limit}; send less in one request");
    with_reason(Code::ResourceExhausted, ErrorReason::LimitExceeded, message, |_| ())
}

/// Gives the answers of the transport to requests that no handler saw the form that all other errors have.
pub fn with_reasons<B>(mut response: http::Response<B>) -> http::Response<B> {
    let status = match Status::from_header_map(response.headers()) {
        Some(status) if status.details().is_empty() => match status.code() {
            // Those of imports come from their handler.
            Code::OutOfRange => {
                too_large("the request", &format!("{MAX_CALL_BYTES} bytes, or, of health and reflection, {MAX_STRANGERS_BYTES}"))
            }
            // What is unforeseen here has details: this is what tonic says of bytes that are no message.
            Code::Internal => {
                let message = "the request is not a message of this contract; generate the client from its proto files";
                with_reason(Code::InvalidArgument, ErrorReason::InvalidRequest, message, |_| ())
            }
            Code::Unimplemented => {
                let message = "the contract has no such service or method, or not this compression; server reflection tells what there is";
                with_reason(Code::Unimplemented, ErrorReason::NotSupported, message, |_| ())
            }
            _ => return response,
        },
        _ => return response,
    };
    // Every header of a status that is made here is valid.
    let _ = status.add_header(response.headers_mut());
    response
}

/// The answer to an operation that failed.
pub fn failed(error: &operations::Error, call: &Call) -> Status {
    match error {
        operations::Error::DatabaseUnavailable(reason) => {
            tracing::warn!(request_id = call.request_id(), reason, "the database is unavailable");
            database_unavailable()
        }
        operations::Error::NotSettled(_) => {
            tracing::warn!(request_id = call.request_id(), %error, "the database is unavailable");
            let message = "the erasure has happened, but for files, which the service goes on removing by itself; what became of them \
                           could not be noted. Repeat it with the same request_id, if it had one, to get its response";
            try_again(Code::Unavailable, ErrorReason::DatabaseUnavailable, message, STORE_RETRY)
        }
        operations::Error::Conflict(_) => {
            let message = "other calls for the same user were in the way; try again";
            try_again(Code::Aborted, ErrorReason::Conflict, message, DRAIN_RETRY)
        }
        operations::Error::RequestIdReused => {
            let message = "the request_id is that of another request of this application; use a new one for each request";
            with_reason(Code::FailedPrecondition, ErrorReason::RequestIdReused, message, |_| ())
        }
        operations::Error::PlanChanged => {
            let message = "the user's data is not what was previewed, and nothing has changed; make another preview";
            with_reason(Code::Aborted, ErrorReason::PlanChanged, message, |_| ())
        }
        operations::Error::ErasedMeanwhile => erased_meanwhile(),
        operations::Error::ReplacedMeanwhile => {
            let message = "the content of an upload was replaced, or vanished, while it was exported; begin a new export";
            with_reason(Code::Aborted, ErrorReason::ContentReplaced, message, |_| ())
        }
        operations::Error::ObjectStore(_) => {
            let message = "the object store cannot be reached; try again";
            try_again(Code::Unavailable, ErrorReason::ObjectStoreUnavailable, message, STORE_RETRY)
        }
        operations::Error::Unforeseen(_) => {
            tracing::error!(request_id = call.request_id(), %error, "unforeseen");
            unforeseen(call)
        }
    }
}

/// The answer where this program is wrong.
pub fn unforeseen(call: &Call) -> Status {
    let mut details = ErrorDetails::new();
    let metadata = HashMap::from([("request_id".to_owned(), call.request_id().to_owned())]);
    details.set_error_info(ErrorReason::Internal.as_str_name(), DOMAIN, metadata);
    let message = format!("something unforeseen happened; the server's log tells what, under request id {}", call.request_id());
    Status::with_error_details(Code::Internal, message, details)
}

/// The answer to an export whose subject was erased.
pub fn erased_meanwhile() -> Status {
    let message = "the user's data was erased while it was exported; begin a new export";
    with_reason(Code::Aborted, ErrorReason::ErasedMeanwhile, message, |_| ())
}
