//! The handler of ExportUserData: one task reads, while the client's packs and sends (`frame_stream`).

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{
    auth::Belief,
    caught::caught,
    convert::request,
    deadline::Deadline,
    frame_packer::FramePacker,
    frame_stream::FrameStream,
    proto,
    service::{Begun, Services},
    status,
};
use crate::{
    domain::{
        counts::RecordCounts,
        digest::ExportDigest,
        position::Position,
        principal::Permission,
        resume_token::ExportState,
        violation::{Complaint, FieldViolation},
    },
    operations::export_user_data::{Block, Export},
    telemetry::Call,
};

pub(super) async fn export_user_data(services: &Services, begun: Begun<proto::ExportUserDataRequest>) -> Result<FrameStream, Status> {
    let Begun { principal, belief, call, deadline, message, room } = begun;
    let (user_token, choices, resume_token) = request::export(message).map_err(status::invalid)?;
    if choices.include_deleted {
        principal.permits(Permission::Admin).map_err(|reason| status::not_permitted(&reason))?;
    }
    let subject = principal.authorise(Permission::Export, user_token).map_err(|reason| status::not_permitted(&reason))?;

    let rooms = (room, services.load.export(&principal)?);
    // Before anything is read: what is held then is in it.
    let as_of = services.clock.now();
    let begun = Export::begin(services.stores.clone(), subject.clone(), choices).await;
    let mut export = begun.map_err(|error| status::failed(&error, &call))?;
    let epoch = export.epoch();
    let state = if resume_token.is_empty() {
        ExportState { position: Position::Start, epoch, as_of, counts: RecordCounts::default(), digest: ExportDigest::default() }
    } else {
        let damaged = Complaint::Rule("is damaged, or of another user or another choice of data; begin a new export");
        ExportState::open(&resume_token, &subject, choices)
            .ok_or_else(|| status::invalid(vec![FieldViolation::new("resume_token", damaged)]))?
    };
    if state.epoch != epoch {
        return Err(status::erased_meanwhile());
    }

    export.resume(state.position.clone());
    let packer = FramePacker::new(subject, choices, state);
    // Most users are small: what there is fits one block, and nothing has to be read beside it.
    let first = services.cut.run_until_cancelled(export.next_block()).await.ok_or_else(status::draining)?;
    let first = first.map_err(|error| status::failed(&error, &call))?;
    let (sender, receiver) = mpsc::unbounded_channel();
    if !first.is_last {
        let queue = Queue { own: Arc::new(Semaphore::new(1)), shared: Arc::clone(&services.read_ahead), sender: sender.clone() };
        let work = read_all(export, belief, queue, Arc::clone(&call));
        services.heavy.start(run(work, Arc::clone(&call), sender, services.cut.clone(), deadline));
    }
    Ok(FrameStream::new(packer, first, receiver, call, rooms))
}

/// A block that waits to be packed, or the status that comes instead, with the room it takes.
pub(super) type Ahead = (Result<Block, Status>, Option<OwnedSemaphorePermit>);

/// Reads blocks until the end, the client's leave, the cut, or the deadline.
async fn run(
    work: impl Future<Output = Result<(), Status>>,
    call: Arc<Call>,
    sender: mpsc::UnboundedSender<Ahead>,
    cut: CancellationToken,
    deadline: Option<Deadline>,
) {
    let status = tokio::select! {
        worked = caught(&call, work) => match worked.flatten() {
            Ok(()) => return,
            Err(status) => status,
        },
        // Whatever it waits for: its room is another's already.
        () = sender.closed() => return,
        () = cut.cancelled() => status::draining(),
        () = Deadline::passed(deadline) => status::deadline_exceeded(),
    };
    // Nobody is there to hear it if the client is gone.
    let _ = sender.send((Err(status), None));
}

async fn read_all(mut export: Export, belief: Belief, queue: Queue, call: Arc<Call>) -> Result<(), Status> {
    // Nothing is read before there is room for it: a slow reader costs a block less.
    while let Some(room) = queue.room().await {
        belief.lasts()?;
        let block = export.next_block().await.map_err(|error| status::failed(&error, &call))?;
        let is_last = block.is_last;
        if queue.sender.send((Ok(block), Some(room))).is_err() || is_last {
            break;
        }
    }
    Ok(())
}

/// The way of blocks from the reader to the sender.
struct Queue {
    /// Room for one block.
    own: Arc<Semaphore>,
    /// Room for more, if other exports leave it.
    shared: Arc<Semaphore>,
    sender: mpsc::UnboundedSender<Ahead>,
}

impl Queue {
    /// Waits for room for a block; `None` when the client is gone.
    async fn room(&self) -> Option<OwnedSemaphorePermit> {
        let room = tokio::select! {
            biased;
            () = self.sender.closed() => return None,
            room = Arc::clone(&self.own).acquire_owned() => room,
            room = Arc::clone(&self.shared).acquire_owned() => room,
        };
        // Neither is ever closed.
        room.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic::Code;
    use tonic_types::StatusExt;

    use super::*;

    #[tokio::test]
    async fn an_export_that_panics_ends_with_internal_and_not_as_if_it_were_whole() {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let work = async { panic!("hunter2") };
        run(work, Arc::new(Call::new(None, "/method")), sender, CancellationToken::new(), None).await;
        let Some((Err(status), _)) = receiver.recv().await else { panic!("no status") };
        assert_eq!(status.code(), Code::Internal);
        assert_eq!(status.get_details_error_info().unwrap().reason, "ERROR_REASON_INTERNAL");
        assert!(receiver.recv().await.is_none());
    }

    #[tokio::test]
    async fn an_export_whose_client_is_gone_ends_in_the_midst_of_a_read() {
        let (sender, receiver) = mpsc::unbounded_channel();
        let (stays, mut ended) = mpsc::channel::<()>(1);
        let work = async move {
            let _stays = stays;
            std::future::pending().await
        };
        let running = tokio::spawn(run(work, Arc::new(Call::new(None, "/method")), sender, CancellationToken::new(), None));
        drop(receiver);
        tokio::time::timeout(Duration::from_secs(20), running).await.expect("the work goes on").unwrap();
        assert!(ended.recv().await.is_none());
    }

    #[tokio::test]
    async fn an_export_whose_client_stopped_reading_ends_at_its_deadline() {
        for is_full in [false, true] {
            let (sender, mut receiver) = mpsc::unbounded_channel();
            let (stays, mut ended) = mpsc::channel::<()>(1);
            let blocks = sender.clone();
            let work = async move {
                let _stays = stays;
                if is_full {
                    let _ = blocks.send((Ok(Block::default()), None));
                }
                std::future::pending().await
            };
            let deadline = Deadline::after(Duration::from_millis(20));
            let running = run(work, Arc::new(Call::new(None, "/method")), sender, CancellationToken::new(), Some(deadline));
            tokio::time::timeout(Duration::from_secs(20), running).await.unwrap();
            assert!(ended.recv().await.is_none(), "the work goes on");
            if is_full {
                assert!(receiver.recv().await.unwrap().0.is_ok());
            }
            let (last, _) = receiver.recv().await.unwrap();
            assert_eq!(last.err().map(|status| status.code()), Some(Code::DeadlineExceeded));
            assert!(receiver.recv().await.is_none());
        }
    }
}
