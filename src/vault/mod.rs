//! The content of uploads, in an object store. An object's name is made from digests of its subject and its upload, so neither a listing
//! nor an error tells who somebody is. Absent on purpose: the uploads' records, which are the repository's.

mod content_writer;
mod open;
mod unfinished;

pub use content_writer::ContentWriter;
pub use open::{NotAnObjectStoreUrl, ObjectStoreUrl};

use std::{collections::HashMap, fmt::Display, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, path::Path};
use sha2::{Digest, Sha256};

use self::unfinished::LocalFolder;
use crate::domain::{limits::CONTENT_PIECE_BYTES, subject::Subject};

/// How many objects are removed at once: on S3, as many as one request can name.
const REMOVED_AT_ONCE: usize = 1_000;

/// The object store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Vault {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// Where the store is a local folder.
    local: Option<LocalFolder>,
}

/// Why the object store could not do its work. The text is for the operator: it names no content and no credential.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The store said no.
    #[error("the object store refuses access; check its credentials")]
    Refused,
    /// The store failed or did not answer. The cause is in the log.
    #[error("the object store failed or did not answer")]
    Unavailable,
    /// The content is not that of the pieces that were read before.
    #[error("the content was replaced while it was read")]
    Replaced,
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        tracing::warn!(%error, "the folder of the object store failed");
        Self::Unavailable
    }
}

impl From<object_store::Error> for Error {
    fn from(error: object_store::Error) -> Self {
        tracing::warn!(error = without_answer(&error), "the object store failed");
        match error {
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => Self::Refused,
            _ => Self::Unavailable,
        }
    }
}

/// What a store's failure says, up to the document that S3 answered with, of which only its code: the rest repeats the request, with the
/// headers that sign it.
fn without_answer(error: &impl Display) -> String {
    let text = error.to_string();
    let Some((said, answer)) = text.split_once('<') else { return text };
    let code = answer.split_once("<Code>").and_then(|(_, rest)| rest.split_once('<')).map_or("", |(code, _)| code);
    format!("{said}{code}")
}

/// A piece of content.
pub struct Piece {
    /// The bytes; empty only for an empty object.
    pub data: Bytes,
    /// The length of the whole object.
    pub size: u64,
    /// A number that content in its place would not have; 0 where the store tells no two apart.
    pub version: u64,
}

impl Vault {
    /// Reads the piece of an upload's content that begins at `offset`, after pieces of `version`; `None` if the store has no such object.
    ///
    /// # Errors
    /// [`Error::Replaced`] when the pieces before were of other content, or of some that is gone; others when the store fails.
    pub async fn read(&self, subject: &Subject, upload_id: &str, offset: u64, version: u64) -> Result<Option<Piece>, Error> {
        let location = self.location(subject, upload_id);
        let range = Some(GetRange::Bounded(offset..offset.saturating_add(CONTENT_PIECE_BYTES as u64)));
        let (meta, data) = match self.store.get_opts(&location, GetOptions { range, ..Default::default() }).await {
            Ok(piece) => (piece.meta.clone(), piece.bytes().await?),
            Err(object_store::Error::NotFound { .. }) if offset == 0 => return Ok(None),
            Err(object_store::Error::NotFound { .. }) => return Err(Error::Replaced),
            // No store gives a range that begins at the end.
            Err(error) => match self.store.head(&location).await {
                Ok(meta) if meta.size <= offset => (meta, Bytes::new()),
                _ => return Err(error.into()),
            },
        };
        let found = number(meta.e_tag.as_deref());
        if offset > 0 && found != version {
            return Err(Error::Replaced);
        }
        Ok(Some(Piece { data, size: meta.size, version: found }))
    }

    /// Begins to write an upload's content of this size. It appears as a whole, when the writer is finished.
    pub fn write(&self, subject: &Subject, upload_id: &str, size: u64) -> ContentWriter {
        ContentWriter::new(Arc::clone(&self.store), self.location(subject, upload_id), size)
    }

    /// Whether no content of the subject is there.
    ///
    /// # Errors
    /// When the store fails, or does not let its objects be listed.
    pub async fn is_empty(&self, subject: &Subject) -> Result<bool, Error> {
        Ok(self.store.list(Some(&self.folder(subject))).try_next().await?.is_none())
    }

