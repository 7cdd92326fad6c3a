//! One pair of stores, and the rounds in which what runs on it is killed.

use std::time::Duration;

use futures::future::join_all;
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, Statement};
use userdata::repository::Engine;

use crate::{
    batch::Kind,
    held::Erasure,
    person::{Deed, FILES_WITHIN, Mood, Person, Unsure},
    program::{Client, Program, READY_WITHIN, Stores},
    racer::Racer,
    trial::{Random, Trial},
};

/// Where the program can be told to end, but for the points of its worker.
pub(crate) const POINTS: [&str; 12] = [
    "erasure.before_lock",
    "erasure.after_effects",
    "erasure.before_commit",
    "erasure.after_commit",
    "erasure.before_removal",
    "erasure.after_removal",
    "erasure.before_settle_commit",
    "erasure.after_settle_commit",
    "import.before_commit",
    "import.after_commit",
    "content.before_finish",
    "content.after_finish",
];

/// The points of the worker that removes what erasures could not.
pub(crate) const WORKER_POINTS: [&str; 2] = ["worker.before_removal", "worker.after_removal"];

/// How many users are at work when the program is killed, and how many deeds of theirs it may take to get to a point.
const USERS: usize = 3;
const DEEDS: usize = 12;

/// How often in a row work may miss a point before it is the next one's turn.
const MISSES: usize = 4;

/// The longest that work may go on before a kill at a random moment, in milliseconds.
const MOMENTS: usize = 120;

/// How many of those with whom all is settled are remembered, to be asked again after later kills.
const REMEMBERED: usize = 60;

pub(crate) struct Lane<'a> {
    pub(crate) trial: &'a Trial,
    pub(crate) stores: &'a Stores,
    pub(crate) random: Random,
    name: String,
    users: usize,
    kills: usize,
    /// Those who were at work and are to be looked at.
    pub(crate) people: Vec<Person>,
    pub(crate) racers: Vec<Racer>,
    /// Those all of whose calls were acknowledged, some time ago.
    settled: Vec<Person>,
    watch: Option<DatabaseConnection>,
}

impl<'a> Lane<'a> {
    pub(crate) async fn new(trial: &'a Trial, stores: &'a Stores, name: &str) -> Self {
        let watch = match stores.engine {
            Engine::Sqlite => None,
            Engine::Postgres => {
                let mut options = ConnectOptions::new(&stores.database_url);
                Some(Database::connect(options.max_connections(1).sqlx_logging(false).to_owned()).await.unwrap())
            }
        };
        Self { watch, ..Self::without_watch(trial, stores, name) }
    }

    /// One whose program is not killed: nobody needs to watch what a killed one left.
    pub(crate) fn without_watch(trial: &'a Trial, stores: &'a Stores, name: &str) -> Self {
        let random = trial.random(name);
        let (people, racers, settled) = (Vec::new(), Vec::new(), Vec::new());
        Self { trial, stores, random, name: name.to_owned(), users: 0, kills: 0, people, racers, settled, watch: None }
    }

    /// Kills so often: every other time at a point, each point in turn.
    pub(crate) async fn run(&mut self, kills: usize, worker_rounds: usize) {
        // Told first.
        self.trial.tried("kills", 0);
        let mut points = POINTS.iter().cycle();
        let (mut point, mut misses) = (points.next().unwrap(), 0);
        let every = kills / (worker_rounds + 1);
        let mut next_for_worker = every;
        while self.kills < kills {
            self.kill_at_a_moment().await;
            // Work is random and may not come by.
            misses = if self.kill_at(point).await { 0 } else { misses + 1 };
            if misses == 0 || misses > MISSES {
                (point, misses) = (points.next().unwrap(), 0);
            }
            if self.kills >= next_for_worker && self.kills < kills {
                next_for_worker += every;
                self.kill_the_worker().await;
            }
        }
        let server = self.restart("").await;
        self.account(&server).await;
    }

