//! How fast a client must take an answer. Where it is slower than the floor, its stream ends with a status between two messages. A client that
//! takes nothing at all is not told anything: hyper asks for more of a body only when what there was is on its way, so the body cannot end
//! such a stream. Its task can: [`StreamExecutor`] drops it, which resets the one stream, and with it goes all that worked for it. An answer
//! ends only when what h2 keeps of it is written: until then it is under the floor, and has its place ([`Held`]).

use std::{
    cell::Cell,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures::task::AtomicWaker;
use http::{HeaderMap, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{admission::Held, deadline::Deadline, status};
use crate::config::limits::LimitsConfig;

/// How much is given out at once: h2 keeps so much of it, of any stream, whatever its client takes.
const PIECE: usize = 64 * 1024;

/// An answer that is no longer ends without a look at whether it is written: most are small, and end with the write that brings them.
const SMALL: usize = 16 * 1024;

/// How long a client has, after the deadline of its call, to take what was on its way then.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What the body of a stream says of its client.
#[derive(Clone, Copy, Default)]
struct Client {
    /// By when it is to have taken what the body gave out.
    taken_by: Option<Instant>,
    /// Whether the body waits for that.
    is_waited_for: bool,
}

tokio::task_local! {
    /// Of this task's stream.
    static CLIENT: Cell<Client>;
}

fn say(client: Client) {
    // Served by another executor, a stream waits for its client.
    let _ = CLIENT.try_with(|cell| cell.set(client));
}

/// Whether the body of this task's stream, when it gives nothing, waits for its client and not for the server.
pub(crate) fn waits_for_client() -> bool {
    CLIENT.try_with(|cell| cell.get().is_waited_for).unwrap_or(false)
}

/// Runs the streams of a connection, each as a task of its own, until they end or their clients have not taken anything for too long.
#[derive(Clone, Copy, Debug, Default)]
pub struct StreamExecutor;

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        tokio::spawn(Stream { stream, client: Client::default(), timer: None });
    }
}

pin_project! {
    struct Stream<F> {
        #[pin]
        stream: F,
        client: Client,
        timer: Option<Pin<Box<Sleep>>>,
    }
}

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let poll = || (this.stream.poll(cx), CLIENT.with(Cell::get));
        let (polled, client) = CLIENT.sync_scope(Cell::new(*this.client), poll);
        if polled.is_ready() {
            return Poll::Ready(());
        }
        *this.client = client;
        let Some(at) = client.taken_by else { return Poll::Pending };
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        timer.as_mut().poll(cx)
    }
}

/// The floor.
#[derive(Clone, Copy, Debug)]
pub struct Floor {
    bytes_per_second: u32,
    window: Duration,
}

impl Floor {
    /// That of the settings.
    pub fn new(limits: &LimitsConfig) -> Self {
        Self { bytes_per_second: limits.min_read_rate, window: limits.min_read_window }
    }

    /// An answer that is given out piece by piece, as fast as it is taken.
    pub fn under<B>(self, mut response: Response<B>) -> Response<PacedBody<B>> {
        let last_words = response.extensions().get().map(|deadline: &Deadline| deadline.at() + LAST_WORDS);
        let held = response.extensions_mut().remove();
        response.map(|inner| PacedBody {
            inner: Some(inner),
            rest: Bytes::new(),
            given: None,
            in_all: 0,
            unwritten: Arc::default(),
            last: None,
            floor: self,
            last_words,
            _held: held,
        })
    }

    /// How long so much may take.
    fn allows(self, bytes: usize) -> Option<Duration> {
        let rate = (self.bytes_per_second > 0).then_some(f64::from(self.bytes_per_second))?;
        Some(self.window.max(Duration::from_secs_f64(bytes as f64 / rate)))
    }
}

/// What of an answer was given out, and is not written yet.
#[derive(Debug, Default)]
struct Unwritten {
    bytes: AtomicUsize,
    body: AtomicWaker,
}

impl Unwritten {
    fn is_empty(&self, cx: &Context<'_>) -> bool {
        self.body.register(cx.waker());
        self.bytes.load(Ordering::Acquire) == 0
    }
}

/// What is given out at once; h2 drops it when it has written it, or never will.
struct Piece {
    bytes: Bytes,
    unwritten: Arc<Unwritten>,
}

impl Piece {
    fn of(unwritten: &Arc<Unwritten>, bytes: Bytes) -> Bytes {
        unwritten.bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        Bytes::from_owner(Self { bytes, unwritten: Arc::clone(unwritten) })
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let bytes = self.bytes.len();
        if self.unwritten.bytes.fetch_sub(bytes, Ordering::Release) == bytes {
            self.unwritten.body.wake();
        }
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
        // How much was given out in all.
        in_all: usize,
        unwritten: Arc<Unwritten>,
        // The end, kept until all before it is written, and by when that is to be.
        last: Option<(HeaderMap, Option<Instant>)>,
        floor: Floor,
        // When a client that takes nothing is cut whatever the floor.
        last_words: Option<Instant>,
        _held: Option<Held>,
    }
}

impl<B: Body<Data = Bytes>> Body for PacedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        say(Client::default());
        // Who is slow, and takes something, is told so; for that there is as much time again.
        let (floor, last_words) = (*this.floor, *this.last_words);
        let by = |bytes| floor.allows(bytes).map(|allowed| Instant::now() + 2 * allowed).into_iter().chain(last_words).min();
        if this.last.is_none() && this.rest.is_empty() {
            let is_slow = |(bytes, since): (usize, Instant)| floor.allows(bytes).is_some_and(|allowed| since.elapsed() > allowed);
            let last = if this.given.take().is_some_and(is_slow) {
                this.inner.set(None);
                let mut trailers = HeaderMap::new();
                // Every header of a status that is made here is valid.
                let _ = status::read_too_slowly().add_header(&mut trailers);
                Some(trailers)
            } else {
                let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
                match ready!(inner.poll_frame(cx)).transpose()?.map(Frame::into_data) {
                    Some(Ok(data)) => {
                        *this.rest = data;
                        *this.given = Some((this.rest.len(), Instant::now()));
                        None
                    }
                    Some(Err(last)) => last.into_trailers().ok(),
                    None => return Poll::Ready(None),
                }
            };
            *this.last = last.map(|trailers| (trailers, by(this.unwritten.bytes.load(Ordering::Relaxed))));
        }
        if let Some((trailers, by)) = this.last.take() {
            if this.unwritten.is_empty(cx) {
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
            say(Client { taken_by: by, is_waited_for: true });
            *this.last = Some((trailers, by));
            return Poll::Pending;
        }
        let piece = this.rest.split_to(PIECE.min(this.rest.len()));
        say(Client { taken_by: by(piece.len()), is_waited_for: false });
        *this.in_all += piece.len();
        let piece = if *this.in_all > SMALL { Piece::of(this.unwritten, piece) } else { piece };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.last.is_none() && self.rest.is_empty() && self.inner.as_ref().is_none_or(Body::is_end_stream)
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
