//! The handler of GetErasureStatus.

use tonic::Status;

use super::{convert::request, proto, service::Begun, status};
use crate::{
    domain::principal::{NotPermitted, Permission, Principal},
    operations::{Stores, get_erasure_status as operation},
};

/// What the caller needs to ask about one user: a writer has to know the epoch of whom it writes about.
pub(super) fn needed(by: &Principal) -> Permission {
    if by.permits(Permission::Import).is_ok() { Permission::Import } else { Permission::ScopedDelete }
}

pub(super) async fn get_erasure_status(
    stores: &Stores,
    begun: Begun<proto::GetErasureStatusRequest>,
) -> Result<proto::GetErasureStatusResponse, Status> {
    let Begun { principal, call, message, .. } = begun;
    let found = if message.user_token.is_empty() {
        if matches!(principal, Principal::User { .. }) {
            return Err(status::not_permitted(&NotPermitted::KeysOnly(Permission::ScopedDelete)));
        }
        principal.permits(Permission::ScopedDelete).map_err(|reason| status::not_permitted(&reason))?;
        operation::of_application(stores, principal.application()).await
    } else {
        let user_token = request::user_token(message.user_token).map_err(status::invalid)?;
        let subject = principal.authorise(needed(&principal), user_token).map_err(|reason| status::not_permitted(&reason))?;
        operation::of_subject(stores, &subject).await
    };
    Ok(found.map_err(|error| status::failed(&error, &call))?.into())
}