    async fn kill_at_a_moment(&mut self) {
        let mut server = self.restart("").await;
        self.account(&server).await;
        // Those for the next kill too: an armed program might end while they settle in.
        let mut workers = self.settle_in(&server, USERS).await;
        let waiting = self.settle_in(&server, USERS).await;
        let mut racer = self.new_racer(&server).await;
        let moment = Duration::from_micros(self.random.below(MOMENTS * 1000) as u64);
        let client = server.client();
        let killed = async {
            tokio::time::sleep(moment).await;
            server.kill();
        };
        tokio::join!(work(&mut workers, &client, Mood::Anything, usize::MAX, self.trial), racer.race(&client), killed);
        self.killed("at random moments");
        self.people = workers;
        self.people.extend(waiting);
        self.racers.push(racer);
    }

    /// Those who settled in before the last kill are at work; the others are looked at. Whether the work came to the point.
    async fn kill_at(&mut self, point: &str) -> bool {
        let (passes, mood) = match point.split_once('.') {
            Some(("erasure", _)) => (self.random.below(3), Mood::Erasures),
            _ => (self.random.below(5), Mood::Imports),
        };
        let mut server = self.restart(&format!("{point}={passes}*off->1*return")).await;
        let client = server.client();
        let when = self.when();
        let mut workers = self.people.split_off(self.people.len() - USERS);
        for person in &self.people {
            let Err(cut) = person.look(&mut client.clone(), self.stores, &when, self.trial).await else { continue };
            // The worker that removes files may come to the point first.
            assert!(server.ends(READY_WITHIN).await, "a server that runs does not answer: {cut}");
        }
        work(&mut workers, &client, mood, DEEDS, self.trial).await;
        let is_at_point = workers.iter().any(|person| person.unsure.is_some()) && server.ends(READY_WITHIN).await;
        server.kill();
        self.killed(&if is_at_point { format!("at {point}") } else { "of the idle".to_owned() });
        self.people.extend(workers);
        is_at_point
    }

    /// Erasures of files are interrupted, and so is, twice, whoever goes on with them; the next time nobody is. Each time the service
    /// finishes them without being asked.
    async fn kill_the_worker(&mut self) {
        for points in [&WORKER_POINTS[..], &[]] {
            let server = self.restart("").await;
            self.account(&server).await;
            drop(server);
            self.interrupt_erasures().await;
            for point in points {
                let mut server = self.stores.start(&format!("{point}=1*return"));
                let is_at_point = server.ends(FILES_WITHIN).await;
                server.kill();
                self.killed(&if is_at_point { format!("at {point}") } else { "of the idle".to_owned() });
            }
            let server = self.restart("").await;
            let when = self.when();
            for person in &self.people {
                if person.look(&mut server.client(), self.stores, &when, self.trial).await.unwrap() == Unsure::Whole {
                    person.await_files(self.stores, &when, self.trial).await;
                }
            }
            self.account(&server).await;
        }
    }

    async fn interrupt_erasures(&mut self) {
        let mut server = self.restart("erasure.before_removal=1*return").await;
        let mut people = self.settle_in(&server, USERS).await;
        let (client, trial) = (server.client(), self.trial);
        let erasures = people.iter_mut().map(|person| {
            let erasure = Erasure::everything(&person.token, self.random.request_id());
            let mut client = client.clone();
            async move { person.do_one(&mut client, Deed::Erase(erasure), trial).await }
        });
        let acknowledged = join_all(erasures).await.into_iter().filter(|done| *done).count();
        let is_at_point = acknowledged < USERS && server.ends(READY_WITHIN).await;
        server.kill();
        self.killed(if is_at_point { "at erasure.before_removal" } else { "of the idle" });
        self.people = people;
    }

