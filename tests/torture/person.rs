//! A user to whom things are done one after the other, and who remembers what was acknowledged and what was not.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use prost::Message as _;
use tonic::Status;
use userdata::grpc::proto::{
    DeleteUserMessagesRequest, GetErasureStatusRequest, ImportUserDataRequest, ImportUserDataResponse, ScopedDeleteRequest,
};

use crate::{
    batch::{Kind, batch},
    held::{Answer, Erasure, Held, content_of, difference},
    patience::{is_of_server, may_try_again},
    program::{Client, Stores},
    trial::{Random, Trial},
};

/// How long a file may outlive an erasure that was interrupted.
pub(crate) const FILES_WITHIN: Duration = Duration::from_secs(20);

/// A call that changes something.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    Import(ImportUserDataRequest),
    Erase(Erasure),
}

/// Which deeds are likely.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mood {
    Anything,
    Imports,
    /// Erasures of what was just imported, most of them with the vault.
    Erasures,
}

/// What became of the call that was not acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unsure {
    /// There was none.
    Nothing,
    Absent,
    Whole,
    /// A violation, and noted as one.
    Neither,
}

pub(crate) struct Person {
    pub(crate) token: String,
    /// What was acknowledged.
    pub(crate) held: Held,
    /// What was sent and not acknowledged.
    pub(crate) unsure: Option<Deed>,
    /// Erasures with the bytes of their answers.
    pub(crate) kept: Vec<(Erasure, Vec<u8>)>,
    batches: usize,
    random: Random,
}

impl Person {
    pub(crate) fn new(token: String, trial: &Trial) -> Self {
        let random = trial.random(&token);
        Self { token, held: Held::default(), unsure: None, kept: Vec::new(), batches: 0, random }
    }

    /// Records made now.
    pub(crate) fn next_batch(&mut self, kind: Kind) -> ImportUserDataRequest {
        self.batches += 1;
        batch(&self.token, &format!("b{}", self.batches), kind, &mut self.random)
    }

    /// Imports a batch, which must succeed.
    pub(crate) async fn settle_in(&mut self, client: &mut Client, kind: Kind) {
        let request = self.next_batch(kind);
        let answer = client.import_patiently(&request).await.unwrap();
        assert_eq!(answer.rejected, 0, "{:?}", answer.rejections);
        self.held.import(&request);
    }

    fn next_erasure(&mut self) -> Erasure {
        let (user_token, request_id) = (self.token.clone(), self.random.request_id());
        match self.random.below(100) {
            0..30 => {
                let scrub_residue = self.random.percent(40);
                Erasure::Messages(DeleteUserMessagesRequest { user_token, request_id, scrub_residue, ..Default::default() })
            }
            30..75 => Erasure::everything(&user_token, request_id),
            _ => {
                let mut scopes = ScopedDeleteRequest { user_token, request_id, vault: self.random.percent(50), ..Default::default() };
                for scope in [&mut scopes.dialogues, &mut scopes.memory, &mut scopes.assistants, &mut scopes.feedback, &mut scopes.sessions]
                {
                    *scope = self.random.percent(50);
                }
                // One at least.
                scopes.memory |= !(scopes.dialogues || scopes.vault || scopes.assistants || scopes.feedback || scopes.sessions);
                Erasure::Scopes(scopes)
            }
        }
    }

    fn next_deed(&mut self, mood: Mood) -> Deed {
        let imports = match mood {
            Mood::Anything => 45,
            Mood::Imports => 85,
            Mood::Erasures if self.held.files() > 0 => 10,
            Mood::Erasures => 80,
        };
        if self.random.percent(imports) {
            let kind = if mood == Mood::Imports && self.random.percent(8) { Kind::Large } else { Kind::Mixed };
            Deed::Import(self.next_batch(kind))
        } else {
            Deed::Erase(self.next_erasure())
        }
    }

