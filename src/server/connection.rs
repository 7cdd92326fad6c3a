//! One connection: how much of HTTP/2 a client may use, and when the connection ends.

use std::{convert::Infallible, error::Error as _, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::TryFutureExt;
use http::{Request, Response};
use http_body::Body as HttpBody;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tonic::{body::Body, transport::server::TcpConnectInfo};
use tower::{BoxError, Service, ServiceExt};

use super::{activity::Activity, metered::Metered};
use crate::{config::listen::ListenConfig, grpc::pace::StreamExecutor};

/// The largest head of a request: a JWT of 4 KiB and what usually comes with it. Four times that ends the connection.
const MAX_HEADERS: u32 = 16 * 1024;

/// What a client may send before it is read: on all streams of a connection together, and on one, so that an import that waits does not
/// hold up the others.
const WINDOW: u32 = 1024 * 1024;
const STREAM_WINDOW: u32 = WINDOW / 4;

/// The largest frame that is taken.
const MAX_FRAME: u32 = 16 * 1024;

/// Streams that were reset before they were seen: at once, as they are seen as soon as they are there.
const RESET_UNSEEN: usize = 100;

/// What of one response is made ready before its client takes it.
const SEND_BUFFER: usize = 400 * 1024;

/// How long a client has to leave after it was told to, while no call of it runs.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long after its last call a client may still be reading what the system keeps for it: at a stop it has all the time that is left.
const MAY_STILL_READ: Duration = Duration::from_secs(20);

/// How connections are served.
pub(super) type Http2 = http2::Builder<StreamExecutor>;

/// HTTP/2 within bounds. h2 itself bounds how a head is continued, and small and empty frames of a body; other frames are [`Metered`].
pub(super) fn http2(config: &ListenConfig) -> Http2 {
    let mut http2 = http2::Builder::new(StreamExecutor);
    http2
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.max_concurrent_streams)
        .max_pending_accept_reset_streams(RESET_UNSEEN)
        .max_local_error_reset_streams(config.max_error_resets as usize)
        .max_header_list_size(MAX_HEADERS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(config.keepalive_interval)
        .keep_alive_timeout(config.keepalive_timeout);
    http2
}

/// When a connection ends on which nothing happens.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    pub(super) first_request: Duration,
    pub(super) idle: Duration,
}

impl Patience {
    /// Ready when it is at its end.
    async fn ends(self, activity: &Activity) {
        tokio::time::sleep(self.first_request).await;
        if activity.has_begun() {
            activity.idle_for(self.idle).await;
        }
    }
}

/// Serves a connection until its client leaves, `patience` ends, or it is told to stop; then calls that run may end.
pub(super) async fn serve<S, B>(
    io: impl AsyncRead + AsyncWrite + Unpin,
    info: TcpConnectInfo,
    http2: &Http2,
    service: S,
    patience: Patience,
    stopping: &CancellationToken,
) where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let activity = Arc::new(Activity::new());
    let peer = info.remote_addr.map(tracing::field::display);
    let answer = service_fn(|mut request: Request<Incoming>| {
        let call = activity.begin();
        request.extensions_mut().insert(info.clone());
        service.clone().oneshot(request.map(Body::new)).map_ok(|response| call.answers(response))
    });
    let mut connection = pin!(http2.serve_connection(TokioIo::new(Metered::new(io)), answer));
    let told = |ended: hyper::Result<()>| {
        if let Err(error) = ended {
            tracing::debug!(peer, %error, cause = error.source(), "a connection has failed");
        }
    };
    let mut is_reading = false;
    tokio::select! {
        ended = &mut connection => return told(ended),
        () = stopping.cancelled() => is_reading = activity.has_run_within(MAY_STILL_READ),
        () = patience.ends(&activity) => {
            tracing::debug!(peer, "a connection is closed on which nothing happens");
            // Its clients do not read their responses, and could not be told either.
            if activity.has_calls() {
                return;
            }
        }
    }
    // It leaves when it has read all, for only then it finds that it is asked to.
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = &mut connection => told(ended),
        () = activity.without_calls_for(FAREWELL), if !is_reading => {}
    }
}
