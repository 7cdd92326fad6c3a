//! How long a request may take to arrive. A client that begins one and sends no more of it, or a byte now and then, would otherwise hold a
//! call for as long as it likes. Time that the server takes between two requests of a stream does not count.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::{Status, body::Body};

use super::status;

/// Gives each message of a request so much time, and the end behind the last.
pub fn within(time: Duration, request: Request<Body>) -> Request<Body> {
    request.map(|body| if body.is_end_stream() { body } else { Body::new(Arriving { body, time, timer: None, place: Place::default() }) })
}

struct Arriving {
    body: Body,
    time: Duration,
    /// Runs while a message is waited for; boxed, for most arrive with their heads.
    timer: Option<Pin<Box<Sleep>>>,
    place: Place,
}

/// Where in a message the next byte belongs: behind so many of the five that say its length, or so many before its end.
#[derive(Default)]
pub(super) struct Place {
    prefix: u8,
    left: u32,
    begun: usize,
}

impl Place {
    /// Goes on by these bytes; tells whether a message ends in them.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) -> bool {
        let mut has_ended = false;
        while let Some((first, rest)) = bytes.split_first() {
            if self.prefix < 5 {
                // The first of the five is a flag, and four shifts push it out.
                self.left = self.left << 8 | u32::from(*first);
                self.prefix += 1;
                self.begun += 1;
                bytes = rest;
            }
            if self.prefix == 5 {
                let passed = bytes.len().min(self.left as usize);
                bytes = &bytes[passed..];
                self.begun += passed;
                self.left -= u32::try_from(passed).unwrap_or(self.left);
                if self.left == 0 {
                    *self = Self::default();
                    has_ended = true;
                }
            }
        }
        has_ended
    }

    /// How much of a message has been passed that has not ended.
    pub(super) fn begun(&self) -> usize {
        self.begun
    }
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if frame.data_ref().is_some_and(|data| this.place.pass(data)) {
                    this.timer = None;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Pending => {
                let time = this.time;
                let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(time)));
                timer.as_mut().poll(cx).map(|()| {
                    this.timer = None;
                    Some(Err(status::request_incomplete()))
                })
            }
            ended => ended,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_ends_where_its_length_says_however_it_is_cut() {
        // Of three bytes, of none (and compressed), of 256.
        let bytes = [[0, 0, 0, 0, 3, 1, 2, 3, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0].as_slice(), &[7; 256]].concat();
        for step in 1..bytes.len() {
            let mut place = Place::default();
            let (mut at, mut ends) = (0, Vec::new());
            for part in bytes.chunks(step) {
                at += part.len();
                let begin = [0, 8, 13].into_iter().rfind(|begin| *begin <= at).unwrap();
                if place.pass(part) {
                    ends.push(at);
                }
                assert_eq!(place.begun(), if at == bytes.len() { 0 } else { at - begin }, "{step}");
            }
            let mut expected: Vec<_> = [8, 13, bytes.len()].map(|end: usize| (end.div_ceil(step) * step).min(bytes.len())).to_vec();
            expected.dedup();
            assert_eq!(ends, expected, "{step}");
        }
    }
}
