//! Counts what a client sends that neither begins a request nor is part of one: PING, SETTINGS, RST_STREAM, WINDOW_UPDATE and the like. h2
//! keeps none of it for long, but reads as much as comes, answers it, and logs some. A client that works sends a few for what it is sent.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The length of what a client begins with: `PRI * HTTP/2.0` and so on.
const PREFACE: u32 = 24;

/// The length of a frame's head.
const HEAD: usize = 9;

/// What a frame costs, in bytes that the client was sent: a third of the smallest response, and more than the answer to a PING.
const COST: u64 = 64;

/// How many frames may come together.
const BURST: u64 = 1_000;

/// How many more each second, whatever the client is sent.
const PER_SECOND: u64 = 100;

/// A connection whose client is cut off when it sends too much of that.
pub(super) struct Metered<IO> {
    io: IO,
    frames: Frames,
    credit: u64,
    /// When time was last paid for.
    paid: Instant,
}

impl<IO> Metered<IO> {
    pub(super) fn new(io: IO) -> Self {
        Self { io, frames: Frames::default(), credit: BURST * COST, paid: Instant::now() }
    }

    fn earn(&mut self, credit: u64) {
        self.credit = self.credit.saturating_add(credit).min(BURST * COST);
    }

    fn spend(&mut self, frames: u64) -> io::Result<()> {
        let cost = frames * COST;
        if cost > self.credit {
            let time = self.paid.elapsed();
            self.paid += time;
            self.earn(u64::try_from(time.as_millis()).unwrap_or(u64::MAX).saturating_mul(PER_SECOND * COST / 1_000));
        }
        self.credit =
            self.credit.checked_sub(cost).ok_or_else(|| io::Error::other("the client sends too many frames that ask for nothing"))?;
        Ok(())
    }
}

/// Where in the frames the next byte belongs.
struct Frames {
    /// How much of a frame, or of the preface, is to be passed over before the next head.
    left: u32,
    head: [u8; HEAD],
    /// How much of the head is there.
    known: usize,
}

impl Default for Frames {
    fn default() -> Self {
        Self { left: PREFACE, head: [0; HEAD], known: 0 }
    }
}

impl Frames {
    /// Goes on by these bytes; tells how many frames begin in them that ask for nothing.
    fn pass(&mut self, mut bytes: &[u8]) -> u64 {
        let mut nothing = 0;
        loop {
            let passed = bytes.len().min(self.left as usize);
            self.left -= u32::try_from(passed).unwrap_or(self.left);
            let known = (bytes.len() - passed).min(HEAD - self.known);
            self.head[self.known..][..known].copy_from_slice(&bytes[passed..][..known]);
            self.known += known;
            bytes = &bytes[passed + known..];
            if self.known < HEAD {
                return nothing;
            }
            self.known = 0;
            let [high, middle, low, kind, ..] = self.head;
            self.left = u32::from_be_bytes([0, high, middle, low]);
            // All but DATA and HEADERS.
            nothing += u64::from(kind > 1);
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Metered<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let nothing = self.frames.pass(&buf.filled()[before..]);
        Poll::Ready(self.spend(nothing))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Metered<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        self.earn(written as u64);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, bufs))?;
        self.earn(written as u64);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_ask_for_nothing_are_counted_however_they_are_cut() {
        let frame = |kind: u8, length: u8| [vec![0, 0, length, kind, 0, 0, 0, 0, 1], vec![6; length.into()]].concat();
        let bytes = [vec![6; PREFACE as usize], frame(4, 0), frame(1, 200), frame(0, 9), frame(6, 8), frame(0, 0), frame(99, 30)].concat();
        for step in 1..=bytes.len() {
            let mut frames = Frames::default();
            assert_eq!(bytes.chunks(step).map(|part| frames.pass(part)).sum::<u64>(), 3, "{step}");
        }
    }

    #[test]
    fn what_a_client_is_sent_pays_for_its_frames_and_its_burst_does_not_grow() {
        let mut metered = Metered::new(());
        metered.earn(u64::MAX);
        metered.spend(BURST).unwrap();
        assert!(metered.spend(BURST).is_err());
        metered.earn(COST * 10);
        metered.spend(10).unwrap();
    }
}
