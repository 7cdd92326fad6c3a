//! The handler of DeleteUserMessages.

use tonic::Status;

use super::{convert::request, proto, service::Begun, status};
use crate::{
    domain::principal::Permission,
    operations::{self, Stores},
};

pub(super) async fn delete_user_messages(
    stores: &Stores,
    begun: Begun<proto::DeleteUserMessagesRequest>,
) -> Result<proto::DeleteUserMessagesResponse, Status> {
    let Begun { principal, call, message, .. } = begun;
    let user_token = request::user_token(message.user_token).map_err(status::invalid)?;
    let subject = principal.authorise(Permission::DeleteMessages, user_token).map_err(|reason| status::not_permitted(&reason))?;
    let report =
        operations::delete_user_messages::delete_user_messages(stores, &subject).await.map_err(|error| status::failed(&error, &call))?;
    call.count("messages_deleted", report.messages);
    call.count("conversations_affected", report.conversations);
    call.count("compaction_cache_purged", report.compaction_cache);
    Ok(report.into())
}
