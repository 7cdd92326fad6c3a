//! Servers on one database and one object store, some of which are killed now and then.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::TryStreamExt;
use object_store::{ObjectStore, aws::AmazonS3};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{
    file_faults,
    program::{Client, Program, READY_WITHIN, Stores, folder_of},
    trial::Random,
};

/// How long a call is tried again while servers are killed.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Fleet {
    stores: Stores,
    /// Where the objects are, if not in a folder of the stores.
    s3: Option<(AmazonS3, String)>,
    servers: Vec<Mutex<(Program, Client)>>,
    /// Which of them is called next.
    next: AtomicUsize,
    /// When a server was last started.
    disturbed: Mutex<Instant>,
    /// Whether servers are killed, so that calls fail.
    killed: bool,
}

impl Fleet {
    pub(crate) async fn start(stores: Stores, servers: usize, killed: bool) -> Self {
        let mut programs = Vec::new();
        for _ in 0..servers {
            programs.push(stores.serve("").await);
        }
        Self::of(stores, None, programs, killed)
    }

    /// A server with its objects on S3, under a prefix.
    pub(crate) fn on_s3(stores: Stores, program: Program, store: AmazonS3, prefix: String) -> Self {
        Self::of(stores, Some((store, prefix)), vec![program], false)
    }

    fn of(stores: Stores, s3: Option<(AmazonS3, String)>, programs: Vec<Program>, killed: bool) -> Self {
        let with_client = |program: Program| {
            let client = program.client();
            Mutex::new((program, client))
        };
        let servers = programs.into_iter().map(with_client).collect();
        Self { stores, s3, servers, next: AtomicUsize::new(0), disturbed: Mutex::new(Instant::now()), killed }
    }

    /// Makes a call at any of the servers; where they are killed, again until it is answered. Says whether it was made once.
    ///
    /// # Errors
    /// An answer that no call may have.
    pub(crate) async fn call<T>(&self, call: impl AsyncFn(Client) -> Result<T, Status>) -> Result<(T, bool), Status> {
        let begun = Instant::now();
        let mut once = true;
        loop {
            let nth = self.next.fetch_add(1, Ordering::Relaxed) % self.servers.len();
            let client = self.servers[nth].lock().unwrap().1.clone();
            match call(client).await {
                Ok(answer) => return Ok((answer, once)),
                Err(status) if self.may_be_tried_again(&status) && begun.elapsed() < PATIENCE => once = false,
                Err(status) => return Err(status),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn may_be_tried_again(&self, status: &Status) -> bool {
        // What the service itself says has an `ErrorInfo`.
        let broke_off = status.get_details_error_info().is_none();
        // So many at once may wait for a connection to the database longer than a call does.
        matches!(status.code(), Code::Aborted | Code::Unavailable) || self.killed && broke_off
    }

    /// Kills servers so many times, some of them at a point of their worker's; in the end all serve.
    pub(crate) async fn kill_now_and_then(&self, times: usize, random: &mut Random) {
        for _ in 0..times {
            tokio::time::sleep(Duration::from_millis(random.between(500, 3_000) as u64)).await;
            let nth = random.below(self.servers.len());
            let points =
                ["", "", "worker.before_removal=1*return", "worker.before_removal=2*off->1*return", "worker.after_removal=1*return"];
            let point = *random.pick(&points);
            self.restart(nth, point).await;
        }
        for nth in 0..self.servers.len() {
            self.restart(nth, "").await;
        }
    }

    async fn restart(&self, nth: usize, failpoints: &str) {
        self.servers[nth].lock().unwrap().0.kill();
        let mut program = self.stores.start(failpoints);
        // One that ends itself may do so before it serves.
        if let Err(reason) = program.ready(READY_WITHIN).await {
            assert!(!failpoints.is_empty(), "{reason}");
            program = self.stores.serve("").await;
        }
        let client = program.client();
        *self.servers[nth].lock().unwrap() = (program, client);
        *self.disturbed.lock().unwrap() = Instant::now();
    }

    /// When a server was last started.
    pub(crate) fn disturbed(&self) -> Instant {
        *self.disturbed.lock().unwrap()
    }

    /// The folder of the object store.
    pub(crate) fn folder(&self) -> PathBuf {
        self.stores.objects()
    }

    /// The names of a user's objects; `None` where they cannot be seen.
    pub(crate) async fn objects(&self, user_token: &str) -> Option<BTreeSet<String>> {
        let Some((store, prefix)) = &self.s3 else { return file_faults::objects(&self.folder(), user_token) };
        let folder = object_store::path::Path::from(prefix.as_str()).join(folder_of(user_token));
        let listed = store.list(Some(&folder)).map_ok(|object| object.location.filename().unwrap().to_owned());
        Some(listed.try_collect().await.unwrap())
    }
}
