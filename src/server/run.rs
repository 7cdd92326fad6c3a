//! Running and stopping. A stop is: health says NOT_SERVING, no new connection or call is taken, running calls may finish, and at the
//! deadline all that still runs is cut, whatever its client does.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::{
    service::{InterceptorLayer, Routes},
    transport::server::{Server as Transport, TcpIncoming},
};
use tower::{Layer, layer::layer_fn, service_fn, util::MapResponseLayer};

use super::{Error, Server, health, key_refresh};
use crate::{
    domain::limits::MAX_REQUEST_BYTES,
    grpc::{
        Services,
        auth::AuthInterceptor,
        caught::answer,
        deadline::DeadlineLayer,
        proto::{
            self,
            server::{import_service_server::ImportServiceServer, user_data_service_server::UserDataServiceServer},
        },
        status,
    },
    operations::Stores,
    telemetry::CallLogLayer,
};

/// Of the time to drain, what is left for calls that were cut to tell their clients, and as much again for the database to be closed.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The largest head of a request: a JWT of 4 KiB and what usually comes with it.
const MAX_HEADERS: u32 = 16 * 1024;

impl Server {
    /// Serves until `stop` is ready, then drains.
    ///
    /// # Errors
    /// When the transport fails.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        let stopping = CancellationToken::new();
        let cut = CancellationToken::new();
        let drain_timeout = self.config.drain_timeout;
        let last_words = LAST_WORDS.min(drain_timeout / 4);

        let (reporter, health_service) = tonic_health::server::health_reporter();
        // The database has just answered; a probe that is early shall not hear that it asks for something unknown.
        health::report(&reporter, tonic_health::ServingStatus::Serving).await;
        let watch = tokio::spawn(health::watch(reporter.clone(), self.repository.clone(), stopping.clone()));
        let refresh = tokio::spawn(key_refresh::keep_fresh(self.keys.clone(), self.repository.clone(), stopping.clone()));

        let services = Services::new(Stores::new(self.repository.clone(), self.vault), self.clock, cut.clone());
        let authenticate = InterceptorLayer::new(AuthInterceptor::new(self.keys, self.issuers, self.clock));
        let users = UserDataServiceServer::new(services.clone()).max_decoding_message_size(MAX_REQUEST_BYTES);
        let imports = ImportServiceServer::new(services).max_decoding_message_size(MAX_REQUEST_BYTES);
        let describe = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let config = &self.config;
        let serve = Transport::builder()
            .layer(CallLogLayer)
            .layer(MapResponseLayer::new(status::with_reasons))
            .layer(DeadlineLayer)
            .layer(layer_fn(|routes: Routes| service_fn(move |request| answer(routes.clone(), request))))
            .max_concurrent_streams(config.max_concurrent_streams)
            .http2_max_pending_accept_reset_streams(Some(config.max_error_resets as usize))
            .http2_max_local_error_reset_streams(Some(config.max_error_resets as usize))
            .http2_max_header_list_size(MAX_HEADERS)
            .http2_keepalive_interval(Some(config.keepalive_interval))
            .http2_keepalive_timeout(Some(config.keepalive_timeout))
            .add_service(health_service)
            .add_service(describe().build_v1()?)
            .add_service(describe().build_v1alpha()?)
            .add_service(authenticate.layer(users))
            .add_service(authenticate.layer(imports))
            .serve_with_incoming_shutdown(TcpIncoming::from(self.listener).with_nodelay(Some(true)), stopping.clone().cancelled_owned());

        let deadline = async {
            stop.await;
            tracing::info!(drain_timeout_ms = drain_timeout.as_millis() as u64, "stopping");
            let end = Instant::now() + drain_timeout;
            health::report(&reporter, tonic_health::ServingStatus::NotServing).await;
            stopping.cancel();
            sleep_until(end - 2 * last_words).await;
            cut.cancel();
            sleep_until(end - last_words).await;
        };
        tokio::select! {
            served = serve => served?,
            () = deadline => tracing::warn!("calls that did not finish in time were cut"),
        }
        stopping.cancel();
        // Neither task can fail; both end at once.
        let _ = tokio::join!(watch, refresh);
        if let Ok(Err(error)) = tokio::time::timeout(last_words, self.repository.close()).await {
            tracing::warn!(%error, "the database could not be closed");
        }
        tracing::info!("stopped");
        Ok(())
    }
}
