//! The bench's own client. It reads exports frame by frame without decoding them, and is a bare connection without the queue and the
//! reconnecting of tonic's `Channel`, so that the client is not what is measured.

use std::{
    task::{Context, Poll},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use bytes::{Buf, Bytes};
use futures::future::try_join_all;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::TcpStream;
use tonic::{
    Request, Status,
    body::Body,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder},
    codegen::http::{self, Uri, uri::PathAndQuery},
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
};
use tonic_prost::ProstEncoder;
use tower::Service;
use userdata::grpc::proto::{
    DeleteUserMessagesRequest, DeleteUserMessagesResponse, ExportSummary, ExportUserDataRequest, ExportUserDataResponse,
    ImportUserDataRequest, ScopedDeleteRequest, ScopedDeleteResponse, import_service_client::ImportServiceClient,
    user_data_service_client::UserDataServiceClient,
};

use super::{database::APPLICATION, server::Server};

pub(crate) const EXPORT_PATH: &str = "/userdata.v1.UserDataService/ExportUserData";
const MAX_FRAME: usize = 1024 * 1024;

/// Requests go to the connection as they are.
#[derive(Clone)]
struct Connection(SendRequest<Body>);

impl Service<http::Request<Body>> for Connection {
    type Response = http::Response<hyper::body::Incoming>;
    type Error = hyper::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = hyper::Result<Self::Response>>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// Shows the key as `h2load` does: HTTP/2 may send it once for each connection. The commands of the service do not have that done with a
/// secret, which costs each call more.
#[derive(Clone)]
struct ApiKey(MetadataValue<Ascii>);

impl Interceptor for ApiKey {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("x-application-id", MetadataValue::from_static(APPLICATION));
        request.metadata_mut().insert("x-api-key", self.0.clone());
        Ok(request)
    }
}

type Authenticated = InterceptedService<Connection, ApiKey>;

/// Requests encoded, responses as they come.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = ExportUserDataRequest;
    type Decode = Bytes;
    type Encoder = ProstEncoder<ExportUserDataRequest>;
    type Decoder = Self;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, frame: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(frame.copy_to_bytes(frame.remaining())))
    }
}

/// What an export came to.
pub(crate) struct Exported {
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    last: Bytes,
}

impl Exported {
    pub(crate) fn summary(&self) -> anyhow::Result<ExportSummary> {
        ExportUserDataResponse::decode(self.last.clone())?.summary.context("an export without a summary")
    }
}

/// A connection to a server.
#[derive(Clone)]
pub(crate) struct Client {
    connection: Authenticated,
    origin: Uri,
}

impl Client {
    pub(crate) async fn connect(server: &Server, key: &str) -> anyhow::Result<Self> {
        Self::connect_to_address(&server.address, key).await
    }

    pub(crate) async fn connect_to_address(address: &str, key: &str) -> anyhow::Result<Self> {
        let mut settings = http2::Builder::new(TokioExecutor::new());
        // As the commands of the service do.
        settings.max_frame_size(256 * 1024);
        Self::connect_with(settings, address, key).await
    }

    /// Reads so slowly that the window of a connection matters: the smallest there is.
    pub(crate) async fn connect_slow(server: &Server, key: &str) -> anyhow::Result<Self> {
        let mut settings = http2::Builder::new(TokioExecutor::new());
        settings.initial_stream_window_size(65_535).initial_connection_window_size(65_535);
        Self::connect_with(settings, &server.address, key).await
    }

    async fn connect_with(settings: http2::Builder<TokioExecutor>, address: &str, key: &str) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let (requests, connection) = settings.handshake(TokioIo::new(socket)).await?;
        // It ends with its client, and what goes wrong with it is seen there.
        tokio::spawn(connection);
        Ok(Self {
            connection: InterceptedService::new(Connection(requests), ApiKey(key.parse()?)),
            origin: format!("http://{address}").parse()?,
        })
    }

    fn users(&self) -> UserDataServiceClient<Authenticated> {
        UserDataServiceClient::with_origin(self.connection.clone(), self.origin.clone())
    }

    pub(crate) async fn open_export(&self, user_token: &str) -> anyhow::Result<tonic::Streaming<Bytes>> {
        let mut grpc = Grpc::with_origin(self.connection.clone(), self.origin.clone()).max_decoding_message_size(2 * MAX_FRAME);
        grpc.ready().await.context("the connection is gone")?;
        let request = ExportUserDataRequest { user_token: user_token.to_owned(), ..ExportUserDataRequest::default() };
        Ok(grpc.server_streaming(Request::new(request), PathAndQuery::from_static(EXPORT_PATH), Raw).await?.into_inner())
    }

    /// Exports all that is held about a user.
    pub(crate) async fn export(&self, user_token: &str) -> anyhow::Result<Exported> {
        let mut stream = self.open_export(user_token).await?;
        let mut exported = Exported { frames: 0, bytes: 0, last: Bytes::new() };
        while let Some(frame) = stream.message().await? {
            exported.frames += 1;
            exported.bytes += frame.len() as u64;
            exported.last = frame;
        }
        ensure!(exported.frames > 0, "an export without a frame");
        Ok(exported)
    }

    pub(crate) async fn delete_messages(&self, user_token: &str) -> anyhow::Result<DeleteUserMessagesResponse> {
        let request = DeleteUserMessagesRequest { user_token: user_token.to_owned(), ..Default::default() };
        Ok(self.users().delete_user_messages(request).await?.into_inner())
    }

    pub(crate) async fn scoped_delete(&self, request: ScopedDeleteRequest) -> anyhow::Result<ScopedDeleteResponse> {
        Ok(self.users().scoped_delete(request).await?.into_inner())
    }

    /// Imports requests; tells how many messages were taken.
    pub(crate) async fn import(&self, requests: Vec<ImportUserDataRequest>) -> anyhow::Result<u64> {
        let stream = tokio_stream::iter(requests);
        let outcome =
            ImportServiceClient::with_origin(self.connection.clone(), self.origin.clone()).import_user_data(stream).await?.into_inner();
        ensure!(outcome.rejected == 0, "{} records were rejected", outcome.rejected);
        Ok(u64::try_from(outcome.imported.context("an import without counts")?.messages)?)
    }

    /// As many clients of a server, each with a connection of its own.
    pub(crate) async fn connect_each(server: &Server, key: &str, callers: usize) -> anyhow::Result<Vec<Self>> {
        try_join_all((0..callers).map(|_| Self::connect(server, key))).await
    }

    /// Has `callers` export the users one after the other, each as fast as it can, for so long; gives how long each call took.
    pub(crate) async fn export_for(&self, users: &[String], callers: usize, time: Duration) -> anyhow::Result<Vec<Duration>> {
        let end = Instant::now() + time;
        let calls = (0..callers).map(|caller| async move {
            let mut took = Vec::new();
            for user in users.iter().cycle().skip(caller * users.len() / callers) {
                let began = Instant::now();
                if began >= end {
                    break;
                }
                self.export(user).await?;
                took.push(began.elapsed());
            }
            anyhow::Ok(took)
        });
        Ok(try_join_all(calls).await?.concat())
    }
}

/// The time that so many of a hundred calls do not exceed.
pub(crate) fn percentile(times: &mut [Duration], percent: usize) -> anyhow::Result<Duration> {
    times.sort_unstable();
    let last = times.len().checked_sub(1).context("no call was made")?;
    times.get((times.len() * percent / 100).min(last)).copied().context("no such percentile")
}
