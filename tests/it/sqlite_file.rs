//! What an erasure leaves in SQLite's file.
//!
//! What holds when nobody reads meanwhile: the log is empty at once, so nothing is left there; and every row that is removed is overwritten
//! where it lay (`secure_delete`). What does not hold: when SQLite splits or joins pages it moves rows without overwriting where they were,
//! so that a few old copies can stay in the gaps of pages that are still in use, until they are written over or `VACUUM` rebuilds the file.

use std::fs;

use userdata::{
    grpc::proto::{
        Conversation, DeleteUserMessagesRequest, ImportUserDataRequest, Message, MessagePart, ScopedDeleteRequest, TextPart,
        message_part::Part,
    },
    repository::Engine,
};

use crate::{records, world::World};

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
    client.users.delete_user_messages(DeleteUserMessagesRequest { user_token: user_token.clone() }).await.unwrap();
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
