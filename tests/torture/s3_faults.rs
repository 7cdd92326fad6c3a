//! An S3 server that cannot be reached, loses its answers, or does so now and then: a way to it that fails.

use std::{
    collections::BTreeSet,
    env,
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use futures::future::join_all;
use object_store::aws::AmazonS3Builder;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::sleep,
};
use userdata::repository::Engine;

use crate::{
    fleet::Fleet,
    program::{READY_WITHIN, Stores},
    trial::{Random, Trial, random_bytes},
    vaulted::Vaulted,
};

/// What the way to the server does to requests that begin with a method; to all if it is empty.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Way {
    Open,
    /// Ends their connections.
    Refuses(&'static str),
    /// Passes them on, and then ends their connections: what they ask for is done.
    Loses(&'static str),
    /// Ends the connections of so many of a hundred.
    Fails(u64),
}

/// Removals are requests of this method.
const REMOVAL: &str = "POST ";

const WAYS: [Way; 4] = [Way::Refuses(REMOVAL), Way::Refuses(""), Way::Loses(REMOVAL), Way::Fails(50)];

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_files_on_s3_that_cannot_be_removed_are_named_and_go_later() {
    run(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_files_on_s3_that_cannot_be_removed_are_named_and_go_later() {
    run(Engine::Postgres).await;
}

async fn run(engine: Engine) {
    let trial = Trial::begin(format!("files on S3 {engine:?}"));
    let rounds = trial.size(1, 5);
    for round in 0..rounds {
        join_all(WAYS.map(async |way| play(&trial, engine, way, trial.random(&format!("{way:?} {round}"))).await)).await;
    }
    trial.end();
}

/// Imports users, has the way to the store fail, erases, and opens the way.
async fn play(trial: &Trial, engine: Engine, way: Way, mut random: Random) {
    let url = env::var("USERDATA_TEST_S3_URL")
        .expect("this test needs an S3 server: scripts/with-services starts one and sets USERDATA_TEST_S3_URL");
    let bucket = url.trim_start_matches("s3://").split('/').next().unwrap();
    let prefix = format!("torture/{}", hex::encode(random_bytes::<8>()));
    let (change, ways) = watch::channel(Way::Open);
    let endpoint = listen(env::var("AWS_ENDPOINT").unwrap().replace("http://", ""), ways).await;
    let mut environment = vec![("AWS_ENDPOINT", format!("http://{endpoint}")), ("AWS_ALLOW_HTTP", "true".to_owned())];
    for name in ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        environment.push((name, env::var(name).unwrap()));
    }
    let stores = Stores::make(engine).await;
    let mut program = stores.start_on(&format!("s3://{bucket}/{prefix}"), &environment, "");
    program.ready(READY_WITHIN).await.unwrap();
    let store = AmazonS3Builder::from_env().with_bucket_name(bucket).build().unwrap();
    let fleet = Fleet::on_s3(stores, program, store, prefix);

    let mut users = Vec::new();
    for number in 0..3 {
        let name = format!("{way:?} {number}");
        users.push((Vaulted::import(trial, &fleet, &name, &mut random).await, random.request_id()));
    }
    change.send_replace(way);
    let is_refused = matches!(way, Way::Refuses(_));
    let hold = Duration::from_millis(random.below(5_000) as u64);
    let erasures = users.iter_mut().map(async |(user, request_id)| {
        let (all, with_content) = user.erasable();
        let none = BTreeSet::new();
        // What is lost was perhaps done, and what fails now and then is perhaps done at another try.
        let must = if is_refused { &with_content } else { &none };
        let first = user.erase_and_check((must, &all), true, request_id).await;
        if is_refused {
            user.check_pending().await;
            user.erase_and_check((must, &all), false, "").await;
            sleep(hold).await;
            user.check_pending().await;
        }
        first
    });
    let first = join_all(erasures).await;
    change.send_replace(Way::Open);
    let ends = users.iter_mut().zip(first).map(async |((user, request_id), first)| {
        user.check_that_nothing_is_left().await;
        if let Some(first) = first {
            user.check_repetition(true, request_id, &first).await;
        }
        trial.tried("schedules", 1);
    });
    join_all(ends).await;
}

/// A way to `host`, for one request per connection.
async fn listen(host: String, ways: watch::Receiver<Way>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            // A client that leaves is no fault.
            tokio::spawn(pass(near, host.clone(), ways.clone()));
        }
    });
    address
}

async fn pass(mut near: TcpStream, host: String, ways: watch::Receiver<Way>) -> std::io::Result<()> {
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let mut request = Vec::new();
    let first_line = loop {
        if near.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
        if let Some(end) = request.windows(2).position(|bytes| bytes == b"\r\n") {
            break end;
        }
    };
    let is_of = |method: &str| request.starts_with(method.as_bytes());
    let way = *ways.borrow();
    // A multiple of 37 visits all of a hundred, in no order that a client follows.
    let coin = PASSED.fetch_add(37, Ordering::Relaxed) % 100;
    if matches!(way, Way::Refuses(method) if is_of(method)) || matches!(way, Way::Fails(percent) if coin < percent) {
        return Ok(());
    }
    let loses = matches!(way, Way::Loses(method) if is_of(method));
    let mut far = TcpStream::connect(host).await?;
    far.write_all(&request[..first_line]).await?;
    far.write_all(b"\r\nconnection: close").await?;
    far.write_all(&request[first_line..]).await?;
    let mut answer = Vec::new();
    let ((mut near_reads, mut near_writes), (mut far_reads, mut far_writes)) = (near.split(), far.split());
    tokio::select! {
        left = copy(&mut near_reads, &mut far_writes) => return left.map(drop),
        answered = far_reads.read_to_end(&mut answer) => drop(answered?),
    }
    if loses { Ok(()) } else { near_writes.write_all(&answer).await }
}
