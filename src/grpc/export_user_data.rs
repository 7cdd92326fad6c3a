//! The handler of ExportUserData: one task reads and packs while the other end sends.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{
    convert::request,
    export_frame::ExportFrame,
    frame_packer::FramePacker,
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
    operations::export_user_data::Export,
    telemetry::Call,
};

/// The frames of one export.
pub(crate) type FrameStream = ReceiverStream<Result<ExportFrame, Status>>;

/// Frames that wait for the client, beside the one that is being sent.
const FRAMES_AHEAD: usize = 1;

pub(super) async fn export_user_data(services: &Services, begun: Begun<proto::ExportUserDataRequest>) -> Result<FrameStream, Status> {
    let Begun { principal, call, message } = begun;
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
    let (sender, receiver) = mpsc::channel(FRAMES_AHEAD);
    tokio::spawn(run(export, packer, call, sender, services.cut.clone()));
    Ok(ReceiverStream::new(receiver))
}

/// Reads, packs and sends until the end, the client's leave, or the cut.
async fn run(
    export: Export,
    packer: FramePacker,
    call: Arc<Call>,
    sender: mpsc::Sender<Result<ExportFrame, Status>>,
    cut: CancellationToken,
) {
    let outcome = cut.run_until_cancelled(send_all(export, packer, &call, &sender)).await;
    if let Err(status) = outcome.unwrap_or_else(|| Err(status::draining())) {
        // A client that stopped reading must not hold up the cut: it gets the status if there is room for it.
        let _ = if cut.is_cancelled() { sender.try_send(Err(status)).ok() } else { sender.send(Err(status)).await.ok() };
    }
}

async fn send_all(
    mut export: Export,
    mut packer: FramePacker,
    call: &Call,
    sender: &mpsc::Sender<Result<ExportFrame, Status>>,
) -> Result<(), Status> {
    loop {
        let items = export.next_block().await.map_err(|error| status::failed(&error, call))?;
        if items.is_empty() {
            break;
        }
        for frame in packer.pack(items) {
            if sender.send(Ok(frame)).await.is_err() {
                return Ok(());
            }
        }
    }
    call.count_records(&packer.state().counts);
    // The client is gone, or has everything now.
    let _ = sender.send(Ok(packer.finish())).await;
    Ok(())
}
