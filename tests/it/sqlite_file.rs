//! What an erasure leaves in SQLite's file.
//!
//! What holds when nobody reads meanwhile: the log is empty at once, so nothing is left there; and every row that is removed is overwritten
//! where it lay (`secure_delete`). What does not hold: when SQLite splits or joins pages it moves rows without overwriting where they were,
//! so that a few old copies can stay in the gaps of pages that are still in use, until they are written over or `VACUUM` rebuilds the file.

use std::{fs, future::poll_fn, pin::pin, task::Poll};

use userdata::{
    domain::{
        erasure::Terms,
        principal::{Permission, Permissions, Principal},
        subject::{ApplicationId, UserToken},
    },
    grpc::proto::{
        Conversation, DeleteUserMessagesRequest, ImportUserDataRequest, Message, MessagePart, ScopedDeleteRequest, TextPart,
        message_part::Part,
    },
    repository::Engine,
};

use crate::{
    records,
    world::{ACME, World},
};

const NEEDLE: &str = "needleword";

/// Of each user: 12 times 40 messages, 10 memories and 10 sessions.
const ROWS: usize = 720;

/// Messages, memories and sessions that hold a word, in texts of many lengths.
fn request(user: &str, word: &str, batch: i32) -> ImportUserDataRequest {
    let text = |number: i32| format!("{word} {}", "and so on ".repeat(((number * 37 + batch * 11) % 90) as usize));
    let message = |number: i32| Message {
        parts: vec![MessagePart { part: Some(Part::Text(TextPart { text: text(number) })) }],
        ..records::message(&format!("m{}-{batch}", number * 7 % 40), "c", number)
    };
    let conversation = Conversation { messages: (0..40).map(message).collect(), ..records::conversation("c", 0) };
    let mut memories: Vec<_> = (0..10).map(|number| records::memory(Some(&format!("o{batch}-{number}")), 2 * number)).collect();
    let mut sessions: Vec<_> = (0..10).map(|number| records::session(&format!("s{batch}-{number}"), number)).collect();
    memories.iter_mut().zip(0..).for_each(|(memory, number)| memory.text = text(number));
    sessions.iter_mut().for_each(|session| session.device = word.to_owned());
    ImportUserDataRequest { user_token: user.to_owned(), conversations: vec![conversation], memories, sessions, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_erasure_the_log_is_empty_and_hardly_a_copy_of_the_text_is_left_and_after_vacuum_none() {
    let world = World::start(Engine::Sqlite).await;
    let mut client = world.client().await;
    // Many small imports, in turn: rows are inserted between others, pages split, and texts are moved about.
    for batch in 0..12 {
        let requests = vec![request("anna", "haystack", batch), request("boris", NEEDLE, batch), request("clara", "haystack", batch)];
        assert_eq!(client.import(requests).await.unwrap().rejected, 0);
        // Written anew, half of them longer.
        let mut changed = request("boris", NEEDLE, batch);
        for message in changed.conversations[0].messages.iter_mut().step_by(2) {
            message.parts.extend(message.parts.clone());
        }
        assert_eq!(client.import(vec![changed]).await.unwrap().rejected, 0);
    }
    let user_token = "boris".to_owned();
    client.users.delete_user_messages(DeleteUserMessagesRequest { user_token: user_token.clone(), ..Default::default() }).await.unwrap();
    let scopes = ScopedDeleteRequest { user_token, memory: true, sessions: true, ..Default::default() };
    client.users.scoped_delete(scopes).await.unwrap();
    assert_eq!(copies(&world, "userdata.db-wal", ""), 0);
    assert!(copies(&world, "userdata.db", "haystack") > ROWS, "the file does not hold the others' texts");
    let left = copies(&world, "userdata.db", NEEDLE);
    assert!(left < ROWS / 100, "{left} copies of {ROWS} rows are left");

    world.execute("VACUUM").await;
    world.execute("PRAGMA wal_checkpoint(TRUNCATE)").await;
    assert_eq!(copies(&world, "userdata.db-wal", ""), 0);
    assert_eq!(copies(&world, "userdata.db", NEEDLE), 0);
}

/// How often a file holds a word; of no word, how many bytes it has.
fn copies(world: &World, file: &str, word: &str) -> usize {
    let bytes = fs::read(world.folder().join(file)).unwrap();
    if word.is_empty() { bytes.len() } else { bytes.windows(word.len()).filter(|window| *window == word.as_bytes()).count() }
}

/// What `future` gives if it gets there within so many polls; else it is dropped, as that of a call whose client has left.
async fn cut_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_is_cut_wherever_it_is_leaves_the_log_to_be_emptied() {
    let world = World::start(Engine::Sqlite).await;
    let (mut client, repository) = (world.client().await, world.repository());
    let application = ApplicationId::parse(ACME).unwrap();
    let principal =
        Principal::ApiKey { application, key_id: String::new(), permissions: Permissions::default().with(Permission::DeleteMessages) };
    let anna = principal.authorise(Permission::DeleteMessages, UserToken::parse("anna").unwrap()).unwrap();
    let (mut polls, mut erasures, mut cut_after_commit) = (0, 0, 0);
    // Wherever it is, and until one was cut behind its commit: how often it is polled before that is not the same each time.
    while polls > 0 || cut_after_commit == 0 {
        assert!(erasures < 1_000, "no erasure was cut behind its commit");
        (polls, erasures) = (polls + 1, erasures + 1);
        assert_eq!(client.import_again(vec![request("anna", NEEDLE, 0)]).await.unwrap().rejected, 0);
        let is_cut = cut_after(polls, repository.delete_messages(&anna, false, &Terms::default())).await.is_none();
        // This waits for the erasure's transaction, whose end nobody waits for, and fills the log.
        assert_eq!(client.import(vec![request("boris", "haystack", erasures)]).await.unwrap().rejected, 0);
        let deleted =
            world.query("SELECT 1 FROM messages JOIN subjects ON subjects.id = subject_id WHERE user_token = 'anna'").await.is_empty();
        repository.empty_log_of_erased().await;
        if !is_cut {
            polls = 0;
        } else if deleted {
            cut_after_commit += 1;
            assert_eq!(copies(&world, "userdata.db-wal", ""), 0, "cut after {polls} polls");
        }
    }
}
