//! The handler of ExportUserData: one task reads, while the client's packs and sends (`frame_stream`).

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{
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

/// Blocks that wait to be packed, beside the one whose frames are being sent.
const BLOCKS_AHEAD: usize = 1;

pub(super) async fn export_user_data(services: &Services, begun: Begun<proto::ExportUserDataRequest>) -> Result<FrameStream, Status> {
    let Begun { principal, call, deadline, message } = begun;
    let (user_token, choices, resume_token) = request::export(message).map_err(status::invalid)?;
    if choices.include_deleted {
        principal.permits(Permission::Admin).map_err(|reason| status::not_permitted(&reason))?;
    }
    let subject = principal.authorise(Permission::Export, user_token).map_err(|reason| status::not_permitted(&reason))?;

    let begun = Export::begin(services.stores.clone(), subject.clone(), choices).await;
    let mut export = begun.map_err(|error| status::failed(&error, &call))?;
    let epoch = export.epoch();
    let state = if resume_token.is_empty() {
        ExportState {
            position: Position::Start,
            epoch,
            as_of: services.clock.now(),
            counts: RecordCounts::default(),
            digest: ExportDigest::default(),
        }
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
    let (sender, receiver) = mpsc::channel(BLOCKS_AHEAD);
    if !first.is_last {
        let work = read_all(export, Arc::clone(&call), sender.clone());
        tokio::spawn(run(work, Arc::clone(&call), sender, services.cut.clone(), deadline));
    }
    Ok(FrameStream::new(packer, first, receiver, call))
}

/// Reads until the end, the client's leave, the cut, or the deadline.
async fn run(
    work: impl Future<Output = Result<(), Status>>,
    call: Arc<Call>,
    sender: mpsc::Sender<Result<Block, Status>>,
    cut: CancellationToken,
    deadline: Option<Deadline>,
) {
    let work = async {
        if let Err(status) = caught(&call, work).await.flatten() {
            let _ = sender.send(Err(status)).await;
        }
    };
    let status = tokio::select! {
        () = work => return,
        () = cut.cancelled() => status::draining(),
        () = Deadline::passed(deadline) => status::deadline_exceeded(),
    };
    // A client that stopped reading must hold up neither: it gets the status if there is room for it.
    let _ = sender.try_send(Err(status));
}

async fn read_all(mut export: Export, call: Arc<Call>, sender: mpsc::Sender<Result<Block, Status>>) -> Result<(), Status> {
    // Nothing is read before there is room for it: a slow reader costs a block less. Without a receiver, the client is gone.
    while let Ok(room) = sender.reserve().await {
        let block = export.next_block().await.map_err(|error| status::failed(&error, &call))?;
        let is_last = block.is_last;
        room.send(Ok(block));
        if is_last {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic::Code;
    use tonic_types::StatusExt;

    use super::*;

    #[tokio::test]
    async fn an_export_that_panics_ends_with_internal_and_not_as_if_it_were_whole() {
        let (sender, mut receiver) = mpsc::channel(BLOCKS_AHEAD);
        let work = async { panic!("hunter2") };
        run(work, Arc::new(Call::new(None, "/method")), sender, CancellationToken::new(), None).await;
        let Some(Err(status)) = receiver.recv().await else { panic!("no status") };
        assert_eq!(status.code(), Code::Internal);
        assert_eq!(status.get_details_error_info().unwrap().reason, "ERROR_REASON_INTERNAL");
        assert!(receiver.recv().await.is_none());
    }

    #[tokio::test]
    async fn an_export_whose_client_stopped_reading_ends_at_its_deadline() {
        for is_full in [false, true] {
            let (sender, mut receiver) = mpsc::channel(BLOCKS_AHEAD);
            let (stays, mut ended) = mpsc::channel::<()>(1);
            let blocks = sender.clone();
            let work = async move {
                let _stays = stays;
                if is_full {
                    let _ = blocks.send(Ok(Block::default())).await;
                }
                std::future::pending().await
            };
            let deadline = Deadline::after(Duration::from_millis(20));
            let running = run(work, Arc::new(Call::new(None, "/method")), sender, CancellationToken::new(), Some(deadline));
            tokio::time::timeout(Duration::from_secs(20), running).await.unwrap();
            assert!(ended.recv().await.is_none(), "the work goes on");
            let first = receiver.recv().await.unwrap();
            assert_eq!(first.err().map(|status| status.code()), (!is_full).then_some(Code::DeadlineExceeded));
            assert!(receiver.recv().await.is_none());
        }
    }
}
