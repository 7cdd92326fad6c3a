//! Opening an object store by its URL.

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use object_store::{ClientOptions, ObjectStore, RetryConfig, aws::AmazonS3Builder, local::LocalFileSystem, memory::InMemory, path::Path};
use url::Url;

use super::{Error, Vault, unfinished::LocalFolder};

/// Where the objects are: `file:///folder`, `s3://bucket/prefix` or `memory://`. Its `Debug` shows no credential.
#[derive(Clone, PartialEq, Eq)]
pub struct ObjectStoreUrl(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    File(PathBuf),
    S3(Url),
    Memory,
}

/// Not the URL of an object store this service can use.
#[derive(Debug, thiserror::Error)]
#[error("not an object store URL; write file:///folder, s3://bucket/prefix or memory://")]
pub struct NotAnObjectStoreUrl;

impl FromStr for ObjectStoreUrl {
    type Err = NotAnObjectStoreUrl;

    fn from_str(text: &str) -> Result<Self, NotAnObjectStoreUrl> {
        let kind = match text.split_once("://") {
            // As with databases, file://folder is read as a relative path: nobody means the host `folder`.
            Some(("file", path)) if !path.is_empty() => Kind::File(std::path::absolute(path).map_err(|_| NotAnObjectStoreUrl)?),
            Some(("memory", _)) => Kind::Memory,
            Some(("s3", _)) => {
                let url: Url = text.parse().map_err(|_| NotAnObjectStoreUrl)?;
                let has_credentials = !url.username().is_empty() || url.password().is_some();
                if has_credentials || url.host_str().is_none() {
                    return Err(NotAnObjectStoreUrl);
                }
                Kind::S3(url)
            }
            _ => return Err(NotAnObjectStoreUrl),
        };
        Ok(Self(kind))
    }
}

impl fmt::Display for ObjectStoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::File(folder) => write!(f, "file://{}", folder.display()),
            Kind::S3(url) => write!(f, "s3://{}{}", url.host_str().unwrap_or_default(), url.path()),
            Kind::Memory => f.write_str("memory://"),
        }
    }
}

impl fmt::Debug for ObjectStoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Vault {
    /// Opens the store. S3's credentials, region and endpoint come from the usual `AWS_…` variables. A local folder is made if there is
    /// none. S3 is not contacted.
    ///
    /// # Errors
    /// When the folder cannot be made, or S3 is not configured.
    pub fn open(url: &ObjectStoreUrl) -> Result<Self, Error> {
        let mut local = None;
        let (store, prefix): (Arc<dyn ObjectStore>, Path) = match &url.0 {
            Kind::Memory => (Arc::new(InMemory::new()), Path::default()),
            Kind::File(folder) => {
                std::fs::create_dir_all(folder).map_err(|error| {
                    tracing::error!(%error, folder = %folder.display(), "the folder of the object store cannot be made");
                    Error::Unavailable
                })?;
                let store = LocalFileSystem::new_with_prefix(folder)?.with_automatic_cleanup(true).with_fsync(true);
                local = Some(LocalFolder(folder.clone()));
                (Arc::new(store), Path::default())
            }
            Kind::S3(url) => {
                // A call waits for the store: seconds, not the minutes of the library's defaults.
                let retry = RetryConfig { max_retries: 2, retry_timeout: Duration::from_secs(10), ..RetryConfig::default() };
                let allow_http = std::env::var("AWS_ALLOW_HTTP").is_ok_and(|value| value == "true");
                let client = ClientOptions::new()
                    .with_timeout(Duration::from_secs(30))
                    .with_connect_timeout(Duration::from_secs(5))
                    .with_allow_http(allow_http);
                let bucket = url.host_str().unwrap_or_default();
                let store = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry).with_client_options(client).build()?;
                (Arc::new(store), Path::from(url.path()))
            }
        };
        Ok(Self { store, prefix, local })
    }
}
