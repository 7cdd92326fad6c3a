//! Where log lines go: standard error, as text on a terminal and as JSON elsewhere. Of other crates only what they warn of: what they tell
//! beside that may be what they carry, such as headers.

use std::{
    io::{self, IsTerminal},
    panic::{self, PanicHookInfo},
};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{EnvFilter, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::log::{LogConfig, LogFormat};

/// Why logging could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Not a filter.
    #[error("--log-filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// It was started before.
    #[error("logging was already started")]
    Started(#[from] tracing_subscriber::util::TryInitError),
}

/// Starts logging for the whole process.
///
/// # Errors
/// When the filter is not one, or logging was started before.
pub fn start(config: &LogConfig) -> Result<(), LogError> {
    let filter: EnvFilter = config.log_filter.parse()?;
    let is_text = match config.log_format {
        LogFormat::Auto => io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let registry = tracing_subscriber::registry().with(filter).with(at_most());
    if is_text {
        let ansi = io::stderr().is_terminal();
        registry.with(tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(ansi).with_target(false)).try_init()?;
    } else {
        registry.with(tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(io::stderr)).try_init()?;
    }
    panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// What may be logged at all, whatever the operator's filter.
fn at_most() -> Targets {
    Targets::new()
        .with_target(env!("CARGO_CRATE_NAME"), LevelFilter::TRACE)
        // It quotes parameters of the database's URL that it does not know.
        .with_target("sqlx_postgres::options", LevelFilter::ERROR)
        .with_default(LevelFilter::WARN)
}

/// Logs where a panic was. Not its text: that may quote what it was about.
fn log_panic(panic: &PanicHookInfo<'_>) {
    tracing::error!(at = panic.location().map(tracing::field::display), "panicked");
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        panic::{catch_unwind, take_hook},
    };

    use tracing::Level;

    use super::*;

    #[test]
    fn other_crates_can_only_warn() {
        let at_most = at_most();
        for (target, level, may) in [
            ("userdata::telemetry::call_log", Level::TRACE, true),
            ("h2::codec::framed_read", Level::INFO, false),
            ("hyper::proto::h1::io", Level::DEBUG, false),
            ("sqlx::query", Level::INFO, false),
            ("object_store::client::retry", Level::WARN, true),
            ("sqlx_postgres::options::parse", Level::WARN, false),
        ] {
            assert_eq!(at_most.would_enable(target, &level), may, "{target} at {level}");
        }
    }

    #[test]
    fn a_panic_is_logged_by_its_place_and_not_by_its_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let subscriber = tracing_subscriber::fmt().with_writer(File::create(&path).unwrap()).with_ansi(false).finish();
        tracing::subscriber::with_default(subscriber, || {
            let usual = take_hook();
            panic::set_hook(Box::new(log_panic));
            catch_unwind(|| panic!("hunter2")).unwrap_err();
            panic::set_hook(usual);
        });
        let log = std::fs::read_to_string(path).unwrap();
        assert!(log.contains(&format!("panicked at={}", file!())) && !log.contains("hunter2"), "{log}");
    }
}
