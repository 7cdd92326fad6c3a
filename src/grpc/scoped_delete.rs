//! The handler of ScopedDelete.

use tonic::Status;

use super::{convert::request, proto, service::Begun, status};
use crate::{
    domain::{erasure::Erasure, principal::Permission},
    operations::{Stores, scoped_delete as operation},
};

pub(super) async fn scoped_delete(
    stores: &Stores,
    begun: Begun<proto::ScopedDeleteRequest>,
) -> Result<proto::ScopedDeleteResponse, Status> {
    let Begun { principal, call, message, .. } = begun;
    let (user_token, scopes, demands) = request::scoped_delete(message).map_err(status::invalid)?;
    let subject = principal.authorise(Permission::ScopedDelete, user_token).map_err(|reason| status::not_permitted(&reason))?;
    if demands.validate_only {
        let preview = operation::preview(stores, &subject, scopes).await.map_err(|error| status::failed(&error, &call))?;
        return Ok(preview.into());
    }
    let terms = demands.terms(&subject, Erasure::Scopes(scopes));
    let report = operation::scoped_delete(stores, &subject, scopes, &terms).await.map_err(|error| status::failed(&error, &call))?;
    for (what, count) in [
        ("dialogues_forgotten", report.dialogues),
        ("uploads_deleted", report.uploads),
        ("uploads_failed", report.uploads_failed.len() as u64),
        ("memory_deleted", report.memories),
        ("assistants_deleted", report.assistants),
        ("feedback_deleted", report.feedback),
        ("sessions_deleted", report.sessions),
        ("compaction_cache_purged", report.compaction_cache),
    ] {
        call.count(what, count);
    }
    Ok(report.into())
}
