//! The bytes of imports that are on their way in: a request counts from its first byte until the next one is asked for, which is when it has
//! been dealt with. What tonic has made room for once it keeps, so the largest request counts until the last has come.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tonic::{Status, body::Body};

use super::{arrival::Place, load::HeldBytes};

/// The body of an import, within the bound on bytes.
pub(super) struct Weighed {
    body: Body,
    place: Place,
    /// How many bytes tonic has that were not dealt with.
    in_use: usize,
    held: HeldBytes,
}

impl Weighed {
    pub(super) fn new(body: Body, held: HeldBytes) -> Self {
        Self { body, place: Place::default(), in_use: 0, held }
    }
}

impl http_body::Body for Weighed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        // tonic asks for more when it has nothing whole left, and its reader wants it.
        this.in_use = this.place.begun();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx)).transpose()?;
        if let Some(bytes) = frame.as_ref().and_then(Frame::data_ref) {
            this.in_use += bytes.len();
            this.held.hold(this.in_use.max(this.held.number()))?;
            this.place.pass(bytes);
        }
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
