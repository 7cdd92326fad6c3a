//! The frames of one export as its client asks for them: blocks are packed here, while the next one is read elsewhere.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::Status;

use super::{
    export_frame::ExportFrame,
    export_user_data::Ahead,
    frame_packer::FramePacker,
    load::{Room, Rooms},
    status,
};
use crate::{operations::export_user_data::Block, telemetry::Call};

/// Gives the frames of the blocks it receives, and the summary behind the last; or the status that comes instead of a block.
pub struct FrameStream {
    /// `None` when nothing comes any more.
    packer: Option<FramePacker>,
    ready: VecDeque<ExportFrame>,
    blocks: mpsc::UnboundedReceiver<Ahead>,
    call: Arc<Call>,
    rooms: Rooms,
}

impl FrameStream {
    pub(super) fn new(
        packer: FramePacker,
        first: Block,
        blocks: mpsc::UnboundedReceiver<Ahead>,
        call: Arc<Call>,
        rooms: (Arc<Room>, Room),
    ) -> Self {
        let mut frames = Self { packer: Some(packer), ready: VecDeque::new(), blocks, call, rooms: Arc::new(rooms) };
        frames.pack(first);
        frames
    }

    /// What the response holds longer than these frames.
    pub(super) fn rooms(&self) -> Rooms {
        Arc::clone(&self.rooms)
    }

    fn pack(&mut self, block: Block) {
        let Some(mut packer) = self.packer.take() else { return };
        let is_last = block.is_last;
        self.ready.extend(packer.pack(block));
        if is_last {
            self.call.count_records(&packer.state().counts);
            self.ready.push_back(packer.finish());
        } else {
            self.packer = Some(packer);
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<ExportFrame, Status>>> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(frame)));
            }
            if self.packer.is_none() {
                return Poll::Ready(None);
            }
            // The room it took is free again when it is taken out.
            let (block, _) = ready!(self.blocks.poll_recv(cx)).unwrap_or_else(|| (Err(status::draining()), None));
            match block {
                Ok(block) => self.pack(block),
                Err(status) => return self.end_with(status),
            }
        }
    }

    fn end_with(&mut self, status: Status) -> Poll<Option<Result<ExportFrame, Status>>> {
        self.packer = None;
        self.ready.clear();
        Poll::Ready(Some(Err(status)))
    }
}

impl Stream for FrameStream {
    type Item = Result<ExportFrame, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // What panicked is dropped, so nobody sees it half done.
        let polled = catch_unwind(AssertUnwindSafe(|| self.poll_frame(cx)));
        polled.unwrap_or_else(|_| {
            let status = status::unforeseen(&self.call);
            self.end_with(status)
        })
    }
}
