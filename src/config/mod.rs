//! Flags, environment, file: in this order the first that names a setting decides it; then the default does.
//!
//! `clap` is the only list of settings. A flag `--some-flag` is `USERDATA_SOME_FLAG` in the environment and `some_flag` in the file, which
//! [`layers`] sees to for every flag of every command. A section here is a group of flags (`…Args`) and what it becomes once checked
//! (`…Config`), which is all that the rest of the program sees; where `clap` alone can tell right from wrong, the two are one.

pub mod auth;
pub mod duration;
pub mod layers;
pub mod listen;
pub mod log;
pub mod storage;

use auth::{AuthArgs, AuthConfig};
use listen::ListenConfig;
use log::LogConfig;
use storage::{StorageArgs, StorageConfig};

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
        Ok(ServerConfig { storage: self.storage.check()?, listen: self.listen, auth: self.auth.check()?, log: self.log })
    }
}
