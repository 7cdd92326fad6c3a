//! The client of the service: connects, shows its credential, and says in one line what a status means. Absent on purpose: what is done with
//! the records (`cli`).

mod endpoint;
mod export;
#[cfg(test)]
mod tests;

use std::{fmt::Write, time::Duration};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};
use tonic_types::StatusExt;

pub use self::{
    endpoint::{ClientIdentity, ClientTls, endpoint},
    export::Export,
};
use super::{document::DocumentError, proto};
use crate::domain::limits::MAX_REQUEST_BYTES;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// What one HTTP/2 frame may hold: as much as a message of an export, instead of 16 KiB. It saves both sides most of their system calls.
const FRAME_BYTES: u32 = 256 * 1024;

/// Why a call did not give what was asked for, in one line, for the person who made it.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not an address of a server.
    #[error("the server's address is not valid; write it as http://host:port or https://host:port")]
    Address,
    /// Certificates or a key that cannot be used.
    #[error("the certificates or the key for TLS cannot be used: {0}")]
    Tls(String),
    /// Files for TLS, and an address without it.
    #[error("the server's address begins with http://, so nothing would be encrypted, whatever certificates are given; write https://")]
    NoTls,
    /// A credential that cannot travel in a header.
    #[error("the credential holds characters that no credential has; check how it was pasted")]
    Credential,
    /// Nobody answers there.
    #[error("cannot reach the server at {server}: {cause}")]
    Unreachable {
        /// The address that was tried.
        server: String,
        /// What the system says.
        cause: String,
    },
    /// The server's answer.
    #[error("{}", describe(.0))]
    Status(Box<Status>),
    /// An export that was taken up again as often as makes sense.
    #[error("the export from {server} broke off and is incomplete: {cause}")]
    BrokenOff {
        /// The address of the server.
        server: String,
        /// What the server or the system says.
        cause: String,
    },
    /// An export that is not what its summary says.
    #[error("the export is not whole: its {0} differ from the server's summary; export again")]
    NotWhole(&'static str),
    /// Records that do not fit together.
    #[error(transparent)]
    Document(#[from] DocumentError),
}

impl From<Status> for ClientError {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

/// Shows who calls, in the metadata of every call. Its values are marked as sensitive and never printed.
#[derive(Clone)]
pub struct Credential(Vec<(&'static str, MetadataValue<Ascii>)>);

impl Credential {
    /// An API key of an application.
    ///
    /// # Errors
    /// If one of them cannot be a header.
    pub fn api_key(application: &str, api_key: &str) -> Result<Self, ClientError> {
        Ok(Self(vec![("x-application-id", sensitive(application)?), ("x-api-key", sensitive(api_key)?)]))
    }

    /// A user's JWT.
    ///
    /// # Errors
    /// If it cannot be a header.
    pub fn access_token(token: &str) -> Result<Self, ClientError> {
        Ok(Self(vec![("authorization", sensitive(&format!("Bearer {token}"))?)]))
    }
}

fn sensitive(text: &str) -> Result<MetadataValue<Ascii>, ClientError> {
    let mut value: MetadataValue<Ascii> = text.parse().map_err(|_| ClientError::Credential)?;
    value.set_sensitive(true);
    Ok(value)
}

impl Interceptor for Credential {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        for (name, value) in &self.0 {
            request.metadata_mut().insert(*name, value.clone());
        }
        Ok(request)
    }
}

/// A connection to the service, on which all calls are made.
#[derive(Clone)]
pub struct Client {
    server: String,
    users: proto::user_data_service_client::UserDataServiceClient<InterceptedService<Channel, Credential>>,
    imports: proto::import_service_client::ImportServiceClient<InterceptedService<Channel, Credential>>,
}

impl Client {
    /// Connects to a server.
    ///
    /// # Errors
    /// If the address is wrong or nobody answers there.
    pub async fn connect(server: &str, tls: ClientTls, credential: Credential) -> Result<Self, ClientError> {
        let endpoint = endpoint(server, tls)?;
        let endpoint = endpoint.connect_timeout(CONNECT_TIMEOUT).http2_keep_alive_interval(KEEP_ALIVE).max_frame_size(FRAME_BYTES);
        let channel =
            endpoint.connect().await.map_err(|error| ClientError::Unreachable { server: server.to_owned(), cause: root_cause(&error) })?;
        let channel = InterceptedService::new(channel, credential);
        Ok(Self {
            server: server.to_owned(),
            users: proto::user_data_service_client::UserDataServiceClient::new(channel.clone())
                .max_decoding_message_size(MAX_REQUEST_BYTES),
            imports: proto::import_service_client::ImportServiceClient::new(channel).max_decoding_message_size(MAX_REQUEST_BYTES),
        })
    }

    /// Begins an export.
    pub fn export(&self, request: proto::ExportUserDataRequest) -> Export {
        Export::new(self.server.clone(), self.users.clone(), request)
    }

    /// Imports the requests that the channel brings, until it is closed.
    ///
    /// # Errors
    /// The server's status, or a broken connection.
    pub async fn import(
        &mut self,
        requests: mpsc::Receiver<proto::ImportUserDataRequest>,
    ) -> Result<proto::ImportUserDataResponse, ClientError> {
        Ok(self.imports.import_user_data(ReceiverStream::new(requests)).await?.into_inner())
    }

    /// Deletes all messages of a user.
    ///
    /// # Errors
    /// The server's status, or a broken connection.
    pub async fn delete_user_messages(
        &mut self,
        request: proto::DeleteUserMessagesRequest,
    ) -> Result<proto::DeleteUserMessagesResponse, ClientError> {
        Ok(self.users.delete_user_messages(request).await?.into_inner())
    }

    /// Erases scopes of a user's personal data.
    ///
    /// # Errors
    /// The server's status, or a broken connection.
    pub async fn scoped_delete(&mut self, request: proto::ScopedDeleteRequest) -> Result<proto::ScopedDeleteResponse, ClientError> {
        Ok(self.users.scoped_delete(request).await?.into_inner())
    }
}

fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// A status in one line: its message, every violation with its path that the message does not name, the reason, and what helps to find or repeat the call.
fn describe(status: &Status) -> String {
    let details = status.get_error_details();
    let mut line = status.message().to_owned();
    if line.is_empty() {
        line = status.code().description().to_owned();
    }
    for violation in details.bad_request().into_iter().flat_map(|request| &request.field_violations) {
        let violation = format!("{} {}", violation.field, violation.description);
        if !line.contains(&violation) {
            // Writing to a string cannot fail.
            let _ = write!(line, "; {violation}");
        }
    }
    if let Some(info) = details.error_info() {
        let _ = write!(line, " [{}]", info.reason);
        if let Some(request_id) = info.metadata.get("request_id") {
            let _ = write!(line, ", request id {request_id}");
        }
    }
    if let Some(delay) = details.retry_info().and_then(|info| info.retry_delay) {
        let _ = write!(line, "; try again in {} s", delay.as_secs_f32().ceil());
    }
    line.replace(['\n', '\r'], " ")
}
