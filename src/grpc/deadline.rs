//! The deadline of a call: the caller's, `grpc-timeout`, or the longest time that the server gives to such a call. It bounds the
//! work of a call, that of its stream too, and answers DEADLINE_EXCEEDED. What works for the call is dropped then, save what must come to its
//! end (`repository::in_own_task`). Handlers find it in the request's extensions, for work in other tasks: nobody asks for the body of a
//! client that stopped reading. How long the answer may be on its way is told by `pace`, which finds it in those of the response.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::{Layer, Service};

use super::{methods::served, status};
use crate::config::limits::LimitsConfig;

/// Has no other end than that of the server.
const WATCH: &str = "/grpc.health.v1.Health/Watch";

/// How long the caller waits at the most: up to 8 digits and a unit. What is not that is no deadline, as in tonic.
fn timeout(header: &HeaderValue) -> Option<Duration> {
    let (digits, unit) = header.to_str().ok()?.split_at_checked(header.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 60 * 60)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

/// When the caller's patience ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(Instant);

impl Deadline {
    /// The end of so much time from now.
    pub(super) fn after(timeout: Duration) -> Self {
        Self(Instant::now() + timeout)
    }

    /// When it passes.
    pub(super) fn at(self) -> Instant {
        self.0
    }

    /// How long it is until then.
    pub(super) fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Ready when it has passed; without one, never.
    pub(super) async fn passed(deadline: Option<Self>) {
        match deadline {
            Some(Self(at)) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

/// Ends calls at their deadlines.
#[derive(Clone, Debug)]
pub struct DeadlineLayer(Arc<HashMap<String, Duration>>);

impl DeadlineLayer {
    /// With the longest times of the settings, by method; health may be watched for ever.
    pub fn new(limits: &LimitsConfig) -> Self {
        let bounded = served().filter(|(path, _)| path != WATCH);
        let maximum = |is_stream| if is_stream { limits.max_stream_duration } else { limits.max_call_duration };
        Self(Arc::new(bounded.map(|(path, is_stream)| (path, maximum(is_stream))).collect()))
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = WithDeadline<S>;

    fn layer(&self, inner: S) -> WithDeadline<S> {
        WithDeadline { inner, maxima: Arc::clone(&self.0) }
    }
}

/// See [`DeadlineLayer`].
#[derive(Clone, Debug)]
pub struct WithDeadline<S> {
    inner: S,
    maxima: Arc<HashMap<String, Duration>>,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for WithDeadline<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = Response<BoundedBody<ResBody>>;
    type Error = S::Error;
    type Future = BoundedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let wished = request.headers().get("grpc-timeout").and_then(timeout);
        let maximum = self.maxima.get(request.uri().path()).copied();
        let deadline = wished.into_iter().chain(maximum).min().map(Deadline::after);
        if let Some(deadline) = deadline {
            request.extensions_mut().insert(deadline);
        }
        let timer = deadline.map(|Deadline(at)| Box::pin(sleep_until(at)));
        BoundedFuture { inner: self.inner.call(request), timer }
    }
}

/// A deadline; boxed, for it is large.
type Timer = Option<Pin<Box<Sleep>>>;

/// Whether the deadline has passed. The clock is asked too, for a timer may ring a millisecond late.
fn has_passed(timer: &mut Timer, cx: &mut Context<'_>) -> bool {
    timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready() || timer.deadline() <= Instant::now())
}

pin_project! {
    /// The head of a response that has a deadline.
    pub struct BoundedFuture<F> {
        #[pin]
        inner: F,
        timer: Timer,
    }
}

impl<F, B, E> Future for BoundedFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<BoundedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(response) = this.inner.poll(cx) {
            let timer = this.timer.take();
            return Poll::Ready(response.map(|mut response| {
                if let Some(timer) = &timer {
                    response.extensions_mut().insert(Deadline(timer.deadline()));
                }
                response.map(|inner| BoundedBody { inner: Some(inner), timer })
            }));
        }
        if has_passed(this.timer, cx) {
            let response = status::deadline_exceeded().into_http::<()>();
            return Poll::Ready(Ok(response.map(|()| BoundedBody { inner: None, timer: None })));
        }
        Poll::Pending
    }
}

pin_project! {
    /// The body of a response that has a deadline; without an inner one it has ended.
    pub struct BoundedBody<B> {
        #[pin]
        inner: Option<B>,
        timer: Timer,
    }
}

impl<B: Body> Body for BoundedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        if has_passed(this.timer, cx) {
            this.inner.set(None);
            let mut trailers = HeaderMap::new();
            // Every header of a status that is made here is valid.
            let _ = status::deadline_exceeded().add_header(&mut trailers);
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        Poll::Ready(ready!(inner.poll_frame(cx)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        for (header, expected) in [
            ("2H", Some(Duration::from_secs(7_200))),
            ("3M", Some(Duration::from_secs(180))),
            ("10S", Some(Duration::from_secs(10))),
            ("250m", Some(Duration::from_millis(250))),
            ("7u", Some(Duration::from_micros(7))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3_600))),
            ("", None),
            ("S", None),
            ("1", None),
            ("123456789S", None),
            ("+1S", None),
            ("1s", None),
            ("1.5S", None),
            ("1 S", None),
        ] {
            assert_eq!(timeout(&HeaderValue::from_static(header)), expected, "{header}");
        }
    }
}
