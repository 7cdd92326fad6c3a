//! Content whose writer died before it was finished. In a local folder it lies beside the objects, as `NAME#1`, where the object store neither
//! lists nor removes it. S3 keeps it as an unfinished multipart upload, which a lifecycle rule of the bucket ends.

use std::{collections::HashMap, io, path::PathBuf};

use object_store::path::Path;
use tokio::fs;

/// The folder of a local object store.
#[derive(Clone, Debug)]
pub(super) struct LocalFolder(pub(super) PathBuf);

impl LocalFolder {
    /// The files with unfinished content of these objects, which are all in `folder`: each with the object's place among them.
    pub(super) async fn unfinished(&self, folder: &Path, objects: &[Path]) -> io::Result<Vec<(usize, PathBuf)>> {
        let named: HashMap<&str, usize> = objects.iter().enumerate().filter_map(|(nth, object)| Some((object.filename()?, nth))).collect();
        let mut entries = match fs::read_dir(self.0.join(folder.as_ref())).await {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        while let Some(entry) = entries.next_entry().await? {
            let name = entry.file_name();
            let object = name.to_str().and_then(|name| name.split_once('#')).and_then(|(object, _)| named.get(object));
            found.extend(object.map(|nth| (*nth, entry.path())));
        }
        Ok(found)
    }

    /// Has removals from `folder` outlast a loss of power; when it was left empty, it was removed itself.
    pub(super) async fn sync(&self, folder: &Path) -> io::Result<()> {
        for folder in self.0.join(folder.as_ref()).ancestors().take(2) {
            match fs::File::open(folder).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                opened => return opened?.sync_all().await,
            }
        }
        Ok(())
    }
}

/// Removes a file; one already gone counts as removed.
pub(super) async fn remove(file: PathBuf) -> io::Result<()> {
    match fs::remove_file(file).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
