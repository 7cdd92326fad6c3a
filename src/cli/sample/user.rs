//! Invented users.

use prost_types::Timestamp;

use super::{
    DAY, Dice,
    conversation::{MESSAGES_WITH_EVERY_PART, conversation, feedback},
    text, time,
};
use crate::grpc::{
    document::UserDocument,
    proto::{Assistant, CompactionCacheEntry, Conversation, Episode, Memory, MemoryType, Session, Upload},
};

const MOST_CONVERSATIONS: u32 = 64;
const MOST_MESSAGES: u32 = 128;

pub(super) fn document(dice: &mut Dice, index: u64, messages: Option<u32>) -> UserDocument {
    let first = index == 0;
    let mut user = UserDocument::new(format!("{}_{}_{index:04}", dice.pick(&text::FIRST_NAMES), dice.pick(&text::LAST_NAMES)));
    user.conversations = match messages {
        Some(messages) => conversations_of(dice, messages),
        None => some_conversations(dice, first),
    };
    let agent_id = user.conversations.first().map_or_else(|| dice.id("agent"), |conversation| conversation.agent_id.clone());
    // The first user has everything, the others what chance gives them.
    let number = |dice: &mut Dice, most: u32| if first { 1 + dice.below(most) } else { dice.below(most + 1) };

    for _ in 0..number(dice, 2) {
        let (message_id, given) = (dice.id("msg"), dice.below(300 * DAY));
        user.feedback.push(feedback(dice, &agent_id, &message_id, given, None));
    }
    for _ in 0..number(dice, 4) {
        let memory = memory(dice, &user.user_token, &agent_id);
        user.memories.push(memory);
    }
    for _ in 0..number(dice, 3) {
        let (upload, content) = upload(dice);
        if let Some(content) = content {
            user.contents.insert(upload.id.clone(), content);
        }
        user.uploads.push(upload);
    }
    for place in 0..number(dice, 2) {
        user.assistants.push(assistant(dice, place));
    }
    for _ in 0..number(dice, 5) {
        user.sessions.push(session(dice));
    }
    user.compaction_cache = user
        .conversations
        .iter()
        .filter(|conversation| conversation.messages.len() >= 8)
        .map(|conversation| summary(dice, conversation))
        .collect();
    user
}

fn some_conversations(dice: &mut Dice, first: bool) -> Vec<Conversation> {
    let number = if !first && dice.chance(1, 12) { 0 } else { dice.long_tail(MOST_CONVERSATIONS) };
    (0..number)
        .map(|place| {
            let messages = if dice.chance(1, 25) { 0 } else { size(dice) };
            conversation(dice, if first && place == 0 { messages.max(MESSAGES_WITH_EVERY_PART) } else { messages })
        })
        .collect()
}

/// How many messages a conversation has: some, rarely very many.
fn size(dice: &mut Dice) -> u32 {
    2 + dice.below(8) + dice.long_tail(MOST_MESSAGES)
}

/// Conversations of exactly so many messages together; the first holds a tenth of them.
fn conversations_of(dice: &mut Dice, messages: u32) -> Vec<Conversation> {
    let mut left = messages;
    let mut conversations = Vec::new();
    while left > 0 {
        let wished = if conversations.is_empty() { (messages / 10).max(MESSAGES_WITH_EVERY_PART) } else { size(dice) };
        let taken = wished.min(left);
        conversations.push(conversation(dice, taken));
        left -= taken;
    }
    conversations
}

