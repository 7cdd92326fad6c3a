//! What the handlers share: the stores, and how a request begins.

use std::sync::Arc;

use tokio::{runtime::Handle, sync::Semaphore};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, body::Body};

use super::{
    admission::{AdmitLayer, Held},
    auth::Belief,
    deadline::Deadline,
    delete_user_messages::delete_user_messages,
    export_user_data::export_user_data,
    frame_stream::FrameStream,
    get_erasure_status::{get_erasure_status, needed},
    heavy_work::HeavyWork,
    import_user_data::import_user_data,
    load::{Load, Room},
    proto::{
        self,
        server::{import_service_server::ImportService, user_data_service_server::UserDataService},
    },
    scoped_delete::scoped_delete,
    status,
};
use crate::{
    config::limits::LimitsConfig,
    domain::{
        principal::{Permission, Principal},
        timestamp::Clock,
    },
    operations::Stores,
    telemetry::Call,
};

/// How many blocks all exports together may read ahead, beside one each. With room for some, the reader of a large export and its sender
/// work at the same time; with room for one only, they wake each other for every block, which costs as much as reading it. Few all the
/// same: what was read before an erasure may be sent after it.
const BLOCKS_AHEAD: usize = 3;

/// The services of the contract. Cheap to clone.
#[derive(Clone)]
pub struct Services {
    pub(super) stores: Stores,
    /// What does not run where the call came in.
    pub(super) heavy: HeavyWork,
    pub(super) clock: Clock,
    /// Cancelled when running calls are to be cut.
    pub(super) cut: CancellationToken,
    /// Room for blocks that exports read ahead, beside the one that each may.
    pub(super) read_ahead: Arc<Semaphore>,
    /// What runs already.
    pub(super) load: Arc<Load>,
}

impl Services {
    /// Services over these stores. What takes long runs on `runtime`, wherever calls come in; `cut` ends what still runs when a shutdown
    /// has waited long enough.
    pub fn new(stores: Stores, runtime: Handle, clock: Clock, cut: CancellationToken, limits: &LimitsConfig) -> Self {
        let (read_ahead, load) = (Arc::new(Semaphore::new(BLOCKS_AHEAD)), Arc::new(Load::within(limits)));
        Self { stores, heavy: HeavyWork::on(runtime), clock, cut, read_ahead, load }
    }

    /// What lets their calls in, once it is known whose they are.
    pub fn admit(&self) -> AdmitLayer<impl Fn(&mut http::Request<Body>) -> Result<Held, Status> + Clone + use<>> {
        let load = Arc::clone(&self.load);
        AdmitLayer::new(move |request| load.admit(request))
    }

    /// What lets imports in, likewise.
    pub fn admit_imports(&self) -> AdmitLayer<impl Fn(&mut http::Request<Body>) -> Result<Held, Status> + Clone + use<>> {
        let load = Arc::clone(&self.load);
        AdmitLayer::new(move |request| load.admit_import(request))
    }
}

/// A request whose caller is known and permitted to do such things at all.
pub(super) struct Begun<T> {
    pub(super) principal: Principal,
    /// To be asked again where a call goes on for long.
    pub(super) belief: Belief,
    pub(super) call: Arc<Call>,
    pub(super) deadline: Option<Deadline>,
    pub(super) message: T,
    /// Held for as long as the call runs.
    pub(super) room: Arc<Room>,
}

/// Begins a request: who calls, and whether that permits such calls.
pub(super) fn begin<T>(request: Request<T>, permission: Permission) -> Result<Begun<T>, Status> {
    let (_, mut extensions, message) = request.into_parts();
    let caller = (extensions.remove::<Principal>(), extensions.remove::<Belief>());
    let running = (extensions.remove::<Arc<Call>>(), extensions.remove::<Arc<Room>>());
    let ((Some(principal), Some(belief)), (Some(call), Some(room))) = (caller, running) else {
        return Err(status::unauthenticated());
    };
    // The request may have taken its time.
    belief.lasts()?;
    principal.permits(permission).map_err(|reason| status::not_permitted(&reason))?;
    Ok(Begun { principal, belief, call, deadline: extensions.remove(), message, room })
}

#[tonic::async_trait]
impl UserDataService for Services {
    type ExportUserDataStream = FrameStream;

    async fn export_user_data(&self, request: Request<proto::ExportUserDataRequest>) -> Result<Response<FrameStream>, Status> {
        let begun = begin(request, Permission::Export)?;
        // A client that takes back what it has asked for in the same breath is noticed here, before anything is read for it.
        tokio::task::yield_now().await;
        let frames = export_user_data(self, begun).await?;
        let rooms = frames.rooms();
        let mut response = Response::new(frames);
        response.extensions_mut().insert(Held::new(rooms));
        Ok(response)
    }

    async fn delete_user_messages(
        &self,
        request: Request<proto::DeleteUserMessagesRequest>,
    ) -> Result<Response<proto::DeleteUserMessagesResponse>, Status> {
        let begun = begin(request, Permission::DeleteMessages)?;
        delete_user_messages(&self.stores, begun).await.map(Response::new)
    }

    async fn scoped_delete(&self, request: Request<proto::ScopedDeleteRequest>) -> Result<Response<proto::ScopedDeleteResponse>, Status> {
        let begun = begin(request, Permission::ScopedDelete)?;
        scoped_delete(&self.stores, begun).await.map(Response::new)
    }

    async fn get_erasure_status(
        &self,
        request: Request<proto::GetErasureStatusRequest>,
    ) -> Result<Response<proto::GetErasureStatusResponse>, Status> {
        let needed = request.extensions().get().map_or(Permission::ScopedDelete, needed);
        let begun = begin(request, needed)?;
        get_erasure_status(&self.stores, begun).await.map(Response::new)
    }
}

#[tonic::async_trait]
impl ImportService for Services {
    async fn import_user_data(
        &self,
        request: Request<Streaming<proto::ImportUserDataRequest>>,
    ) -> Result<Response<proto::ImportUserDataResponse>, Status> {
        let begun = begin(request, Permission::Import)?;
        self.heavy.run(import_user_data(self.stores.clone(), Arc::clone(&self.load), self.cut.clone(), begun)).await.map(Response::new)
    }
}
