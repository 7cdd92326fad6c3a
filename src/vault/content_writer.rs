//! Writing the content of one upload, in pieces.

use std::sync::Arc;

use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt, buffered::BufWriter, path::Path};
use tokio::io::AsyncWriteExt;

use super::{Error, removed};

/// What is kept in memory before it is sent: S3 takes no smaller part of an object.
const PART_BYTES: usize = 5 * 1024 * 1024;

/// And no more parts of one object.
const MAX_PARTS: u64 = 10_000;

/// Writes the content of one upload. Nothing appears until [`ContentWriter::finish`].
pub struct ContentWriter {
    store: Arc<dyn ObjectStore>,
    location: Path,
    writer: BufWriter,
    part_bytes: usize,
    written: u64,
}

/// How large a part of an object of this size is.
fn part_bytes(size: u64) -> usize {
    usize::try_from(size.div_ceil(MAX_PARTS)).map_or(usize::MAX, |least| least.max(PART_BYTES))
}

impl ContentWriter {
    pub(super) fn new(store: Arc<dyn ObjectStore>, location: Path, size: u64) -> Self {
        let part_bytes = part_bytes(size);
        let writer = BufWriter::with_capacity(Arc::clone(&store), location.clone(), part_bytes).with_max_concurrency(1);
        Self { store, location, writer, part_bytes, written: 0 }
    }

    /// How many bytes were taken.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// How many of them may be in memory at the most: of a part that is being sent, and of the next one.
    pub fn in_memory(&self) -> usize {
        usize::try_from(self.written).unwrap_or(usize::MAX).min(self.part_bytes.saturating_mul(2))
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// When the store fails; then [`ContentWriter::abort`] is all that is left.
    pub async fn put(&mut self, data: Bytes) -> Result<(), Error> {
        self.written = self.written.saturating_add(data.len() as u64);
        Ok(self.writer.put(data).await?)
    }

    /// Makes the content appear, in place of any before.
    ///
    /// # Errors
    /// When the store fails; what was there before may be there still.
    pub async fn finish(mut self) -> Result<Written, Error> {
        if let Err(error) = self.writer.shutdown().await {
            return Err(object_store::Error::Generic { store: "vault", source: Box::new(error) }.into());
        }
        Ok(Written { store: self.store, location: self.location })
    }

    /// Throws away what was written. What cannot be thrown away never appears as an object.
    pub async fn abort(mut self) {
        if let Err(error) = self.writer.abort().await {
            tracing::debug!(error = super::without_answer(&error), "content that was only partly written could not be thrown away");
        }
    }
}

/// Content that has just appeared.
pub struct Written {
    store: Arc<dyn ObjectStore>,
    location: Path,
}

impl Written {
    /// Removes it again, because its upload was deleted while it was written.
    ///
    /// # Errors
    /// When the store fails; the content is there still.
    pub async fn take_back(self) -> Result<(), Error> {
        removed(self.store.delete(&self.location).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_of_any_size_has_no_more_parts_than_s3_takes() {
        for size in [0, 1, 5 << 20, 52_428_800_000, 52_428_800_001, 5 << 40, u64::MAX] {
            let part = part_bytes(size);
            assert!(part >= PART_BYTES && size.div_ceil(part as u64) <= MAX_PARTS, "{size}");
        }
        assert_eq!(part_bytes(52_428_800_000), PART_BYTES);
    }
}
