//! A user who is erased while an import, made before, is on its way: whatever the order, nothing of it may be left.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use tokio::join;
use userdata::grpc::proto::{ImportUserDataRequest, Remaining};

use crate::{
    batch::Kind,
    held::{Answer, Erasure, Held, content_of, difference},
    person::{FILES_WITHIN, Person},
    program::{Client, Stores},
    trial::Trial,
};

pub(crate) struct Racer {
    person: Person,
    import: ImportUserDataRequest,
    imported: bool,
    erasure: Erasure,
    /// The bytes of its answer, if one came.
    answer: Option<Vec<u8>>,
}

impl Racer {
    /// Somebody who holds a batch already.
    pub(crate) fn new(mut person: Person, request_id: String) -> Self {
        let import = person.next_batch(Kind::Personal);
        let erasure = Erasure::everything(&person.token, request_id);
        Self { person, import, imported: false, erasure, answer: None }
    }

    /// Imports and erases at once.
    pub(crate) async fn race(&mut self, client: &Client) {
        let (mut importer, mut eraser) = (client.clone(), client.clone());
        let (imported, erased) = join!(importer.import(&self.import), eraser.erase(&self.erasure));
        self.imported = imported.is_ok_and(|answer| answer.rejected == 0);
        self.answer = erased.ok().map(|answer| answer.bytes());
    }

    fn erased(&self) -> Held {
        let mut erased = self.person.held.clone();
        erased.erase(&self.erasure);
        erased
    }

    /// Looks whether what is there is the beginning, the beginning with the whole import, or what an erasure leaves.
    pub(crate) async fn look(&self, client: &mut Client, when: &str, trial: &Trial) -> Result<(), tonic::Status> {
        let seen = client.shown(&self.person.token).await?;
        let (nothing, mut may_miss) = (BTreeSet::new(), BTreeSet::new());
        let mut with_import = self.person.held.clone();
        with_import.import(&self.import);
        if !self.imported {
            may_miss.extend(self.import.uploads.iter().map(|upload| content_of(&upload.id)));
        }
        let erased = difference(&self.erased().shown(), &seen, &nothing);
        let before = difference(&self.person.held.shown(), &seen, &nothing);
        let whole = difference(&with_import.shown(), &seen, &may_miss);
        let may_be_before = self.answer.is_none() && (before.is_none() && !self.imported || whole.is_none());
        trial.check(erased.is_none() || may_be_before, || {
            let acknowledged = (self.imported, self.answer.is_some());
            format!(
                "{when}, {}: an import and an erasure at once, acknowledged {acknowledged:?}: if erased {erased:?}, if not {before:?}, if whole {whole:?}",
                self.person.token
            )
        });
        Ok(())
    }

    /// Sends the erasure again and then the import, which comes too late.
    pub(crate) async fn settle(&mut self, client: &mut Client, stores: &Stores, when: &str, trial: &Trial) {
        trial.tried("imports raced by erasures", 1);
        let token = &self.person.token;
        for _ in 0..2 {
            let answer = client.erase_patiently(&self.erasure).await.unwrap();
            if let Answer::Scopes(scopes) = &answer {
                let is_clean = scopes.uploads_failed.is_empty() && scopes.remaining == Some(Remaining::default());
                trial.check(is_clean, || format!("{when}, {token}: {answer:?}"));
            }
            let bytes = self.answer.get_or_insert_with(|| answer.bytes());
            trial.check(answer.bytes() == *bytes, || format!("{when}, {token}: another answer than before: {answer:?}"));
        }
        client.import_patiently(&self.import).await.unwrap();
        let (seen, erased) = (client.shown(token).await.unwrap(), self.erased());
        let difference = difference(&erased.shown(), &seen, &BTreeSet::new());
        trial.check(difference.is_none(), || format!("{when}, {token}: after an erasure and an import from before it: {difference:?}"));
        let begun = Instant::now();
        loop {
            let files: Vec<_> = stores.files_of(token).into_iter().filter(|file| !erased.has_file(file)).collect();
            if files.is_empty() {
                return;
            }
            if begun.elapsed() > FILES_WITHIN {
                return trial.violated(format!("{when}, {token}: erased, and there are files: {files:?}"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
