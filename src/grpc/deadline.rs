//! The caller's deadline, `grpc-timeout`: it bounds the work of a call, that of its stream too, and answers DEADLINE_EXCEEDED. What works for
//! the call is dropped then, save what must come to its end (`repository::in_own_task`). Handlers find it in the request's extensions, for
//! work in other tasks: nobody asks for the body of a client that stopped reading. Not bounded is how long the answer is on its way: such a
//! client has it when it reads again, and until then what was made ready before stays (of an export a block or two).
//!
//! tonic has a timer of its own for the head of the response, and answers CANCELLED; this one is started before and asked before it.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::{Layer, Service};

use super::status;

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

    /// Ready when it has passed; without one, never.
    pub(super) async fn passed(deadline: Option<Self>) {
        match deadline {
            Some(Self(at)) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

/// Ends calls at their callers' deadlines.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeadlineLayer;

impl<S> Layer<S> for DeadlineLayer {
    type Service = WithDeadline<S>;

    fn layer(&self, inner: S) -> WithDeadline<S> {
        WithDeadline { inner }
    }
}

/// See [`DeadlineLayer`].
#[derive(Clone, Debug)]
pub struct WithDeadline<S> {
    inner: S,
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
        let deadline = request.headers().get("grpc-timeout").and_then(timeout).map(Deadline::after);
        if let Some(deadline) = deadline {
            request.extensions_mut().insert(deadline);
        }
        let timer = deadline.map(|Deadline(at)| Box::pin(sleep_until(at)));
        BoundedFuture { inner: self.inner.call(request), timer }
    }
}

/// A deadline; boxed, for most calls have none.
type Timer = Option<Pin<Box<Sleep>>>;

/// Whether the deadline has passed. The clock is asked too, for tonic's timer may ring in the same tick, and first.
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
            return Poll::Ready(response.map(|response| response.map(|inner| BoundedBody { inner: Some(inner), timer })));
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
