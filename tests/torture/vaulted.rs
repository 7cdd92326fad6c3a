//! A user with uploads: imported, erased while the object store fails, and looked after until nothing is left.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use prost::Message as _;
use prost_types::Timestamp;
use userdata::grpc::proto::{
    ExportUserDataRequest, GetErasureStatusRequest, GetErasureStatusResponse, ImportUserDataRequest, Memory, Remaining,
    ScopedDeleteRequest, ScopedDeleteResponse, Upload, UploadContent,
};

use crate::{
    calls::content,
    file_faults::name_of,
    fleet::Fleet,
    program::Client,
    trial::{Random, Trial},
};

/// How soon after a fault nothing is left.
const WITHIN: Duration = Duration::from_secs(60);

pub(crate) struct Vaulted<'a> {
    trial: &'a Trial,
    fleet: &'a Fleet,
    user_token: String,
    uploads: Vec<Upload>,
    memories: usize,
    /// When the erasure was first asked for, and when it was answered.
    erased: Option<(i64, i64)>,
    /// Uploads that the answers said were deleted.
    deleted: usize,
    /// Uploads that the last answer named, and those that none may name.
    named: BTreeSet<String>,
    memories_deleted: usize,
}

/// An answer to an erasure.
struct Answer {
    response: ScopedDeleteResponse,
    /// What was asked for was asked for once.
    once: bool,
    /// The user's objects when it came; `None` where they cannot be seen.
    objects: Option<BTreeSet<String>>,
}

impl<'a> Vaulted<'a> {
    /// Makes up a user, and imports it.
    pub(crate) async fn import(trial: &'a Trial, fleet: &'a Fleet, user_token: &str, random: &mut Random) -> Self {
        let (count, memories, at) = (random.between(2, 8), random.below(3), timestamp(now()));
        let upload = |nth: usize| {
            let has_content = nth == 0 || random.percent(80);
            let institution_id = (nth != 0 && random.percent(15)).then(|| "school".to_owned());
            let (id, size_bytes) = (format!("{}{nth}", if has_content { "u" } else { "empty" }), random.between(1, 2_000) as i64);
            Upload { id, size_bytes, institution_id, status: "ready".to_owned(), created_at: at, ..Default::default() }
        };
        let uploads: Vec<Upload> = (0..count).map(upload).collect();
        let user = Self {
            trial,
            fleet,
            user_token: user_token.to_owned(),
            uploads,
            memories,
            erased: None,
            deleted: 0,
            named: BTreeSet::new(),
            memories_deleted: 0,
        };
        let memory = |nth| Memory { object_id: Some(format!("m{nth}")), created_at: at, updated_at: at, ..Default::default() };
        user.send(user.uploads.clone(), (0..memories).map(memory).collect()).await;
        trial.tried("uploads", count);
        user
    }

    /// Imports an upload that no erasure is about.
    pub(crate) async fn import_late(&mut self) {
        let at = timestamp(now());
        let upload = Upload { id: "u-late".to_owned(), size_bytes: 7, status: "ready".to_owned(), created_at: at, ..Default::default() };
        self.send(vec![upload.clone()], Vec::new()).await;
        self.uploads.push(upload);
    }

    async fn send(&self, uploads: Vec<Upload>, memories: Vec<Memory>) {
        let with_content = uploads.iter().filter(|upload| has_content(upload));
        let piece = |upload: &Upload| {
            let data = content(&upload.id, upload.size_bytes);
            UploadContent { upload_id: upload.id.clone(), data, ..Default::default() }
        };
        let upload_contents = with_content.map(piece).collect();
        let request =
            ImportUserDataRequest { user_token: self.user_token.clone(), uploads, memories, upload_contents, ..Default::default() };
        let call = async |mut client: Client| {
            client.imports.import_user_data(tokio_stream::iter([request.clone()])).await.map(tonic::Response::into_inner)
        };
        match self.fleet.call(call).await {
            Ok((answer, _)) => self.check(answer.rejected == 0, || format!("an import was rejected: {:?}", answer.rejections)),
            Err(status) => self.violated(&format!("an import failed: {status:?}")),
        }
    }

    /// The ids of its uploads that an erasure of the vault takes, and of those with content.
    pub(crate) fn erasable(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let ids = |of: &mut dyn Iterator<Item = &Upload>| of.map(|upload| upload.id.clone()).collect();
        (ids(&mut self.personal()), ids(&mut self.personal().filter(|upload| has_content(upload))))
    }

    fn personal(&self) -> impl Iterator<Item = &Upload> {
        self.uploads.iter().filter(|upload| upload.institution_id.is_none() && upload.id != "u-late")
    }

    async fn erase(&self, memory: bool, request_id: &str) -> Option<Answer> {
        let (user_token, request_id) = (self.user_token.clone(), request_id.to_owned());
        let request = ScopedDeleteRequest { user_token, vault: true, memory, request_id, ..Default::default() };
        let call = async |mut client: Client| client.users.scoped_delete(request.clone()).await;
        match self.fleet.call(call).await {
            Ok((answer, once)) => {
                let objects = self.fleet.objects(&self.user_token).await;
                // What has a request id happens once, however often it is asked for.
                let once = once || !request.request_id.is_empty();
                Some(Answer { response: answer.into_inner(), once, objects })
            }
            Err(status) => {
                self.violated(&format!("an erasure failed: {status:?}"));
                None
            }
        }
    }

