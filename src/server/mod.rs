//! The composition root: build (stores open, port bound, address known), run, drain.

mod accept;
mod activity;
mod connection;
mod descriptors;
mod file_removal;
mod handshakes;
mod health;
mod key_refresh;
mod key_sets;
mod log_emptying;
mod metered;
mod run;
mod service_thread;
mod slots;
mod strangers;
mod tls;

use std::{net::SocketAddr, sync::Arc};

use tokio::net::TcpListener;

use self::{
    descriptors::connections_that_fit,
    key_sets::KeySet,
    slots::{ADMIN_CONNECTIONS, Slots},
    tls::{Tls, TlsError},
};
use crate::{
    config::{ServerConfig, limits::LimitsConfig, listen::ListenConfig},
    domain::timestamp::Clock,
    grpc::auth::{FailedLogins, IssuerError, Issuers, KeyRing},
    repository::{self, Repository, RowSecurity},
    vault::{self, Vault},
};

/// Why the server could not be built, or stopped before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database.
    #[error("{place}: {error}")]
    Database {
        /// Where it is.
        place: String,
        /// What it says.
        error: repository::Error,
    },
    /// The object store.
    #[error("{place}: {error}")]
    ObjectStore {
        /// Where it is.
        place: String,
        /// What it says.
        error: vault::Error,
    },
    /// An issuer of JWTs.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// What issuers publish.
    #[error("no key set can be fetched: {0}; has the machine certificates (ca-certificates)?")]
    KeySets(reqwest::Error),
    /// The port.
    #[error("cannot listen on {address}: {error}; is another server running there?")]
    Listen {
        /// What was to be listened on.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// The contract's own descriptors.
    #[error("the service cannot describe itself: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The files that TLS is made of.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A thread that is to serve.
    #[error("no thread to serve with: {0}; are there too many processes?")]
    Thread(std::io::Error),
    /// A thread that served. Its panic is in the log.
    #[error("a thread that served has panicked")]
    ThreadPanicked,
}

/// A server that is built: it has its port, and its stores are open.
pub struct Server {
    repository: Repository,
    vault: Vault,
    keys: Arc<KeyRing>,
    issuers: Arc<Issuers>,
    key_sets: Vec<KeySet>,
    failed_logins: Arc<FailedLogins>,
    listener: TcpListener,
    address: SocketAddr,
    /// Where calls that need `admin` are answered, if nowhere else.
    admin: Option<(TcpListener, SocketAddr)>,
    config: ListenConfig,
    tls: Option<Arc<Tls>>,
    slots: Arc<Slots>,
    limits: LimitsConfig,
    clock: Clock,
}

impl Server {
    /// Opens the stores and binds the ports. `migrate` brings a PostgreSQL schema up to date; an SQLite file always is.
    ///
    /// # Errors
    /// When a store cannot be opened, its schema is another, or the port is taken.
    pub async fn build(config: ServerConfig, migrate: bool, clock: Clock) -> Result<Self, Error> {
        let place = config.storage.database.to_string();
        let database = |error| Error::Database { place: place.clone(), error };
        let repository =
            Repository::open(&config.storage.database, config.storage.database_max_connections, clock).await.map_err(database)?;
        repository.require_schema(migrate).await.map_err(database)?;
        if repository.logs_values().await.map_err(database)? {
            tracing::warn!(
                "PostgreSQL logs statements with their values, which are personal data: set log_error_verbosity to terse for its role"
            );
        }
        if repository.row_security() == RowSecurity::Unbound {
            tracing::warn!("row-level security does not bind the service: its role owns the tables, or may bypass it");
        }
        let vault = Vault::open(&config.storage.object_store)
            .map_err(|error| Error::ObjectStore { place: config.storage.object_store.to_string(), error })?;
        let issuers = Arc::new(Issuers::new(&config.auth)?);
        let mut key_sets = KeySet::of(&config.auth, &issuers).map_err(Error::KeySets)?;
        key_sets::refresh(&mut key_sets).await;
        let failed_logins = FailedLogins::new(config.auth.failed_logins, config.listen.max_concurrent_streams);
        let keys = Arc::new(KeyRing::default());
        key_refresh::refresh(&keys, &repository).await.map_err(database)?;
        let tls = match config.tls {
            Some(files) => Some(Arc::new(Tls::open(files, &config.listen).await?)),
            None => None,
        };
        let of_admin = config.listen.admin_listen.map_or(0, |_| ADMIN_CONNECTIONS);
        let fit = connections_that_fit(config.listen.max_connections, config.storage.database_max_connections.saturating_add(of_admin));
        let slots = Slots::new(fit, config.listen.max_connections_per_peer as usize);
        let (listener, address) = listen(config.listen.listen).await?;
        let admin = match config.listen.admin_listen {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        if let Some((_, address)) = &admin {
            tracing::info!(%address, "listening for calls that need `admin`");
        }
        tracing::info!(
            %address,
            tls = tls.is_some(),
            database = %config.storage.database,
            row_security = repository.row_security() == RowSecurity::Binding,
            object_store = %config.storage.object_store,
            version = env!("CARGO_PKG_VERSION"),
            "listening"
        );
        Ok(Self {
            repository,
            vault,
            keys,
            issuers,
            key_sets,
            failed_logins,
            listener,
            address,
            admin,
            config: config.listen,
            tls,
            slots,
            limits: config.limits,
            clock,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for calls that need `admin`, if they have a listener of their own.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|(_, address)| *address)
    }

    /// The database, for what is done beside the service.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |error| Error::Listen { address, error };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}
