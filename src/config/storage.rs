//! The section about storage: the database and the object store.

use super::Error;
use crate::{
    domain::secret::Secret,
    repository::{Engine, StorageUrl},
    vault::{NotAnObjectStoreUrl, ObjectStoreUrl},
};

/// The flag that every command at the database has. The URL is taken as it is and checked later, because `clap` quotes what it refuses.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Storage")]
pub struct DatabaseArgs {
    /// Database: `sqlite://FILE`, or `postgres://USER:PASSWORD@HOST/DATABASE`.
    #[arg(long, value_name = "URL", default_value = "sqlite://userdata-data/userdata.db")]
    pub database_url: Secret,
}

/// Flags about storage.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Storage")]
pub struct StorageArgs {
    /// Where the database is.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// Connections to PostgreSQL for calls, at most: half of them to read. One more is for keys and health. SQLite has one that writes, and
    /// one for each thread that reads.
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u32).range(1..))]
    pub database_max_connections: u32,
    /// Where the content of uploads is: `file://FOLDER`, `s3://BUCKET/PREFIX`, or `memory://` to try things out. Beside SQLite, if nothing is
    /// said, `file://userdata-data/objects`; beside PostgreSQL it is to be said, and the same for all replicas.
    #[arg(long, value_name = "URL")]
    pub object_store_url: Option<Secret>,
}

/// Checked settings about storage.
#[derive(Clone, Debug)]
pub struct StorageConfig {
    /// The database.
    pub database: StorageUrl,
    /// Connections to PostgreSQL, at most.
    pub database_max_connections: u32,
    /// The object store.
    pub object_store: ObjectStoreUrl,
}

impl DatabaseArgs {
    /// Checks where the database is.
    ///
    /// # Errors
    /// What is wrong with the URL, without quoting it.
    pub fn check(&self) -> Result<StorageUrl, Error> {
        self.database_url.expose().parse::<StorageUrl>().map_err(|problem| Error::new("database-url", problem.to_string()))
    }
}

impl StorageArgs {
    /// Checks the section.
    ///
    /// # Errors
    /// Which flag cannot be used, and why.
    pub fn check(self) -> Result<StorageConfig, Error> {
        let database = self.database.check()?;
        let object_store = match (&self.object_store_url, database.engine()) {
            (Some(url), _) => url.expose(),
            (None, Engine::Sqlite) => "file://userdata-data/objects",
            // A replica that looks for content where there is none would take it for removed.
            (None, Engine::Postgres) => {
                return Err(Error::new("object-store-url", "is needed beside PostgreSQL: where all replicas find the content of uploads"));
            }
        };
        let unusable = |problem: NotAnObjectStoreUrl| Error::new("object-store-url", problem.to_string());
        let object_store = object_store.parse().map_err(unusable)?;
        Ok(StorageConfig { database, database_max_connections: self.database_max_connections, object_store })
    }
}
