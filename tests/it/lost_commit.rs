//! A connection to PostgreSQL that is lost during COMMIT: nobody guesses whether it happened.

use std::net::SocketAddr;

use prost::Message as _;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tonic::Code;
use userdata::{grpc::proto::DeleteUserMessagesRequest, repository::Engine};

use crate::{certain::erase, population::settle, rpc::assert_reason, world::World};

/// What becomes of a COMMIT.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Commit {
    Passes,
    /// It does not arrive.
    IsLost,
    /// It arrives, and its answer does not.
    IsNotAnswered,
}

/// What becomes of the next COMMITs, the last first; others pass.
type Commits = watch::Sender<Vec<Commit>>;

/// A way to `host` on which COMMITs, of those in which an erasure ends, can be lost.
async fn way_to(host: String, next: Commits) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let (host, next) = (host.clone(), next.clone());
            // A connection that ends is no fault.
            tokio::spawn(async move { pass(near, TcpStream::connect(host).await?, &next).await });
        }
    });
    address
}

async fn pass(mut near: TcpStream, mut far: TcpStream, next: &Commits) -> std::io::Result<()> {
    let ((mut near_reads, mut near_writes), (mut far_reads, mut far_writes)) = (near.split(), far.split());
    let (lose, mut lost) = watch::channel(false);
    let forth = async {
        let mut bytes = vec![0; 64 * 1024];
        loop {
            let count = near_reads.read(&mut bytes).await?;
            if count == 0 {
                return std::io::Result::Ok(());
            }
            if bytes[..count].windows(7).any(|part| part == b"COMMIT\0") {
                let mut commit = None;
                next.send_modify(|commits| commit = commits.pop());
                match commit.unwrap_or(Commit::Passes) {
                    Commit::Passes => {}
                    Commit::IsLost => return Ok(()),
                    Commit::IsNotAnswered => drop(lose.send(true)),
                }
            }
            far_writes.write_all(&bytes[..count]).await?;
        }
    };
    let back = async {
        tokio::select! {
            copied = copy(&mut far_reads, &mut near_writes) => copied.map(drop),
            _ = lost.changed() => far_reads.read_u8().await.map(drop),
        }
    };
    tokio::select! {
        ended = forth => ended,
        ended = back => ended,
    }
}

/// A world whose server reaches PostgreSQL by such a way.
async fn world_and_commits() -> (World, Commits) {
    let mut world = World::start(Engine::Postgres).await;
    let (before, host_and_database) = world.database_url.rsplit_once('@').unwrap();
    let (host, database) = host_and_database.split_once('/').unwrap();
    let (next, _) = watch::channel(Vec::new());
    let address = way_to(host.to_owned(), next.clone()).await;
    world.config.storage.database = format!("{before}@{address}/{database}").parse().unwrap();
    world.restart().await;
    (world, next)
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_the_answer_to_a_commit_that_is_lost_is_found_by_reading() {
    let (world, next) = world_and_commits().await;
    let mut client = world.client().await;
    for (nth, loss) in [Commit::IsLost, Commit::IsNotAnswered].into_iter().enumerate() {
        for once in [true, false] {
            let user_token = format!("{loss:?} {once}");
            settle(&mut client, &user_token).await;
            let request_id = if once { format!("00000000-0000-4000-8000-00000000000{nth}") } else { String::new() };
            let request = DeleteUserMessagesRequest { user_token: user_token.clone(), request_id, ..Default::default() };
            next.send_replace(vec![loss]);
            let answer = client.users.delete_user_messages(request.clone()).await;
            assert!(next.borrow().is_empty(), "no COMMIT came");
            let subject = world.subject_id(crate::world::ACME, &user_token).await;
            let left = world.query(&format!("SELECT id FROM messages WHERE subject_id = {subject}")).await.len();
            if once {
                let answer = answer.unwrap().into_inner();
                assert_eq!((answer.messages_deleted, left), (8, 0), "{loss:?}");
                let again = client.users.delete_user_messages(request).await.unwrap().into_inner();
                assert_eq!(again.encode_to_vec(), answer.encode_to_vec(), "{loss:?}");
                assert_eq!(client.epoch(&user_token).await, 1, "{loss:?}: it happened twice");
            } else {
                assert_reason(&answer.unwrap_err(), Code::Unavailable, "ERROR_REASON_DATABASE_UNAVAILABLE");
                assert_eq!(left, if loss == Commit::IsLost { 8 } else { 0 }, "{loss:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_a_scoped_delete_that_loses_a_commit_is_answered_as_if_it_had_not() {
    let (world, next) = world_and_commits().await;
    let mut client = world.client().await;
    settle(&mut client, "undisturbed").await;
    let undisturbed = client.users.scoped_delete(erase("undisturbed", "")).await.unwrap().into_inner();
    assert!(undisturbed.uploads_deleted > 0 && undisturbed.uploads_failed.is_empty(), "{undisturbed:?}");
    let epoch = client.epoch("undisturbed").await;

    // It has two: by the first it is accepted, by the second its files are noted as gone.
    for (nth, passing) in [vec![], vec![Commit::Passes]].into_iter().enumerate() {
        for (loss, digit) in [(Commit::IsLost, 1), (Commit::IsNotAnswered, 2)] {
            let commits: Vec<_> = [loss].into_iter().chain(passing.clone()).collect();
            let user_token = format!("{commits:?}");
            settle(&mut client, &user_token).await;
            let request = erase(&user_token, &format!("00000000-0000-4000-8000-0000000000{nth}{digit}"));
            next.send_replace(commits);
            let answer = client.users.scoped_delete(request.clone()).await.unwrap().into_inner();
            assert!(next.borrow().is_empty(), "no COMMIT came");
            assert_eq!(answer, undisturbed, "{user_token}");
            let again = client.users.scoped_delete(request).await.unwrap().into_inner();
            assert_eq!(again.encode_to_vec(), answer.encode_to_vec(), "{user_token}");
            assert_eq!((client.pending(&user_token).await, client.epoch(&user_token).await), (0, epoch), "{user_token}: it happened twice");

            let user_token = format!("{user_token} without a request_id");
            settle(&mut client, &user_token).await;
            next.send_replace([loss].into_iter().chain(passing.clone()).collect());
            let refused = client.users.scoped_delete(erase(&user_token, "")).await.unwrap_err();
            assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
            let subject = world.subject_id(crate::world::ACME, &user_token).await;
            let left = world.query(&format!("SELECT id FROM sessions WHERE subject_id = {subject}")).await.len();
            assert_eq!(left > 0, nth == 0 && loss == Commit::IsLost, "{user_token}");
        }
    }
}
