//! What an erasure leaves in SQLite's file.

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
async fn after_an_erasure_the_log_is_empty_and_the_text_is_gone() {
    let world = World::start(Engine::Sqlite).await;
    let mut client = world.client().await;
    // Many small imports, in turn: rows are inserted between others, pages split, and texts are moved about.
    for batch in 0..12 {
        let requests = vec![request("anna", "haystack", batch), request("boris", NEEDLE, batch), request("clara", "haystack", batch)];
        assert_eq!(client.import(requests).await.unwrap().rejected, 0);
        // Written anew, some longer, some shorter.
        let mut changed = request("boris", &format!("{NEEDLE} changed"), batch);
        for (message, other) in
            changed.conversations[0].messages.iter_mut().zip(request("boris", NEEDLE, batch + 5).conversations[0].messages.iter())
        {
            message.parts.extend(other.parts.iter().skip((message.created_at.unwrap().seconds % 2) as usize).cloned());
        }
        assert_eq!(client.import(vec![changed]).await.unwrap().rejected, 0);
    }
    let user_token = "boris".to_owned();
    client.users.delete_user_messages(DeleteUserMessagesRequest { user_token: user_token.clone() }).await.unwrap();
    let scopes = ScopedDeleteRequest { user_token, memory: true, sessions: true, ..Default::default() };
    client.users.scoped_delete(scopes).await.unwrap();
    let file = world.folder().join("userdata.db");
    assert_eq!(fs::metadata(file.with_file_name("userdata.db-wal")).unwrap().len(), 0);
    let bytes = fs::read(&file).unwrap();
    let found = |word: &str| bytes.windows(word.len()).filter(|window| *window == word.as_bytes()).count();
    eprintln!("found {} {}", found("haystack"), found(NEEDLE));
    assert!(found("haystack") > 900);
    assert_eq!(found(NEEDLE), 0);
}