    /// Does one deed after the other until one is not acknowledged, or so many are.
    pub(crate) async fn live(&mut self, client: &mut Client, mood: Mood, deeds: usize, trial: &Trial) {
        for _ in 0..deeds {
            let deed = self.next_deed(mood);
            if !self.do_one(client, deed, trial).await {
                return;
            }
        }
    }

    /// Whether it was acknowledged.
    pub(crate) async fn do_one(&mut self, client: &mut Client, deed: Deed, trial: &Trial) -> bool {
        self.unsure = Some(deed.clone());
        let status = match &deed {
            Deed::Import(request) => match client.import(request).await {
                Ok(answer) => {
                    self.imported(request, &answer, trial);
                    return true;
                }
                Err(status) => status,
            },
            Deed::Erase(erasure) => match client.erase(erasure).await {
                Ok(answer) => {
                    self.erased(erasure, &answer, trial);
                    return true;
                }
                Err(status) => status,
            },
        };
        if is_of_server(&status) && !may_try_again(&status) {
            trial.violated(format!("{}: {deed:?} was answered with {status:?}", self.token));
        }
        false
    }

    fn imported(&mut self, request: &ImportUserDataRequest, answer: &ImportUserDataResponse, trial: &Trial) {
        trial.tried("acknowledged imports", 1);
        trial.check(answer.rejected == 0, || format!("{}: an import of new records was rejected: {:?}", self.token, answer.rejections));
        self.held.import(request);
        self.unsure = None;
    }

    fn erased(&mut self, erasure: &Erasure, answer: &Answer, trial: &Trial) {
        trial.tried("acknowledged erasures", 1);
        let expected = self.held.erase(erasure);
        trial.check(answer.without_residue() == expected, || {
            format!("{}: {erasure:?} was answered with\n{answer:?}\nwhere it has to be\n{expected:?}", self.token)
        });
        self.kept.push((erasure.clone(), answer.bytes()));
        self.unsure = None;
    }

    /// Looks whether all that was acknowledged is there, and what was not whole or absent. Changes nothing.
    pub(crate) async fn look(&self, client: &mut Client, stores: &Stores, when: &str, trial: &Trial) -> Result<Unsure, Status> {
        let seen = client.shown(&self.token).await?;
        let nothing = BTreeSet::new();
        let absent = difference(&self.held.shown(), &seen, &nothing);
        let Some(deed) = &self.unsure else {
            trial.check(absent.is_none(), || format!("{when}, {}: after acknowledged calls only: {}", self.token, absent.unwrap()));
            self.check_files(stores, when, trial);
            return Ok(Unsure::Nothing);
        };
        let mut after = self.held.clone();
        let mut may_miss = BTreeSet::new();
        match deed {
            Deed::Import(request) => {
                after.import(request);
                // Content is a matter of the object store, not of the transaction; what is there is whole.
                may_miss.extend(request.uploads.iter().map(|upload| content_of(&upload.id)));
            }
            Deed::Erase(erasure) => drop(after.erase(erasure)),
        }
        let whole = difference(&after.shown(), &seen, &may_miss);
        match (&absent, &whole) {
            (None, _) => Ok(Unsure::Absent),
            (_, None) => Ok(Unsure::Whole),
            (Some(absent), Some(whole)) => {
                trial.violated(format!(
                    "{when}, {}: neither whole nor absent is {deed:?}\nif it were absent: {absent}\nif it were whole: {whole}",
                    self.token
                ));
                Ok(Unsure::Neither)
            }
        }
    }