    /// Erases, and checks that the answer names all of `must`, nothing but `may`, and every upload whose object is still there.
    pub(crate) async fn erase_and_check(
        &mut self,
        (must, may): (&BTreeSet<String>, &BTreeSet<String>),
        memory: bool,
        request_id: &str,
    ) -> Option<ScopedDeleteResponse> {
        let invoked = now();
        let answer = self.erase(memory, request_id).await?;
        self.erased.get_or_insert((invoked, now()));
        self.take_in(&[&answer], (must, may), memory);
        Some(answer.response)
    }

    /// The same, with two erasures at once.
    pub(crate) async fn erase_twice_and_check(&mut self, sets: (&BTreeSet<String>, &BTreeSet<String>), memory: bool, request_id: &str) {
        let invoked = now();
        let (one, other) = futures::join!(self.erase(memory, request_id), self.erase(memory, ""));
        self.erased.get_or_insert((invoked, now()));
        if let (Some(one), Some(other)) = (one, other) {
            self.take_in(&[&one, &other], sets, memory);
        }
    }

    fn take_in(&mut self, answers: &[&Answer], (must, may): (&BTreeSet<String>, &BTreeSet<String>), memory: bool) {
        let sizes: BTreeMap<&str, i64> = self.personal().map(|upload| (upload.id.as_str(), upload.size_bytes)).collect();
        let bytes_of = |ids: &BTreeSet<String>| ids.iter().filter_map(|id| sizes.get(id.as_str())).sum::<i64>();
        // At the first, nothing was deleted before it.
        let all: BTreeSet<String> = sizes.keys().map(|id| (*id).to_owned()).collect();
        let before = if self.deleted == 0 { all.clone() } else { self.named.clone() };
        let mut still = before.clone();
        for Answer { response, objects, .. } in answers {
            let ids: Vec<&String> = response.uploads_failed.iter().map(|failure| &failure.upload_id).collect();
            let named: BTreeSet<String> = ids.iter().map(|id| (*id).clone()).collect();
            self.check(ids.len() == named.len(), || format!("{ids:?} are named, one of them twice"));
            self.check(named.is_superset(must), || format!("{named:?} are named, and not all of {must:?}"));
            self.check(named.is_subset(may), || format!("{named:?} are named, and not only of {may:?}"));
            self.check(response.uploads_failed.iter().all(|failure| !failure.error.is_empty()), || "a failure without a reason".to_owned());
            let there: Vec<&String> =
                all.iter().filter(|id| objects.as_ref().is_some_and(|objects| objects.contains(&name_of(id)))).collect();
            self.check(there.iter().all(|id| named.contains(*id)), || format!("{there:?} are there, and only {named:?} named"));
            self.check_remaining(response.remaining, named.len());
            still.retain(|id| named.contains(id));
        }
        let responses = || answers.iter().map(|answer| &answer.response);
        let (deleted, bytes) =
            responses().fold((0, 0), |(uploads, bytes), of| (uploads + of.uploads_deleted as usize, bytes + of.bytes_freed));
        let gone: BTreeSet<String> = before.difference(&still).cloned().collect();
        let expected = (gone.len(), bytes_of(&gone));
        let is_known = answers.iter().all(|answer| answer.once);
        let told =
            || format!("{deleted} uploads of {bytes} bytes were deleted, says {:?}; {expected:?} were", responses().collect::<Vec<_>>());
        self.check((deleted, bytes) == expected || !is_known && deleted <= expected.0 && bytes <= expected.1, told);
        let memories: usize = responses().map(|response| response.memory_deleted as usize).sum();
        let expected = if memory { self.memories - self.memories_deleted } else { 0 };
        self.check(memories == expected || !is_known && memories == 0, || format!("{memories} memories were deleted, and not {expected}"));
        self.memories_deleted += expected;
        (self.deleted, self.named) = (self.deleted + gone.len(), still);
    }

    fn check_remaining(&self, remaining: Option<Remaining>, named: usize) {
        let is_named = remaining.is_some_and(|remaining| {
            let files = [remaining.uploads, remaining.objects, remaining.embeddings];
            let none = Remaining { uploads: files[0], objects: files[1], embeddings: files[2], ..Default::default() };
            remaining == none && files.iter().all(|count| *count as usize <= named)
        });
        self.check(is_named, || format!("{remaining:?} remain, and {named} are named"));
    }

    /// A repetition of an erasure that was answered.
    pub(crate) async fn check_repetition(&self, memory: bool, request_id: &str, first: &ScopedDeleteResponse) {
        if let Some(Answer { response, .. }) = self.erase(memory, request_id).await {
            self.check(response.encode_to_vec() == first.encode_to_vec(), || format!("{first:?} was said, then {response:?}"));
        }
    }

