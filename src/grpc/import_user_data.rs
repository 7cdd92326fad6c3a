//! The handler of ImportUserData.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::{
    auth::Belief,
    convert::{import, request},
    load::{HeldBytes, Load},
    proto,
    service::Begun,
    status,
};
use crate::{
    domain::{
        principal::{Permission, Principal},
        violation::FieldViolation,
    },
    operations::{Stores, import_user_data::Import},
    telemetry::Call,
};

pub(super) async fn import_user_data(
    stores: Stores,
    load: Arc<Load>,
    cut: CancellationToken,
    begun: Begun<Streaming<proto::ImportUserDataRequest>>,
) -> Result<proto::ImportUserDataResponse, Status> {
    let Begun { principal, belief, call, message: requests, .. } = begun;
    let (mut import, content) = (Import::new(stores), load.import_bytes(principal.application().clone()));
    let taken = cut.run_until_cancelled(take_all(&mut import, (&principal, &belief), &call, content, requests)).await;
    let report = import.finish().await;
    call.count_records(&report.counts);
    call.count("rejected", report.rejected);
    taken.unwrap_or_else(|| Err(status::draining()))?;
    Ok(report.into())
}

async fn take_all(
    import: &mut Import,
    (principal, belief): (&Principal, &Belief),
    call: &Arc<Call>,
    mut content: HeldBytes,
    mut requests: Streaming<proto::ImportUserDataRequest>,
) -> Result<(), Status> {
    for index in 0_u64.. {
        let path = format!("requests[{index}]");
        let next = requests.message().await.map_err(|status| status::unreadable(status, &path))?;
        let Some(mut message) = next else { break };
        belief.lasts()?;
        let user_token = request::user_token(std::mem::take(&mut message.user_token)).map_err(|violations| {
            let full = |violation: FieldViolation| FieldViolation::new(format!("{path}.{}", violation.field), violation.complaint);
            status::invalid(violations.into_iter().map(full).collect())
        })?;
        let subject = principal.authorise(Permission::Import, user_token).map_err(|reason| status::not_permitted(&reason))?;
        let (batch, rejected) = import::batch(path, message);
        import.reject(rejected.records, rejected.violations);
        import.take(&subject, batch).await.map_err(|error| status::failed(&error, call))?;
        content.hold(import.in_memory())?;
    }
    Ok(())
}