    /// Sends again what was not acknowledged, and what was, and looks that all of it happened once.
    pub(crate) async fn settle(&mut self, client: &mut Client, stores: &Stores, when: &str, trial: &Trial) {
        match self.unsure.clone() {
            Some(Deed::Import(request)) => {
                let answer = client.import_patiently(&request).await.unwrap();
                self.imported(&request, &answer, trial);
            }
            Some(Deed::Erase(erasure)) => match client.erase_patiently(&erasure).await {
                // Whether it took effect before the end or now, its answer tells of the one effect.
                Ok(answer) => self.erased(&erasure, &answer, trial),
                Err(status) => trial.violated(format!("{when}, {}: sent again, {erasure:?} was answered with {status:?}", self.token)),
            },
            None => {}
        }
        self.unsure = None;
        self.check_kept(client, when, trial).await;
        let seen = client.shown(&self.token).await.unwrap();
        if let Some(difference) = difference(&self.held.shown(), &seen, &BTreeSet::new()) {
            trial.violated(format!("{when}, {}: after all was sent again: {difference}", self.token));
        }
        let messages = client.messages(&self.token).await.unwrap();
        trial.check(messages == self.held.messages(), || {
            format!("{when}, {}: {messages} messages are held, hidden ones too, of {}", self.token, self.held.messages())
        });
        self.check_files(stores, when, trial);
        let request = GetErasureStatusRequest { user_token: self.token.clone() };
        let status = client.users.get_erasure_status(request).await.unwrap().into_inner();
        trial.check(status.uploads_pending == 0, || format!("{when}, {}: all is answered, and there is {status:?}", self.token));
    }

    /// Every answer that was given once is given again.
    pub(crate) async fn check_kept(&self, client: &mut Client, when: &str, trial: &Trial) {
        for (erasure, bytes) in &self.kept {
            trial.tried("stored answers asked for again", 1);
            match client.erase_patiently(erasure).await {
                Ok(answer) if answer.bytes() == *bytes => {}
                Ok(answer) => {
                    let first = match answer {
                        Answer::Messages(_) => format!("{:?}", userdata::grpc::proto::DeleteUserMessagesResponse::decode(&bytes[..])),
                        Answer::Scopes(_) => format!("{:?}", userdata::grpc::proto::ScopedDeleteResponse::decode(&bytes[..])),
                    };
                    trial.violated(format!("{when}, {}: {erasure:?} was answered with\n{first}\nand then\n{answer:?}", self.token));
                }
                Err(status) => trial.violated(format!("{when}, {}: {erasure:?}, done before, gives {status:?}", self.token)),
            }
        }
    }

    fn check_files(&self, stores: &Stores, when: &str, trial: &Trial) {
        let (files, held) = (whole_files(stores, &self.token), self.held.files());
        trial.check(files == held, || format!("{when}, {}: {files} files where {held} are held", self.token));
    }

    /// Waits for the service to remove by itself the files of an erasure that was interrupted when it had taken effect.
    pub(crate) async fn await_files(&self, stores: &Stores, when: &str, trial: &Trial) {
        let Some(Deed::Erase(erasure)) = &self.unsure else { return };
        let mut after = self.held.clone();
        after.erase(erasure);
        let begun = Instant::now();
        while whole_files(stores, &self.token) != after.files() {
            if begun.elapsed() > FILES_WITHIN {
                let files = whole_files(stores, &self.token);
                return trial.violated(format!(
                    "{when}, {}: {files} files, not {}, {FILES_WITHIN:?} after {erasure:?} was interrupted",
                    self.token,
                    after.files()
                ));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        trial.tried("interrupted erasures finished without being asked", 1);
    }

    /// Erases everything, and looks for what is left of content that was only partly written when the program was killed.
    pub(crate) async fn leave(&mut self, client: &mut Client, stores: &Stores, when: &str, trial: &Trial) {
        let erasure = Erasure::everything(&self.token, self.random.request_id());
        if self.do_one(client, Deed::Erase(erasure), trial).await {
            let files: Vec<_> = stores.files_of(&self.token).into_iter().filter(|file| !self.held.has_file(file)).collect();
            trial.tried("users looked at for partly written files", 1);
            trial.check(files.is_empty(), || format!("{when}, {}: erased, and there is what was partly written: {files:?}", self.token));
        }
    }
}

/// How many files of a user there are. Those that were only partly written are no objects.
fn whole_files(stores: &Stores, user_token: &str) -> usize {
    stores.files_of(user_token).iter().filter(|file| !file.to_string_lossy().contains('#')).count()
}