    /// Starts the program on the same stores; it must serve soon.
    async fn restart(&mut self, failpoints: &str) -> Program {
        let before = self.backends().await;
        let mut server = self.stores.start(failpoints);
        let mut ready = server.ready(READY_WITHIN).await;
        for _ in 0..USERS {
            if failpoints.is_empty() || ready.is_ok() {
                break;
            }
            // The worker that removes files has come to the point first; to these files it comes again when the lease is over.
            server = self.stores.start(failpoints);
            ready = server.ready(READY_WITHIN).await;
        }
        match ready {
            Ok(took) => self.trial.most("ms until the slowest start served", took.as_millis() as u64),
            Err(reason) => {
                self.trial.violated(format!("{}: {reason}", self.when()));
                panic!("without a server nothing can be looked at");
            }
        }
        // What the killed one had sent to PostgreSQL may still be carried out; then it is over.
        while self.backends().await.iter().any(|pid| before.contains(pid)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server
    }

    /// The connections of the program to PostgreSQL.
    async fn backends(&self) -> Vec<i32> {
        let Some(watch) = &self.watch else { return Vec::new() };
        let sql = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'userdata'";
        let rows = watch.query_all_raw(Statement::from_string(watch.get_database_backend(), sql)).await.unwrap();
        rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
    }

    /// Looks at everybody who was at work, has everything settled, and asks some from earlier again.
    pub(crate) async fn account(&mut self, server: &Program) {
        let (client, when) = (server.client(), self.when());
        let (trial, stores) = (self.trial, self.stores);
        let one = |mut person: Person| {
            let (mut client, when) = (client.clone(), when.clone());
            async move {
                match person.look(&mut client, stores, &when, trial).await.unwrap() {
                    Unsure::Nothing | Unsure::Neither => {}
                    Unsure::Absent => trial.tried("unacknowledged and absent", 1),
                    Unsure::Whole => trial.tried("unacknowledged and whole", 1),
                }
                person.settle(&mut client, stores, &when, trial).await;
                person
            }
        };
        let mut settled = join_all(std::mem::take(&mut self.people).into_iter().map(one)).await;
        for racer in &mut self.racers {
            racer.look(&mut client.clone(), &when, trial).await.unwrap();
            racer.settle(&mut client.clone(), stores, &when, trial).await;
        }
        self.racers.clear();
        for _ in 0..2_usize.min(self.settled.len()) {
            let person = self.random.below(self.settled.len());
            let person = &self.settled[person];
            person.look(&mut client.clone(), stores, &when, trial).await.unwrap();
            person.check_kept(&mut client.clone(), &when, trial).await;
        }
        // Content that was partly written when the program was killed must go with the user.
        for person in &mut settled {
            if person.held.is_large() || self.random.percent(20) {
                person.leave(&mut client.clone(), stores, &when, trial).await;
            }
        }
        self.settled.extend(settled);
        while self.settled.len() > REMEMBERED {
            let person = self.random.below(self.settled.len());
            self.settled.swap_remove(person);
        }
    }

    /// New users with a batch each.
    pub(crate) async fn settle_in(&mut self, server: &Program, count: usize) -> Vec<Person> {
        let client = server.client();
        let mut people: Vec<Person> = (0..count).map(|_| self.new_person()).collect();
        join_all(people.iter_mut().map(|person| {
            let mut client = client.clone();
            async move { person.settle_in(&mut client, Kind::Mixed).await }
        }))
        .await;
        people
    }

    pub(crate) async fn new_racer(&mut self, server: &Program) -> Racer {
        let mut person = self.new_person();
        person.settle_in(&mut server.client(), Kind::Mixed).await;
        Racer::new(person, self.random.request_id())
    }

    fn new_person(&mut self) -> Person {
        self.users += 1;
        Person::new(format!("{} user {}", self.name, self.users), self.trial)
    }

    pub(crate) fn killed(&mut self, how: &str) {
        self.kills += 1;
        self.trial.tried("kills", 1);
        self.trial.tried(how, 1);
    }

    fn when(&self) -> String {
        format!("after kill {} of {}", self.kills, self.name)
    }
}

/// Everybody does one deed after the other.
pub(crate) async fn work(people: &mut [Person], client: &Client, mood: Mood, deeds: usize, trial: &Trial) {
    join_all(people.iter_mut().map(|person| {
        let mut client = client.clone();
        async move { person.live(&mut client, mood, deeds, trial).await }
    }))
    .await;
}
