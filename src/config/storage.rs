//! The section about storage: the database and the object store.

use std::{fmt, num::NonZeroU32, path};

use url::Url;

use super::Error;
use crate::domain::secret::Secret;

/// Flags about storage. URLs are taken as they are and checked later, because `clap` quotes what it refuses.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Storage")]
pub struct StorageArgs {
    /// Database: `sqlite://FILE`, or `postgres://USER:PASSWORD@HOST/DATABASE`.
    #[arg(long, value_name = "URL", default_value = "sqlite://userdata-data/userdata.db")]
    pub database_url: Secret,
    /// Connections to the database, at most.
    #[arg(long, value_name = "N", default_value = "10")]
    pub database_max_connections: NonZeroU32,
    /// Where the content of uploads is: `file://FOLDER`, `s3://BUCKET/PREFIX`, or `memory://` to try things out.
    #[arg(long, value_name = "URL", default_value = "file://userdata-data/objects")]
    pub object_store_url: Secret,
}

/// Checked settings about storage.
#[derive(Clone, Debug)]
pub struct StorageConfig {
    /// The database.
    pub database: DatabaseUrl,
    /// Connections to it, at most.
    pub database_max_connections: NonZeroU32,
    /// The object store.
    pub object_store: ObjectStoreUrl,
}

impl StorageArgs {
    /// Checks the section.
    ///
    /// # Errors
    /// Which flag cannot be used, and why.
    pub fn check(self) -> Result<StorageConfig, Error> {
        Ok(StorageConfig {
            database: DatabaseUrl::parse(self.database_url)?,
            database_max_connections: self.database_max_connections,
            object_store: ObjectStoreUrl::parse(&self.object_store_url)?,
        })
    }
}

/// The database engines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Engine {
    /// A file, read and written by this process.
    Sqlite,
    /// A server.
    PostgreSql,
}

/// Where the database is, and the password to it. `Display` and `Debug` show no user, password or parameter.
#[derive(Clone)]
pub struct DatabaseUrl {
    url: Secret,
    engine: Engine,
    shown: String,
}

impl DatabaseUrl {
    /// Reads a database's URL.
    ///
    /// # Errors
    /// What is wrong with it, without quoting it.
    pub fn parse(url: impl Into<Secret>) -> Result<Self, Error> {
        let url = url.into();
        let refuse = |problem| Err(Error::new("database-url", problem));
        let Some((scheme, rest)) = url.expose().split_once(':') else {
            return refuse("write sqlite://FILE or postgres://USER:PASSWORD@HOST/DATABASE");
        };
        let (engine, shown) = match scheme {
            "sqlite" => {
                let file = rest.strip_prefix("//").unwrap_or(rest).split('?').next().unwrap_or_default();
                if file.is_empty() {
                    return refuse("names no file; write sqlite://FILE");
                }
                (Engine::Sqlite, format!("sqlite://{file}"))
            }
            "postgres" | "postgresql" => match Url::parse(url.expose()) {
                Ok(parsed) if parsed.cannot_be_a_base() => return refuse("write postgres://USER:PASSWORD@HOST/DATABASE"),
                Ok(parsed) => (Engine::PostgreSql, place(&parsed)),
                Err(problem) => return refuse(&format!("is no URL: {problem}")),
            },
            _ => return refuse("has a scheme that is neither sqlite nor postgres"),
        };
        Ok(Self { url, engine, shown })
    }

    /// Which engine it is.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// The whole URL, password and all, to connect with.
    pub fn expose(&self) -> &str {
        self.url.expose()
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Where the object store is. `Display` and `Debug` show no user, password or parameter.
#[derive(Clone)]
pub struct ObjectStoreUrl(Url);

impl ObjectStoreUrl {
    /// Reads an object store's URL. `file://some/folder` is relative to the working directory and made absolute here.
    ///
    /// # Errors
    /// What is wrong with it, without quoting it.
    pub fn parse(url: &Secret) -> Result<Self, Error> {
        let refuse = |problem: &str| Error::new("object-store-url", problem);
        let url = match url.expose().strip_prefix("file://") {
            Some(folder) => {
                let folder = path::absolute(folder).map_err(|problem| refuse(&problem.to_string()))?;
                Url::from_directory_path(folder).map_err(|()| refuse("names no folder; write file://FOLDER"))?
            }
            None => Url::parse(url.expose()).map_err(|problem| refuse(&format!("is no URL: {problem}")))?,
        };
        match url.scheme() {
            "file" | "memory" => Ok(Self(url)),
            "s3" if url.has_host() => Ok(Self(url)),
            "s3" => Err(refuse("names no bucket; write s3://BUCKET/PREFIX")),
            _ => Err(refuse("has a scheme that is not file, s3 or memory")),
        }
    }

    /// The URL, absolute.
    pub fn url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for ObjectStoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&place(&self.0))
    }
}

impl fmt::Debug for ObjectStoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Scheme, host, port and path of a URL: nothing that lets anyone in.
fn place(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(url: &str) -> Result<DatabaseUrl, Error> {
        DatabaseUrl::parse(url.to_owned())
    }

    fn object_store(url: &str) -> Result<ObjectStoreUrl, Error> {
        ObjectStoreUrl::parse(&url.to_owned().into())
    }

    #[test]
    fn a_database_is_shown_without_user_password_and_parameters() {
        let url = database("postgres://anna:hunter2@db.internal:5433/userdata?sslmode=require&password=hunter3").unwrap();
        assert_eq!(url.to_string(), "postgres://db.internal:5433/userdata");
        assert_eq!(format!("{url:?}"), "postgres://db.internal:5433/userdata");
        assert_eq!(url.engine(), Engine::PostgreSql);
        assert!(url.expose().contains("hunter2"));
        assert_eq!(database("sqlite://some/file.db?mode=rwc").unwrap().to_string(), "sqlite://some/file.db");
    }

    #[test]
    fn a_bad_url_is_refused_without_being_quoted() {
        for bad in ["hunter2", "mysql://anna:hunter2@db/x", "postgres://anna:hunter2@[/x", "postgres:hunter2@db:hunter2", "sqlite://", "sqlite:"] {
            let error = database(bad).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        for bad in ["hunter2", "https://anna:hunter2@host", "s3://", "gs://hunter2"] {
            let error = object_store(bad).map(|url| url.to_string()).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_relative_folder_of_objects_is_in_the_working_directory() {
        let here = path::absolute("some/folder").unwrap();
        assert_eq!(object_store("file://some/folder").unwrap().url().to_file_path().unwrap(), here);
        assert_eq!(object_store("file:///some/folder").unwrap().url().as_str(), "file:///some/folder/");
        assert_eq!(object_store("s3://bucket/prefix").unwrap().to_string(), "s3://bucket/prefix");
        assert_eq!(object_store("memory://").unwrap().url().scheme(), "memory");
    }
}