fn memory(dice: &mut Dice, user_token: &str, agent_id: &str) -> Memory {
    let product = dice.pick(&text::PRODUCTS);
    let topic = dice.pick(&text::TOPICS);
    let made = dice.below(300 * DAY);
    let nanos = if dice.chance(1, 4) { 500_000_000 } else { 0 };
    let memory_type = match dice.below(5) {
        0 => None,
        1 | 2 => Some(MemoryType::Episodic),
        _ => Some(MemoryType::Semantic),
    };
    let episode = (memory_type == Some(MemoryType::Episodic)).then(|| Episode {
        observation: text::question(dice),
        thoughts: text::thought(dice),
        action: "looked the order up".to_owned(),
        result: if dice.chance(1, 3) { String::new() } else { text::answer(dice) },
    });
    Memory {
        object_id: dice.chance(9, 10).then(|| dice.id("mem")),
        text: format!("Prefers the {product} and asks about {topic}."),
        raw_extract: text::question(dice),
        memory_type: memory_type.map(Into::into),
        episode,
        keywords: (0..dice.below(4)).map(|_| dice.pick(&text::PRODUCTS).to_owned()).collect(),
        topics: vec![topic.to_owned()],
        tags: vec![format!("userID_{user_token}")],
        recall_triggers: (0..dice.below(3)).map(|_| dice.pick(&text::TOPICS).to_owned()).collect(),
        agent_ids: vec![agent_id.to_owned()],
        app_id: "DEMO".to_owned(),
        user_id: user_token.to_owned(),
        institution_id: dice.chance(1, 8).then(|| "inst_harbour_school".to_owned()),
        created_at: time(made).map(|time| Timestamp { nanos, ..time }),
        updated_at: time(made + dice.below(DAY)),
    }
}

/// An upload, and its content unless that is lost.
fn upload(dice: &mut Dice) -> (Upload, Option<Vec<u8>>) {
    let (file_name, content_type) = dice.pick(&[
        ("receipt.txt", "text/plain"),
        ("Übersicht.csv", "text/csv"),
        ("写真.bin", "application/octet-stream"),
        ("notes.md", "text/markdown"),
    ]);
    let mut content = String::new();
    for _ in 0..dice.below(40) {
        content.push_str(&text::answer(dice));
        content.push('\n');
    }
    let upload = Upload {
        id: dice.id("upl"),
        file_name: file_name.to_owned(),
        content_type: content_type.to_owned(),
        size_bytes: i64::try_from(content.len()).unwrap_or(i64::MAX),
        status: dice.pick(&["ready", "ready", "processing"]).to_owned(),
        institution_id: dice.chance(1, 8).then(|| "inst_harbour_school".to_owned()),
        created_at: time(dice.below(300 * DAY)),
        deleted_at: None,
    };
    (upload, dice.chance(7, 8).then(|| content.into_bytes()))
}

fn assistant(dice: &mut Dice, place: u32) -> Assistant {
    let made = dice.below(300 * DAY);
    Assistant {
        id: dice.id("ast"),
        name: format!("{} helper {}", dice.pick(&text::TOPICS), place + 1),
        description: dice.chance(2, 3).then(|| "Finds what I bought before".to_owned()),
        instructions: dice.chance(1, 2).then(|| "Antworte kurz. Keep to the point.".to_owned()),
        status: dice.pick(&["active", "draft"]).to_owned(),
        institution_id: dice.chance(1, 8).then(|| "inst_harbour_school".to_owned()),
        created_at: time(made),
        updated_at: time(made + dice.below(DAY)),
        deleted_at: None,
    }
}

fn session(dice: &mut Dice) -> Session {
    let began = dice.below(300 * DAY);
    Session {
        id: dice.id("ses"),
        ip_address: if dice.chance(1, 4) { format!("2001:db8::{:x}", dice.below(65_536)) } else { format!("192.0.2.{}", dice.below(256)) },
        user_agent: dice.pick(&text::BROWSERS).to_owned(),
        device: dice.pick(&text::DEVICES).to_owned(),
        created_at: time(began),
        last_active_at: if dice.chance(3, 4) { time(began + dice.below(DAY)) } else { None },
    }
}

fn summary(dice: &mut Dice, conversation: &Conversation) -> CompactionCacheEntry {
    CompactionCacheEntry {
        id: dice.id("cpt"),
        conversation_id: conversation.id.clone(),
        text: format!("The user asked: {} The agent answered: {}", text::question(dice), text::answer(dice)),
        created_at: conversation.last_activity_at,
    }
}