    /// Checks what the service says of the uploads that were named: how often it tried the oldest.
    pub(crate) async fn check_pending(&self) -> i32 {
        let Some(status) = self.status(&self.user_token).await else { return 0 };
        let pending = self.named.len();
        self.check(status.uploads_pending as usize == pending, || format!("{status:?}, and {:?} were named", self.named));
        let since = status.oldest_pending_since.map(|at| at.seconds * 1_000_000_000 + i64::from(at.nanos));
        let is_right = match (since, self.erased) {
            (Some(since), Some((invoked, returned))) => pending > 0 && (invoked..=returned).contains(&since),
            (since, _) => since.is_none() && pending == 0,
        };
        self.check(is_right, || format!("{status:?}, and the erasure was from {:?}", self.erased));
        self.check((status.oldest_attempts > 0) == (pending > 0), || format!("{status:?}"));
        let all = self.status("").await;
        self.check(all.is_some_and(|all| all.uploads_pending as usize >= pending), || format!("of all users, {all:?}; of one, {pending}"));
        status.oldest_attempts
    }

    async fn status(&self, user_token: &str) -> Option<GetErasureStatusResponse> {
        let request = GetErasureStatusRequest { user_token: user_token.to_owned() };
        let call = async |mut client: Client| client.users.get_erasure_status(request.clone()).await;
        match self.fleet.call(call).await {
            Ok((status, _)) => Some(status.into_inner()),
            Err(status) => {
                self.violated(&format!("no status of erasures: {status:?}"));
                None
            }
        }
    }

    /// Waits, without a call, until nothing of the user is in the object store, and then checks that the service knows it.
    pub(crate) async fn check_that_nothing_is_left(&mut self) {
        let cleared = Instant::now();
        let kept = self.uploads.iter().filter(|upload| upload.institution_id.is_some() || upload.id == "u-late");
        let kept: BTreeMap<&str, &Upload> = kept.map(|upload| (upload.id.as_str(), upload)).collect();
        let names: BTreeSet<String> = kept.values().filter(|upload| has_content(upload)).map(|upload| name_of(&upload.id)).collect();
        let is_late = || Ord::max(cleared, self.fleet.disturbed()).elapsed() > WITHIN;
        loop {
            let objects = self.fleet.objects(&self.user_token).await;
            if objects.as_ref() == Some(&names) {
                break;
            }
            if is_late() {
                return self.violated(&format!("after {WITHIN:?} there are {objects:?}, and not {names:?}"));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        loop {
            let Some(status) = self.status(&self.user_token).await else { return };
            if status.uploads_pending == 0 {
                self.check(status.oldest_pending_since.is_none() && status.oldest_attempts == 0, || format!("{status:?}"));
                break;
            }
            if is_late() {
                return self.violated(&format!("after {WITHIN:?} the status is {status:?}"));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.deleted += self.named.len();
        self.named.clear();
        self.trial.most("seconds until nothing was left", Ord::max(cleared, self.fleet.disturbed()).elapsed().as_secs());
        for (include_deleted, deleted) in [(false, 0), (true, self.personal().count())] {
            let user_token = self.user_token.clone();
            let request = ExportUserDataRequest { user_token, include_deleted, include_upload_content: true, ..Default::default() };
            let call = async |mut client: Client| {
                let mut stream = client.users.export_user_data(request.clone()).await?.into_inner();
                let (mut uploads, mut contents) = (Vec::new(), BTreeMap::<String, Vec<u8>>::new());
                while let Some(response) = stream.message().await? {
                    uploads.extend(response.uploads);
                    for piece in response.upload_contents {
                        contents.entry(piece.upload_id).or_default().extend(piece.data);
                    }
                }
                Ok((uploads, contents))
            };
            let (uploads, contents) = match self.fleet.call(call).await {
                Ok((shown, _)) => shown,
                Err(status) => return self.violated(&format!("an export failed: {status:?}")),
            };
            let (gone, live): (Vec<&Upload>, Vec<&Upload>) = uploads.iter().partition(|upload| upload.deleted_at.is_some());
            let is_marked =
                gone.len() == deleted && gone.iter().all(|upload| upload.status == "deleted" && !kept.contains_key(&*upload.id));
            self.check(is_marked, || format!("{gone:?} are marked as deleted"));
            let is_whole = |upload: &&Upload| {
                let data = if has_content(upload) { content(&upload.id, upload.size_bytes) } else { Vec::new() };
                kept.get(&*upload.id) == Some(upload) && contents.get(&upload.id) == Some(&data)
            };
            self.check(live.len() == kept.len() && live.iter().all(is_whole), || format!("{live:?} are left of {kept:?}"));
        }
    }

    fn check(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violated(&what());
        }
    }

    fn violated(&self, what: &str) {
        self.trial.violated(format!("{}: {what}; its uploads: {:?}", self.user_token, self.uploads));
    }
}

fn has_content(upload: &Upload) -> bool {
    upload.id.starts_with('u')
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64
}

fn timestamp(nanos: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: nanos / 1_000_000_000, nanos: (nanos % 1_000_000_000) as i32 })
}
