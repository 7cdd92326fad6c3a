//! How fast a client must take an answer. Where it is slower than the floor, its stream ends with a status between two messages. A client that
//! takes nothing at all is not told anything: hyper asks for more of a body only when what there was is on its way, so the body cannot end
//! such a stream. Its task can: [`StreamExecutor`] drops it, which resets the one stream, and with it goes all that worked for it. The last
//! 64 KiB of an answer count as on their way once they are handed over (SECURITY.md).

use std::{
    cell::Cell,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::{Layer, Service};

use super::{deadline::Deadline, status};
use crate::config::limits::LimitsConfig;

/// How much is given out at once: h2 keeps so much of it, of any stream, whatever its client takes.
const PIECE: usize = 64 * 1024;

/// How long a client has, after the deadline of its call, to take what was on its way then.
const LAST_WORDS: Duration = Duration::from_secs(5);

tokio::task_local! {
    /// By when the client of this task's stream is to have taken what its body gave out.
    static TAKEN_BY: Cell<Option<Instant>>;
}

fn must_be_taken_by(at: Option<Instant>) {
    // Served by another executor, a stream waits for its client.
    let _ = TAKEN_BY.try_with(|cell| cell.set(at));
}

/// Runs the streams of a connection, each as a task of its own, until they end or their clients have not taken anything for too long.
#[derive(Clone, Copy, Debug, Default)]
pub struct StreamExecutor;

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        tokio::spawn(Stream { stream, taken_by: None, timer: None });
    }
}

pin_project! {
    struct Stream<F> {
        #[pin]
        stream: F,
        taken_by: Option<Instant>,
        timer: Option<Pin<Box<Sleep>>>,
    }
}

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let poll = || (this.stream.poll(cx), TAKEN_BY.with(Cell::get));
        let (polled, taken_by) = TAKEN_BY.sync_scope(Cell::new(*this.taken_by), poll);
        if polled.is_ready() {
            return Poll::Ready(());
        }
        *this.taken_by = taken_by;
        let Some(at) = taken_by else { return Poll::Pending };
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        timer.as_mut().poll(cx)
    }
}

/// The floor.
#[derive(Clone, Copy, Debug)]
struct Floor {
    bytes_per_second: u32,
    window: Duration,
}

impl Floor {
    /// How long so much may take.
    fn allows(self, bytes: usize) -> Option<Duration> {
        let rate = (self.bytes_per_second > 0).then_some(f64::from(self.bytes_per_second))?;
        Some(self.window.max(Duration::from_secs_f64(bytes as f64 / rate)))
    }
}

/// Gives out answers piece by piece, as fast as they are taken.
#[derive(Clone, Copy, Debug)]
pub struct PaceLayer(Floor);

impl PaceLayer {
    /// With the floor of the settings.
    pub fn new(limits: &LimitsConfig) -> Self {
        Self(Floor { bytes_per_second: limits.min_read_rate, window: limits.min_read_window })
    }
}

impl<S> Layer<S> for PaceLayer {
    type Service = Paced<S>;

    fn layer(&self, inner: S) -> Paced<S> {
        Paced { inner, floor: self.0 }
    }
}

/// See [`PaceLayer`].
#[derive(Clone, Debug)]
pub struct Paced<S> {
    inner: S,
    floor: Floor,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Paced<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = Response<PacedBody<ResBody>>;
    type Error = S::Error;
    type Future = PacedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        PacedFuture { inner: self.inner.call(request), floor: self.floor }
    }
}

pin_project! {
    /// The head of a paced response.
    pub struct PacedFuture<F> {
        #[pin]
        inner: F,
        floor: Floor,
    }
}

impl<F, B, E> Future for PacedFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<PacedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx));
        let floor = *this.floor;
        Poll::Ready(response.map(|response| {
            let last_words = response.extensions().get().map(|deadline: &Deadline| deadline.at() + LAST_WORDS);
            response.map(|inner| PacedBody { inner: Some(inner), rest: Bytes::new(), given: None, floor, last_words })
        }))
    }
}

pin_project! {
    /// The body of a paced response; without an inner one it has ended.
    pub struct PacedBody<B> {
        #[pin]
        inner: Option<B>,
        // What is still to be given out of what the inner one gave.
        rest: Bytes,
        // How much that was, and since when the client is to take it.
        given: Option<(usize, Instant)>,
        floor: Floor,
        // When a client that takes nothing is cut whatever the floor.
        last_words: Option<Instant>,
    }
}

impl<B: Body<Data = Bytes>> Body for PacedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        must_be_taken_by(None);
        if this.rest.is_empty() {
            if let Some((bytes, since)) = this.given.take()
                && this.floor.allows(bytes).is_some_and(|allowed| since.elapsed() > allowed)
            {
                this.inner.set(None);
                let mut trailers = HeaderMap::new();
                // Every header of a status that is made here is valid.
                let _ = status::read_too_slowly().add_header(&mut trailers);
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
            let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
            match ready!(inner.poll_frame(cx)).transpose()?.map(Frame::into_data) {
                Some(Ok(data)) => *this.rest = data,
                Some(Err(trailers)) => return Poll::Ready(Some(Ok(trailers))),
                None => return Poll::Ready(None),
            }
            *this.given = Some((this.rest.len(), Instant::now()));
        }
        let piece = this.rest.split_to(PIECE.min(this.rest.len()));
        // Who is slow, and takes something, is told so; for that there is as much time again.
        let by_floor = this.floor.allows(piece.len()).map(|allowed| Instant::now() + 2 * allowed);
        must_be_taken_by(by_floor.into_iter().chain(*this.last_words).min());
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.inner.as_ref().map_or_else(SizeHint::default, Body::size_hint);
        let rest = self.rest.len() as u64;
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_is_a_rate_over_a_window_at_least() {
        let floor = Floor { bytes_per_second: 512, window: Duration::from_secs(60) };
        assert_eq!(floor.allows(1), Some(Duration::from_secs(60)));
        // A reader of 1 KB in a second takes 64 KiB in 66.
        assert_eq!(floor.allows(PIECE), Some(Duration::from_secs(128)));
        assert_eq!(Floor { bytes_per_second: 0, ..floor }.allows(PIECE), None);
    }
}
