//! The bytes of imports that are on their way in: a request counts from its first byte until the next one is asked for, which is when it has
//! been dealt with.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tonic::{Status, body::Body};

use super::{
    arrival::Place,
    load::{Load, Room},
};
use crate::domain::subject::ApplicationId;

/// The body of an import, within the bound on bytes.
pub(super) struct Weighed {
    body: Body,
    load: Arc<Load>,
    application: ApplicationId,
    place: Place,
    held: Option<Room>,
}

impl Weighed {
    pub(super) fn new(body: Body, load: Arc<Load>, application: ApplicationId) -> Self {
        Self { body, load, application, place: Place::default(), held: None }
    }

    /// Has room for these bytes too.
    fn hold(&mut self, bytes: &Bytes) -> Result<(), Status> {
        let room = self.load.bytes(&self.application, bytes.len())?;
        match &mut self.held {
            Some(held) => held.add(room),
            None => self.held = Some(room),
        }
        self.place.pass(bytes);
        Ok(())
    }
}

impl http_body::Body for Weighed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        // tonic asks for more when it has nothing whole left, and its reader wants it.
        if let Some(held) = &mut this.held {
            held.shrink_to(this.place.begun());
        }
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx)).transpose()?;
        if let Some(bytes) = frame.as_ref().and_then(Frame::data_ref) {
            this.hold(bytes)?;
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
