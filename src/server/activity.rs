//! What happens on a connection, told by its calls, for whoever decides when it has been idle for too long. A call waits for the server, or
//! for its client to read on; only the first keeps a connection open.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::sleep;

use crate::grpc::pace::waits_for_client;

/// How often in the time after which it is told, it is looked whether something has happened.
const LOOKS: u32 = 4;

/// The calls of one connection. Its parts are read one by one, and that is enough for a clock that ticks in seconds.
pub(super) struct Activity {
    since: Instant,
    /// When a call ended last, in milliseconds from then.
    ended: AtomicU64,
    /// How much has happened: calls begun and ended, and parts of responses given.
    steps: AtomicU64,
    running: AtomicUsize,
    /// How many of them wait for the server.
    waiting_for_us: AtomicUsize,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            ended: AtomicU64::default(),
            steps: AtomicU64::default(),
            running: AtomicUsize::default(),
            waiting_for_us: AtomicUsize::default(),
        }
    }

    /// A call begins; it waits for the server.
    pub(super) fn begin(self: &Arc<Self>) -> RunningCall {
        self.steps.fetch_add(1, Relaxed);
        self.running.fetch_add(1, Relaxed);
        self.waiting_for_us.fetch_add(1, Relaxed);
        RunningCall { activity: Arc::clone(self), waits_for_us: true }
    }

    pub(super) fn has_calls(&self) -> bool {
        self.running.load(Relaxed) > 0
    }

    /// Whether a call has run in the last so much time.
    pub(super) fn has_run_within(&self, time: Duration) -> bool {
        let rested = || self.since.elapsed().saturating_sub(Duration::from_millis(self.ended.load(Relaxed)));
        self.has_calls() || (self.has_begun() && rested() < time)
    }

    pub(super) fn has_begun(&self) -> bool {
        self.steps.load(Relaxed) > 0
    }

    /// Ready when for so long nothing has happened, and no call has waited for the server.
    pub(super) async fn idle_for(&self, time: Duration) {
        self.quiet_for(time, &self.waiting_for_us).await;
    }

    /// Ready when for so long nothing has happened, and no call has run.
    pub(super) async fn without_calls_for(&self, time: Duration) {
        self.quiet_for(time, &self.running).await;
    }

    async fn quiet_for(&self, time: Duration, busy: &AtomicUsize) {
        let (mut looks, mut steps) = (0, self.steps.load(Relaxed));
        while looks < LOOKS {
            sleep(time / LOOKS).await;
            let before = std::mem::replace(&mut steps, self.steps.load(Relaxed));
            looks = if before == steps && busy.load(Relaxed) == 0 { looks + 1 } else { 0 };
        }
    }
}

/// A call that runs; it has ended when this is dropped.
pub(super) struct RunningCall {
    activity: Arc<Activity>,
    waits_for_us: bool,
}

impl RunningCall {
    /// The call waits for the server, or has given something and waits for its client to take it.
    fn waits(&mut self, for_us: bool) {
        match (self.waits_for_us, for_us) {
            (false, true) => _ = self.activity.waiting_for_us.fetch_add(1, Relaxed),
            (true, false) => _ = self.activity.waiting_for_us.fetch_sub(1, Relaxed),
            _ => {}
        }
        self.waits_for_us = for_us;
        self.activity.steps.fetch_add(1, Relaxed);
    }

    /// The response has a head: what its body does is the rest of the call.
    pub(super) fn answers<B>(mut self, response: http::Response<B>) -> http::Response<WatchedBody<B>> {
        self.waits(false);
        response.map(|inner| WatchedBody { inner, call: self })
    }
}

impl Drop for RunningCall {
    fn drop(&mut self) {
        self.waits(false);
        let ended = u64::try_from(self.activity.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.activity.ended.store(ended, Relaxed);
        self.activity.running.fetch_sub(1, Relaxed);
    }
}

pin_project! {
    /// The body of a response, which tells whom its call waits for.
    pub(super) struct WatchedBody<B> {
        #[pin]
        inner: B,
        call: RunningCall,
    }
}

impl<B: Body> Body for WatchedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let polled = this.inner.poll_frame(cx);
        this.call.waits(polled.is_pending() && !waits_for_client());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
