//! The section about storage: the database and the object store.

use std::{fmt, path};

use url::Url;

use super::Error;
use crate::{domain::secret::Secret, repository::StorageUrl};

/// Flags about storage. URLs are taken as they are and checked later, because `clap` quotes what it refuses.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Storage")]
pub struct StorageArgs {
    /// Database: `sqlite://FILE`, or `postgres://USER:PASSWORD@HOST/DATABASE`.
    #[arg(long, value_name = "URL", default_value = "sqlite://userdata-data/userdata.db")]
    pub database_url: Secret,
    /// Connections to the database, at most.
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u32).range(1..))]
    pub database_max_connections: u32,
    /// Where the content of uploads is: `file://FOLDER`, `s3://BUCKET/PREFIX`, or `memory://` to try things out.
    #[arg(long, value_name = "URL", default_value = "file://userdata-data/objects")]
    pub object_store_url: Secret,
}

/// Checked settings about storage.
#[derive(Clone, Debug)]
pub struct StorageConfig {
    /// The database.
    pub database: StorageUrl,
    /// Connections to it, at most.
    pub database_max_connections: u32,
    /// The object store.
    pub object_store: ObjectStoreUrl,
}

impl StorageArgs {
    /// Checks where the database is, for commands that need nothing else.
    ///
    /// # Errors
    /// What is wrong with the URL, without quoting it.
    pub fn database(&self) -> Result<StorageUrl, Error> {
        self.database_url.expose().parse::<StorageUrl>().map_err(|problem| Error::new("database-url", problem.to_string()))
    }

    /// Checks the section.
    ///
    /// # Errors
    /// Which flag cannot be used, and why.
    pub fn check(self) -> Result<StorageConfig, Error> {
        Ok(StorageConfig {
            database: self.database()?,
            database_max_connections: self.database_max_connections,
            object_store: ObjectStoreUrl::parse(&self.object_store_url)?,
        })
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

    fn object_store(url: &str) -> Result<ObjectStoreUrl, Error> {
        ObjectStoreUrl::parse(&url.to_owned().into())
    }

    #[test]
    fn a_bad_object_store_is_refused_without_being_quoted() {
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
