//! The handler of DeleteUserMessages.

use tonic::Status;

use super::{convert::request, proto, service::Begun, status};
use crate::{
    domain::{erasure::Erasure, principal::Permission},
    operations::{Stores, delete_user_messages as operation},
};

pub(super) async fn delete_user_messages(
    stores: &Stores,
    begun: Begun<proto::DeleteUserMessagesRequest>,
) -> Result<proto::DeleteUserMessagesResponse, Status> {
    let Begun { principal, call, message, .. } = begun;
    let scrub = message.scrub_residue;
    let (user_token, demands) = request::delete_user_messages(message).map_err(status::invalid)?;
    let subject = principal.authorise(Permission::DeleteMessages, user_token).map_err(|reason| status::not_permitted(&reason))?;
    if demands.validate_only {
        let preview = operation::preview(stores, &subject, scrub).await.map_err(|error| status::failed(&error, &call))?;
        return Ok(preview.into());
    }
    let terms = demands.terms(&subject, Erasure::Messages { scrub });
    let report = operation::delete_user_messages(stores, &subject, scrub, &terms).await.map_err(|error| status::failed(&error, &call))?;
    call.count("messages_deleted", report.messages);
    call.count("conversations_affected", report.conversations);
    call.count("compaction_cache_purged", report.compaction_cache);
    Ok(report.into())
}
