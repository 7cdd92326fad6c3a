//! The threads that serve connections: one for each processor, each with a runtime of its own, so that nothing of a small call ever moves
//! to another thread. To wake one costs as much as half such a call (docs/adr/threads.md).

use std::{io, num::NonZero, sync::Arc, thread};

use tokio::{
    net::TcpStream,
    runtime::Builder,
    sync::{mpsc, oneshot},
};
use tokio_util::{either::Either, sync::CancellationToken, task::TaskTracker};
use tonic::{
    service::{InterceptorLayer, Routes},
    transport::server::TcpConnectInfo,
};
use tonic_health::{
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};
use tower::{
    Layer, ServiceBuilder,
    layer::layer_fn,
    service_fn,
    util::{MapRequestLayer, MapResponseLayer},
};

use super::{
    Error,
    accept::Accepted,
    connection::{self, Patience, http2},
    strangers::Strangers,
    tls::Tls,
};
use crate::{
    config::{limits::LimitsConfig, listen::ListenConfig},
    domain::{
        limits::{MAX_CALL_BYTES, MAX_REQUEST_BYTES, MAX_STRANGERS_BYTES},
        principal::Permission,
    },
    grpc::{
        Services, arrival,
        auth::{AuthInterceptor, Caller, FailedLogins},
        caught::answer,
        deadline::DeadlineLayer,
        methods::methods,
        pace::Floor,
        proto::{
            self,
            server::{import_service_server::ImportServiceServer, user_data_service_server::UserDataServiceServer},
        },
        status,
    },
    telemetry::CallLogLayer,
};

/// What is served, and how. Cheap to clone.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) config: ListenConfig,
    /// `None` is plain text.
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) limits: LimitsConfig,
    pub(super) services: Services,
    pub(super) health: HealthReporter,
    pub(super) strangers: Strangers,
    pub(super) authenticate: AuthInterceptor,
    pub(super) failed_logins: Arc<FailedLogins>,
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
    /// The same for a listener at which calls that need `admin` are not answered.
    pub(super) fn without_admin(&self) -> Self {
        let authenticate = self.authenticate.clone().withholding(Permission::Admin);
        Self { authenticate, strangers: Strangers::within(&self.config), ..self.clone() }
    }

    /// Serves in a thread of its own.
    ///
    /// # Errors
    /// When the system gives no thread or no runtime, or the service cannot describe itself.
    pub(super) fn start(self) -> Result<ServiceThread, Error> {
        let (connections, accepted) = mpsc::unbounded_channel();
        let (end, served) = oneshot::channel();
        let runtime = Builder::new_current_thread().enable_all().build().map_err(Error::Thread)?;
        let serve = move || {
            let ended = self.ended.clone();
            let outcome = runtime.block_on(ended.run_until_cancelled_owned(self.serve(accepted)));
            // The calls that still run end with it, and are logged: before anybody hears that the thread has ended.
            runtime.shutdown_background();
            // Whoever waits for it is gone only when the process ends.
            let _ = end.send(outcome.unwrap_or(Ok(())));
        };
        thread::Builder::new().name("service".to_owned()).spawn(serve).map_err(Error::Thread)?;
        Ok(ServiceThread { connections, served })
    }

    async fn serve(self, mut accepted: mpsc::UnboundedReceiver<Accepted>) -> Result<(), Error> {
        let Self { config, tls, limits, services, health, strangers, authenticate, failed_logins, stopping, .. } = self;
        let floor = Floor::new(&limits);
        let service = ServiceBuilder::new()
            .layer(CallLogLayer::new(methods()))
            .layer(MapResponseLayer::new(status::with_reasons))
            .layer(MapResponseLayer::new(move |response| floor.under(response)))
            .layer(DeadlineLayer::new(&limits))
            .layer(MapRequestLayer::new(move |request| arrival::within(config.request_timeout, request)))
            .layer(layer_fn(move |routes: Routes| {
                let failed_logins = Arc::clone(&failed_logins);
                // In a box: it is large, and would be moved with each of the layers around it.
                service_fn(move |request| Arc::clone(&failed_logins).slow(Caller::of(&request), Box::pin(answer(routes.clone(), request))))
            }))
            .service(routes(services, health, strangers, authenticate)?);
        let http2 = http2(&config);
        let patience = Patience { first_request: config.first_request_timeout, idle: config.idle_timeout };
        let connections = TaskTracker::new();
        while let Some(Some(Accepted { socket, peer, slot })) = stopping.run_until_cancelled(accepted.recv()).await {
            let (tls, http2, service, stopping) = (tls.clone(), http2.clone(), service.clone(), stopping.clone());
            connections.spawn(async move {
                let _slot = slot;
                match stopping.run_until_cancelled(begin(socket, tls.as_deref())).await {
                    // In a box: on its way through the calls it would be in the task more than once.
                    Some(Ok((io, info))) => Box::pin(connection::serve(io, info, &http2, service, patience, &stopping)).await,
                    Some(Err(error)) => tracing::debug!(%peer, %error, "a connection has failed before HTTP"),
                    None => {}
                }
            });
        }
        connections.close();
        connections.wait().await;
        Ok(())
    }
}

type Io = Either<TcpStream, Box<tokio_rustls::server::TlsStream<TcpStream>>>;

async fn begin(socket: std::net::TcpStream, tls: Option<&Tls>) -> io::Result<(Io, TcpConnectInfo)> {
    let socket = TcpStream::from_std(socket)?;
    let info = TcpConnectInfo { local_addr: socket.local_addr().ok(), remote_addr: socket.peer_addr().ok() };
    let io = match tls {
        None => Either::Left(socket),
        // In a box: a handshake needs many times what the connection needs afterwards, and in plain text there is none.
        Some(tls) => Either::Right(Box::new(Box::pin(tls.accept(socket)).await?)),
    };
    Ok((io, info))
}

fn routes(services: Services, health: HealthReporter, strangers: Strangers, authenticate: AuthInterceptor) -> Result<Routes, Error> {
    let authenticate = InterceptorLayer::new(authenticate);
    let (enter, enter_imports) = ((authenticate.clone(), services.admit()), (authenticate, services.admit_imports()));
    let users = UserDataServiceServer::new(services.clone()).max_decoding_message_size(MAX_CALL_BYTES);
    let imports = ImportServiceServer::new(services).max_decoding_message_size(MAX_REQUEST_BYTES);
    let describe = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let strangers = strangers.admit();
    let health = HealthServer::new(HealthService::from_health_reporter(health)).max_decoding_message_size(MAX_STRANGERS_BYTES);
    let routes = Routes::new(strangers.layer(health))
        .add_service(strangers.layer(describe().build_v1()?.max_decoding_message_size(MAX_STRANGERS_BYTES)))
        .add_service(strangers.layer(describe().build_v1alpha()?.max_decoding_message_size(MAX_STRANGERS_BYTES)))
        .add_service(enter.layer(users))
        .add_service(enter_imports.layer(imports));
    Ok(routes.prepare())
}
