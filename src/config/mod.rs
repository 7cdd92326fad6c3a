//! Flags, environment, file: in this order the first that names a setting decides it; then the default does.
//!
//! `clap` is the only list of settings. A flag `--some-flag` is `USERDATA_SOME_FLAG` in the environment and `some_flag` in the file, which
//! [`layers`] sees to for every flag of every command. A section here is a group of flags (`…Args`) and what it becomes once checked
//! (`…Config`), which is all that the rest of the program sees; where `clap` alone can tell right from wrong, the two are one.

pub mod auth;
pub mod duration;
pub mod layers;
pub mod limits;
pub mod listen;
pub mod log;
pub mod storage;
pub mod tls;

use auth::{AuthArgs, AuthConfig};
use limits::LimitsConfig;
use listen::ListenConfig;
use log::LogConfig;
use storage::{StorageArgs, StorageConfig};
use tls::{TlsArgs, TlsFiles};

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("--{flag}: {problem}")]
pub struct Error {
    flag: &'static str,
    problem: String,
}

impl Error {
    pub(crate) fn new(flag: &'static str, problem: impl Into<String>) -> Self {
        Self { flag, problem: problem.into() }
    }
}

/// All that the server can be told, as flags.
#[derive(clap::Args, Clone, Debug)]
pub struct ServerArgs {
    /// The database and the object store.
    #[command(flatten)]
    pub storage: StorageArgs,
    /// Where to listen, and how long.
    #[command(flatten)]
    pub listen: ListenConfig,
    /// How the way is secured.
    #[command(flatten)]
    pub tls: TlsArgs,
    /// How much at once.
    #[command(flatten)]
    pub limits: LimitsConfig,
    /// Whom to believe.
    #[command(flatten)]
    pub auth: AuthArgs,
    /// What to log.
    #[command(flatten)]
    pub log: LogConfig,
}

/// All that the server is told, checked.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The database and the object store.
    pub storage: StorageConfig,
    /// Where to listen, and how long.
    pub listen: ListenConfig,
    /// How the way is secured; `None` is plain text, which was asked for or stays on this machine.
    pub tls: Option<TlsFiles>,
    /// How much at once.
    pub limits: LimitsConfig,
    /// Whom to believe.
    pub auth: AuthConfig,
    /// What to log.
    pub log: LogConfig,
}

impl ServerArgs {
    /// Checks every section, and reads the files that the settings name.
    ///
    /// # Errors
    /// Which flag cannot be used, and why.
    pub fn check(self) -> Result<ServerConfig, Error> {
        let tls = self.tls.check(&self.listen)?;
        Ok(ServerConfig {
            storage: self.storage.check()?,
            listen: self.listen,
            tls,
            limits: self.limits,
            auth: self.auth.check()?,
            log: self.log,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, time::Duration};

    use clap::Parser;

    use super::*;
    use crate::repository::Engine;

    #[derive(Parser, Debug)]
    struct Server {
        #[arg(long)]
        config: Option<std::path::PathBuf>,
        #[command(flatten)]
        args: ServerArgs,
    }

    #[test]
    fn without_any_setting_there_is_a_server_on_this_machine_alone() {
        let config = layers::parse::<Server>(["server".into()]).unwrap().args.check().unwrap();
        assert!(config.listen.listen.ip().is_loopback());
        assert_eq!(config.listen.drain_timeout, Duration::from_secs(20));
        assert_eq!(config.storage.database.engine(), Engine::Sqlite);
        assert!(config.auth.issuers.is_empty());
    }

    #[test]
    fn a_file_can_hold_every_section_and_nothing_secret_of_it_is_shown() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let text = r#"
            listen = "0.0.0.0:9"
            tls_cert = "certificate.pem"
            tls_key = "key.pem"
            drain_timeout = "3s"
            database_url = "postgres://anna:hunter2@db/userdata"
            object_store_url = "s3://bucket/prefix"
            log_format = "json"
            jwt_leeway = "0s"

            [[jwt_issuer]]
            issuer = "https://id.example"
            application = "DEMO"
            audience = "userdata"
            algorithm = "HS256"
            secret = "aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMjIyMjI"

            [[jwt_issuer]]
            issuer = "https://other.example"
            application = "OTHER"
            audience = "userdata"
            algorithm = "EdDSA"
            public_key = """
-----BEGIN PUBLIC KEY-----
-----END PUBLIC KEY-----
"""
        "#;
        file.write_all(text.as_bytes()).unwrap();
        let server: Server = layers::parse(["server".into(), "--config".into(), file.path().into()]).unwrap();
        let args = format!("{server:?}");
        let config = server.args.check().unwrap();
        assert_eq!((config.listen.listen.port(), config.listen.drain_timeout), (9, Duration::from_secs(3)));
        assert_eq!(config.tls.as_ref().unwrap().key.to_str(), Some("key.pem"));
        assert_eq!(config.log.log_format, log::LogFormat::Json);
        let issuers: Vec<_> = config.auth.issuers.iter().map(|issuer| (issuer.issuer.as_str(), issuer.application.as_str())).collect();
        assert_eq!(issuers, [("https://id.example", "DEMO"), ("https://other.example", "OTHER")]);
        for shown in [args, format!("{config:?}")] {
            assert!(!shown.contains("hunter2") && !shown.contains("aHVudGVyMm"), "{shown}");
        }
    }
}
