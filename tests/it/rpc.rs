//! The RPCs, each as the smallest call that is good, with whatever metadata a test wants to send.

use tonic::{Code, Extensions, Request, Status, metadata::MetadataMap, transport::Channel};
use tonic_types::StatusExt;
use userdata::grpc::proto::{
    DeleteUserMessagesRequest, ExportUserDataRequest, GetErasureStatusRequest, ImportUserDataRequest, Remaining, ScopedDeleteRequest,
    ScopedDeleteResponse, import_service_client::ImportServiceClient, user_data_service_client::UserDataServiceClient,
};

/// An RPC of the contract.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rpc {
    Export,
    ExportDeleted,
    DeleteMessages,
    ScopedDelete,
    ErasureStatus,
    Import,
}

impl Rpc {
    /// The RPCs; an export of deleted records is one of them in another guise.
    pub(crate) const ALL: [Self; 5] = [Self::Export, Self::DeleteMessages, Self::ScopedDelete, Self::ErasureStatus, Self::Import];

    /// The RPCs, in every guise.
    pub(crate) const EVERY_GUISE: [Self; 6] =
        [Self::Export, Self::ExportDeleted, Self::ErasureStatus, Self::DeleteMessages, Self::ScopedDelete, Self::Import];

    /// Its name in the contract.
    pub(crate) fn method(self) -> &'static str {
        match self {
            Self::Export | Self::ExportDeleted => "ExportUserData",
            Self::DeleteMessages => "DeleteUserMessages",
            Self::ScopedDelete => "ScopedDelete",
            Self::ErasureStatus => "GetErasureStatus",
            Self::Import => "ImportUserData",
        }
    }

    /// Calls it to its end.
    pub(crate) async fn call(self, channel: &Channel, metadata: &MetadataMap, user_token: &str) -> Result<(), Status> {
        self.count(channel, metadata, user_token).await.map(drop)
    }

    /// Calls it to its end, and tells how much it saw of the user: sessions, messages, or that there was an erasure.
    pub(crate) async fn count(self, channel: &Channel, metadata: &MetadataMap, user_token: &str) -> Result<i64, Status> {
        let user_token = user_token.to_owned();
        let mut users = UserDataServiceClient::new(channel.clone());
        match self {
            Self::Export | Self::ExportDeleted => {
                let include_deleted = self == Self::ExportDeleted;
                let request = ExportUserDataRequest { user_token, include_deleted, ..Default::default() };
                let mut stream = users.export_user_data(with(metadata, request)).await?.into_inner();
                let mut summary = None;
                while let Some(response) = stream.message().await? {
                    summary = response.summary;
                }
                let summary = summary.expect("an export without a summary ended with OK");
                Ok(summary.counts.unwrap_or_default().sessions.into())
            }
            Self::DeleteMessages => {
                let request = DeleteUserMessagesRequest { user_token, ..Default::default() };
                Ok(users.delete_user_messages(with(metadata, request)).await?.get_ref().messages_deleted.into())
            }
            Self::ScopedDelete => {
                let request = ScopedDeleteRequest { user_token, sessions: true, ..Default::default() };
                Ok(users.scoped_delete(with(metadata, request)).await?.get_ref().sessions_deleted.into())
            }
            Self::ErasureStatus => {
                let request = GetErasureStatusRequest { user_token };
                Ok(users.get_erasure_status(with(metadata, request)).await?.get_ref().epoch.min(1))
            }
            Self::Import => {
                let requests = tokio_stream::iter([ImportUserDataRequest { user_token, ..Default::default() }]);
                let response = ImportServiceClient::new(channel.clone()).import_user_data(with(metadata, requests)).await?;
                Ok(response.get_ref().imported.unwrap_or_default().sessions.into())
            }
        }
    }
}

/// The answer to a scoped delete that found nothing to erase.
pub(crate) fn nothing_erased() -> ScopedDeleteResponse {
    ScopedDeleteResponse { remaining: Some(Remaining::default()), ..Default::default() }
}

/// A request with these headers.
pub(crate) fn with<T>(metadata: &MetadataMap, message: T) -> Request<T> {
    Request::from_parts(metadata.clone(), Extensions::default(), message)
}

/// Asserts that a status has this code and an `ErrorInfo` with this reason.
pub(crate) fn assert_reason(status: &Status, code: Code, reason: &str) {
    assert_eq!(status.code(), code, "{status:?}");
    let info = status.get_details_error_info().expect("every error has an ErrorInfo");
    assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason, "userdata"), "{status:?}");
}

/// The fields that a status complains about, in order.
pub(crate) fn fields(status: &Status) -> Vec<String> {
    let request = status.get_details_bad_request().expect("a BadRequest");
    request.field_violations.into_iter().map(|violation| violation.field).collect()
}