    /// Removes the content of uploads, what was never finished of it too: what became of each, in their order. One already gone counts as
    /// removed; one that failed may be there still.
    pub async fn remove(&self, subject: &Subject, upload_ids: &[String]) -> Vec<Result<(), Error>> {
        let mut outcomes = Vec::with_capacity(upload_ids.len());
        let locations: Vec<Path> = upload_ids.iter().map(|upload_id| self.location(subject, upload_id)).collect();
        for locations in locations.chunks(REMOVED_AT_ONCE) {
            outcomes.extend(self.remove_all(locations.to_vec()).await);
        }
        if let Some(local) = &self.local {
            match local.unfinished(&self.folder(subject), &locations).await {
                Ok(unfinished) => {
                    for (nth, file) in unfinished {
                        if let Err(error) = unfinished::remove(file).await {
                            outcomes[nth] = Err(error.into());
                        }
                    }
                }
                Err(error) => outcomes.fill(Err(error.into())),
            }
            if let Err(error) = local.sync(&self.folder(subject)).await {
                outcomes.fill(Err(error.into()));
            }
        }
        outcomes
    }

    /// Of these uploads those whose object is there, or something unfinished of it, as a listing shows.
    ///
    /// # Errors
    /// When the store fails, or does not let its objects be listed.
    pub async fn which_are_there(&self, subject: &Subject, upload_ids: &[String]) -> Result<Vec<String>, Error> {
        let mut named: HashMap<Path, &String> = upload_ids.iter().map(|upload_id| (self.location(subject, upload_id), upload_id)).collect();
        let mut listed = self.store.list(Some(&self.folder(subject)));
        let mut there = Vec::new();
        while let Some(object) = listed.try_next().await? {
            there.extend(named.remove(&object.location).cloned());
        }
        if let Some(local) = &self.local {
            let others: Vec<Path> = named.keys().cloned().collect();
            let unfinished = local.unfinished(&self.folder(subject), &others).await?;
            there.extend(unfinished.iter().filter_map(|(nth, _)| named.remove(&others[*nth]).cloned()));
        }
        Ok(there)
    }

    async fn remove_all(&self, locations: Vec<Path>) -> Vec<Result<(), Error>> {
        let count = locations.len();
        let locations = stream::iter(locations).map(Ok).boxed();
        let mut outcomes: Vec<Result<(), Error>> = self.store.delete_stream(locations).map(removed).collect().await;
        if outcomes.len() != count {
            // The request failed, and not for one of them.
            let failed = outcomes.into_iter().find_map(Result::err).unwrap_or(Error::Unavailable);
            outcomes = vec![Err(failed); count];
        }
        outcomes
    }

    /// The name of an object: the prefix, 128 bits for the subject, 256 for the upload.
    fn location(&self, subject: &Subject, upload_id: &str) -> Path {
        self.folder(subject).join(hex::encode(Sha256::digest(upload_id)).as_str())
    }

    /// What the names of all of a subject's objects begin with.
    fn folder(&self, subject: &Subject) -> Path {
        let digest = subject.hash(b"userdata subject").finalize();
        self.prefix.clone().join(hex::encode(&digest[..16]).as_str())
    }
}

/// One already gone counts as removed.
fn removed<T>(outcome: Result<T, object_store::Error>) -> Result<(), Error> {
    match outcome {
        Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A short form of an ETag; 0 for none.
fn number(e_tag: Option<&str>) -> u64 {
    let Some(e_tag) = e_tag else { return 0 };
    let digest = Sha256::digest(e_tag);
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_answer_that_repeats_the_request_only_its_code_is_told() {
        let answer = "status 403 Forbidden: <Error><Code>SignatureDoesNotMatch</Code><CanonicalRequest>hunter2</CanonicalRequest></Error>";
        assert_eq!(without_answer(&answer), "status 403 Forbidden: SignatureDoesNotMatch");
        assert_eq!(without_answer(&"connection refused"), "connection refused");
        assert_eq!(without_answer(&"status 503: <html>hunter2"), "status 503: ");
    }
}
