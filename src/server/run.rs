//! Running and stopping. A stop is: health says NOT_SERVING, no new connection or call is taken, running calls may finish, and at the
//! deadline all that still runs is cut, whatever its client does.

use std::{future::Future, pin::pin, time::Duration};

use futures::future::{join, try_join_all};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic_health::server::HealthReporter;

use super::{
    Error, Server,
    accept::accept,
    file_removal, health, key_refresh, key_sets, log_emptying,
    service_thread::{self, Service},
    slots::{ADMIN_CONNECTIONS, Slots},
    strangers::Strangers,
};
use crate::{
    grpc::{Services, auth::AuthInterceptor},
    operations::Stores,
};

/// Of the time to drain, what is left for calls that were cut to tell their clients, and as much again for the database to be closed.
const LAST_WORDS: Duration = Duration::from_millis(500);

impl Server {
    /// Serves until `stop` is ready, then drains.
    ///
    /// # Errors
    /// When a thread that serves fails.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        let stopping = CancellationToken::new();
        let cut = CancellationToken::new();
        let ended = CancellationToken::new();
        // Whoever drops this future ends its threads.
        let end = ended.clone().drop_guard();
        let drain_timeout = self.config.drain_timeout;
        let last_words = LAST_WORDS.min(drain_timeout / 4);

        let reporter = HealthReporter::new();
        // The database has just answered; a probe that is early shall not hear that it asks for something unknown.
        health::report(&reporter, tonic_health::ServingStatus::Serving).await;
        let watch = tokio::spawn(health::watch(reporter.clone(), self.repository.clone(), stopping.clone(), ended.clone()));
        let refresh = tokio::spawn(key_refresh::keep_fresh(self.keys.clone(), self.repository.clone(), stopping.clone()));
        let fetching = tokio::spawn(key_sets::keep_fresh(self.key_sets, stopping.clone()));

        let (tls, renewing) = (self.tls.clone(), stopping.clone());
        let renew = tokio::spawn(async move {
            if let Some(tls) = tls {
                tls.keep_fresh(renewing).await;
            }
        });

        let stores = Stores::new(self.repository.clone(), self.vault);
        let emptying = tokio::spawn(log_emptying::keep_empty(self.repository.clone(), stopping.clone()));
        let removing = tokio::spawn(file_removal::keep_removing(stores.clone(), stopping.clone()));
        let service = Service {
            strangers: Strangers::within(&self.config),
            config: self.config,
            tls: self.tls,
            limits: self.limits.clone(),
            services: Services::new(stores, Handle::current(), self.clock, cut.clone(), &self.limits),
            health: reporter.clone(),
            authenticate: AuthInterceptor::new(self.keys, self.issuers, self.clock),
            failed_logins: self.failed_logins,
            stopping: stopping.clone(),
            ended,
        };
        let mut served = Vec::new();
        let mut start = |service: Service| {
            let thread = service.start()?;
            served.push(async { thread.served.await.unwrap_or(Err(Error::ThreadPanicked)) });
            Ok::<_, Error>(thread.connections)
        };
        // Calls that need `admin` are few: one thread is theirs.
        let (service, admin) = match self.admin {
            Some((listener, _)) => (service.without_admin(), Some((listener, start(service)?))),
            None => (service, None),
        };
        let threads = (0..service_thread::count()).map(|_| start(service.clone())).collect::<Result<_, _>>()?;
        let slots = Slots::new(ADMIN_CONNECTIONS as usize, 0);
        let accept_admin = async {
            if let Some((listener, thread)) = admin {
                accept(listener, slots, vec![thread]).await;
            }
        };
        let accepting = stopping.clone().run_until_cancelled_owned(join(accept(self.listener, self.slots, threads), accept_admin));
        let serve = async {
            let mut served = try_join_all(served);
            tokio::select! {
                // Before it was told to stop, a thread ends only when it fails.
                served = &mut served => served,
                _ = accepting => served.await,
            }
        };
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
        let mut serve = pin!(serve);
        let served = tokio::select! {
            served = &mut serve => Some(served.map(drop)),
            () = deadline => None,
        };
        stopping.cancel();
        drop(end);
        // No task can fail; all end at once.
        let _ = tokio::join!(watch, refresh, fetching, renew, removing, emptying);
        let threads = async {
            match served {
                Some(served) => served,
                None => {
                    tracing::warn!("calls that did not finish in time were cut");
                    // What a thread holds ends with it, and each call is logged as it ends.
                    let _ = timeout(last_words, serve).await;
                    Ok(())
                }
            }
        };
        let (served, closed) = tokio::join!(threads, timeout(last_words, self.repository.close()));
        if let Ok(Err(error)) = closed {
            tracing::warn!(%error, "the database could not be closed");
        }
        served?;
        tracing::info!("stopped");
        Ok(())
    }
}
