//! Faults of an object store in a folder. Each changes in one step: a file that is away for a moment would count as removed.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::program::folder_of;

/// What fails.
#[derive(Clone, Debug)]
pub(crate) enum Failing {
    Nothing,
    /// The removal of the objects of these uploads.
    Some(BTreeSet<String>),
    /// Whatever is asked for about the user.
    Everything,
}

/// A user's folder that fails until it is cleared.
pub(crate) struct Fault {
    folder: PathBuf,
    /// Where its files went.
    good: PathBuf,
    /// What is in its place.
    bad: PathBuf,
    failing: Failing,
}

/// The name of an upload's object in its user's folder.
pub(crate) fn name_of(upload_id: &str) -> String {
    hex::encode(Sha256::digest(upload_id))
}

/// The names of a user's objects, and of what is unfinished of others; `None` where they cannot be seen.
pub(crate) fn objects(store: &Path, user_token: &str) -> Option<BTreeSet<String>> {
    match fs::read_dir(store.join(folder_of(user_token))) {
        Ok(entries) => {
            let all: BTreeSet<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            // Beside an object, it is what an import left that was killed and made again.
            let is_beside = |name: &String| name.split_once('#').is_some_and(|(object, _)| all.contains(object));
            Some(all.iter().filter(|name| !is_beside(name)).cloned().collect())
        }
        Err(error) => (error.kind() == std::io::ErrorKind::NotFound).then(BTreeSet::new),
    }
}

impl Fault {
    /// Has the store fail for a user who has objects and whom nobody calls for.
    pub(crate) fn set(store: &Path, user_token: &str, failing: Failing) -> Self {
        let folder = store.join(folder_of(user_token));
        let beside = store.with_extension("aside");
        fs::create_dir_all(&beside).unwrap();
        let [good, bad] = ["good", "bad"].map(|name| beside.join(format!("{}-{name}", folder_of(user_token))));
        match &failing {
            Failing::Nothing => {}
            Failing::Everything => {
                fs::rename(&folder, &good).unwrap();
                symlink(&folder, &folder).unwrap();
            }
            Failing::Some(uploads) => {
                fs::rename(&folder, &good).unwrap();
                fs::create_dir(&bad).unwrap();
                let in_the_way: BTreeSet<String> = uploads.iter().map(|id| name_of(id)).collect();
                for entry in fs::read_dir(&good).unwrap() {
                    let name = entry.unwrap().file_name().into_string().unwrap();
                    if in_the_way.contains(&name) {
                        fs::create_dir(bad.join(&name)).unwrap();
                        fs::write(bad.join(name).join("in the way"), "").unwrap();
                    } else {
                        fs::rename(good.join(&name), bad.join(&name)).unwrap();
                    }
                }
                symlink(&bad, &folder).unwrap();
            }
        }
        Self { folder, good, bad, failing }
    }

    /// Has the store work again: what could not be removed is there as it was. Of objects that can be removed, none may go meanwhile.
    pub(crate) fn clear(self) {
        match self.failing {
            Failing::Nothing => return,
            Failing::Everything => {}
            Failing::Some(_) => {
                for entry in fs::read_dir(&self.bad).unwrap() {
                    let entry = entry.unwrap();
                    if entry.file_type().unwrap().is_file() {
                        fs::hard_link(entry.path(), self.good.join(entry.file_name())).unwrap();
                    }
                }
            }
        }
        let working = self.good.with_extension("link");
        symlink(&self.good, &working).unwrap();
        fs::rename(working, self.folder).unwrap();
    }
}
