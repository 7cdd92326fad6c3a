//! The threads that serve connections: one for each processor, each with a runtime of its own, so that nothing of a small call ever moves
//! to another thread. To wake one costs as much as half such a call (docs/adr/threads.md).

use std::{num::NonZero, thread};

use tokio::{
    net::TcpStream,
    runtime::Builder,
    sync::{mpsc, oneshot},
};
use tokio_stream::{StreamExt, wrappers::UnboundedReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::{
    service::{InterceptorLayer, Routes},
    transport::server::Server as Transport,
};
use tonic_health::{
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};
use tower::{Layer, layer::layer_fn, service_fn, util::MapResponseLayer};

use super::{Error, accept::Accepted};
use crate::{
    config::listen::ListenConfig,
    domain::limits::MAX_REQUEST_BYTES,
    grpc::{
        Services,
        auth::AuthInterceptor,
        caught::answer,
        deadline::DeadlineLayer,
        methods::methods,
        proto::{
            self,
            server::{import_service_server::ImportServiceServer, user_data_service_server::UserDataServiceServer},
        },
        status,
    },
    telemetry::CallLogLayer,
};

/// The largest head of a request: a JWT of 4 KiB and what usually comes with it.
const MAX_HEADERS: u32 = 16 * 1024;

/// What is served, and how. Cheap to clone.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) config: ListenConfig,
    pub(super) services: Services,
    pub(super) health: HealthReporter,
    pub(super) authenticate: AuthInterceptor,
    /// No new connection or call is taken, and running calls may finish.
    pub(super) stopping: CancellationToken,
    /// Nothing is served any more.
    pub(super) ended: CancellationToken,
}

/// A thread that serves.
pub(super) struct ServiceThread {
    /// Takes its connections.
    pub(super) connections: mpsc::UnboundedSender<Accepted>,
    /// Why it ends.
    pub(super) served: oneshot::Receiver<Result<(), Error>>,
}

/// How many of them there are.
pub(super) fn count() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

impl Service {
    /// Serves in a thread of its own.
    ///
    /// # Errors
    /// When the system gives no thread or no runtime.
    pub(super) fn start(self) -> Result<ServiceThread, Error> {
        let (connections, accepted) = mpsc::unbounded_channel();
        let (end, served) = oneshot::channel();
        let runtime = Builder::new_current_thread().enable_all().build().map_err(Error::Thread)?;
        let serve = move || {
            let ended = self.ended.clone();
            let outcome = runtime.block_on(ended.run_until_cancelled_owned(self.serve(accepted)));
            // Whoever waits for it is gone only when the process ends.
            let _ = end.send(outcome.unwrap_or(Ok(())));
            runtime.shutdown_background();
        };
        thread::Builder::new().name("service".to_owned()).spawn(serve).map_err(Error::Thread)?;
        Ok(ServiceThread { connections, served })
    }

    async fn serve(self, accepted: mpsc::UnboundedReceiver<Accepted>) -> Result<(), Error> {
        let Self { config, services, health, authenticate, stopping, .. } = self;
        let authenticate = InterceptorLayer::new(authenticate);
        let users = UserDataServiceServer::new(services.clone()).max_decoding_message_size(MAX_REQUEST_BYTES);
        let imports = ImportServiceServer::new(services).max_decoding_message_size(MAX_REQUEST_BYTES);
        let describe = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let connections = UnboundedReceiverStream::new(accepted).map(TcpStream::from_std);
        Transport::builder()
            .layer(CallLogLayer::new(methods()))
            .layer(MapResponseLayer::new(status::with_reasons))
            .layer(DeadlineLayer)
            .layer(layer_fn(|routes: Routes| service_fn(move |request| answer(routes.clone(), request))))
            .max_concurrent_streams(config.max_concurrent_streams)
            .http2_max_pending_accept_reset_streams(Some(config.max_error_resets as usize))
            .http2_max_local_error_reset_streams(Some(config.max_error_resets as usize))
            .http2_max_header_list_size(MAX_HEADERS)
            .http2_keepalive_interval(Some(config.keepalive_interval))
            .http2_keepalive_timeout(Some(config.keepalive_timeout))
            .add_service(HealthServer::new(HealthService::from_health_reporter(health)))
            .add_service(describe().build_v1()?)
            .add_service(describe().build_v1alpha()?)
            .add_service(authenticate.layer(users))
            .add_service(authenticate.layer(imports))
            .serve_with_incoming_shutdown(connections, stopping.cancelled_owned())
            .await?;
        Ok(())
    }
}
