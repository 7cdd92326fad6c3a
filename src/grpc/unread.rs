//! What is left of a request when it is refused. HTTP/2 has a server cut the stream of a request that it has not read to its end; what of it
//! is still on its way then arrives on a stream that is gone, and enough of that ends the whole connection, with all calls on it. So what
//! little there is to come is waited for.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http::Request;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::{sync::oneshot, time::timeout};
use tonic::{Status, body::Body};

/// How much is read of a request that is refused: more than most requests have.
const BYTES: usize = 64 * 1024;

/// How long it is waited for. What a client sends together arrives together.
const PATIENCE: Duration = Duration::from_millis(50);

/// The rest of a request that nobody reads on.
pub(super) struct Unread(oneshot::Receiver<Body>);

impl Unread {
    /// Sees what is left of a request.
    pub(super) fn of(request: Request<Body>) -> (Request<Body>, Self) {
        let (back, unread) = oneshot::channel();
        (request.map(|body| Body::new(Returning { body, back: Some(back) })), Self(unread))
    }

    /// Before an answer is sent that is a refusal, reads the rest of its request, if it is short and soon there.
    pub(super) async fn read_before(mut self, is_refusal: bool) {
        if !is_refusal {
            return;
        }
        let Ok(mut rest) = self.0.try_recv() else { return };
        let read = async {
            let mut bytes = 0;
            while let Some(Ok(frame)) = rest.frame().await {
                bytes += frame.data_ref().map_or(0, Buf::remaining);
                if bytes > BYTES {
                    break;
                }
            }
        };
        // Longer than that nobody is kept waiting for a refusal.
        let _ = timeout(PATIENCE, read).await;
    }
}

/// A body that is given back when it is dropped before its end.
struct Returning {
    body: Body,
    back: Option<oneshot::Sender<Body>>,
}

impl http_body::Body for Returning {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Returning {
    fn drop(&mut self) {
        if !self.body.is_end_stream()
            && let Some(back) = self.back.take()
        {
            // If the answer is not waited for any more, neither is this.
            let _ = back.send(std::mem::take(&mut self.body));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
    };

    use futures::{Stream, StreamExt, stream};
    use http_body_util::StreamBody;
    use tower::service_fn;

    use super::*;
    use crate::{grpc::caught::answer, telemetry::Call};

    /// Refuses a request with this body without a look at it.
    async fn refuse(body: impl Stream<Item = Result<Frame<Bytes>, Status>> + Send + 'static) {
        let mut request = Request::new(Body::new(StreamBody::new(body)));
        request.extensions_mut().insert(Arc::new(Call::new(None, "/method")));
        let routes = service_fn(async |_| Ok::<_, Infallible>(Status::unauthenticated("no").into_http::<Body>()));
        let response = answer(routes, request).await.unwrap();
        assert_eq!(response.headers()[Status::GRPC_STATUS], "16");
    }

    fn frames(count: usize) -> impl Stream<Item = Result<Frame<Bytes>, Status>> + Send + use<> {
        stream::iter(vec![0; count]).map(|_| Ok(Frame::data(Bytes::from(vec![0; 1024]))))
    }

    #[tokio::test]
    async fn a_request_that_is_refused_is_read_to_its_end() {
        let has_ended = Arc::new(AtomicBool::new(false));
        let end = {
            let has_ended = Arc::clone(&has_ended);
            stream::poll_fn(move |_| {
                has_ended.store(true, Ordering::Relaxed);
                Poll::Ready(None)
            })
        };
        refuse(frames(3).chain(end)).await;
        assert!(has_ended.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn a_request_that_does_not_end_is_refused_all_the_same() {
        timeout(Duration::from_secs(20), refuse(frames(1).chain(stream::pending()))).await.unwrap();
        timeout(Duration::from_secs(20), refuse(stream::repeat_with(|| Ok(Frame::data(Bytes::from_static(&[0; 1024])))))).await.unwrap();
    }
}
