//! Tells whether the service can serve: for the overall server and for each service by name.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    grpc::proto::server::{import_service_server, user_data_service_server},
    repository::Repository,
};

/// How often the database is asked whether it is there.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long it may take to answer.
const ENOUGH: Duration = Duration::from_secs(2);

/// The names under which health is reported; the empty one is the server.
const NAMES: [&str; 3] = ["", user_data_service_server::SERVICE_NAME, import_service_server::SERVICE_NAME];

/// Reports one status for all names.
pub(super) async fn report(reporter: &HealthReporter, status: ServingStatus) {
    for name in NAMES {
        reporter.set_service_status(name, status).await;
    }
}

/// Watches the database until `stop`, and then, until `end`, reports that nothing is served any more, and ends the calls that watch: nobody
/// else does, and they would hold their connections.
pub(super) async fn watch(mut reporter: HealthReporter, repository: Repository, stop: CancellationToken, end: CancellationToken) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut serving = None;
    let watch = async {
        loop {
            ticks.tick().await;
            let answers = matches!(timeout(ENOUGH, repository.ping()).await, Ok(Ok(())));
            if serving.replace(answers) != Some(answers) {
                tracing::info!(serving = answers, "the database {}", if answers { "answers" } else { "does not answer" });
                report(&reporter, if answers { ServingStatus::Serving } else { ServingStatus::NotServing }).await;
            }
        }
    };
    let _ = stop.run_until_cancelled(watch).await;
    report(&reporter, ServingStatus::NotServing).await;
    let dismiss = async {
        // Again and again: a client may watch anew before it reads that it shall leave.
        loop {
            sleep(INTERVAL).await;
            for name in NAMES {
                reporter.clear_service_status(name).await;
                reporter.set_service_status(name, ServingStatus::NotServing).await;
            }
        }
    };
    let _ = end.run_until_cancelled(dismiss).await;
}
