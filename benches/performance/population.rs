//! The users of the benchmark and what is held about them: seeded, the same on every machine. Any record can be made without the ones
//! before it.

use std::sync::LazyLock;

use prost::Message as _;
use prost_types::Timestamp;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};
use userdata::grpc::proto::{Conversation, Message, MessagePart, Role, StartPart, StartStepPart, TextPart, message_part::Part};

const SEED: u64 = 1;
/// 2025-01-01T00:00:00Z, when the first messages were written.
const OPENED: i64 = 1_735_689_600;
const SECONDS_BETWEEN_MESSAGES: u32 = 25;

/// Words in some order, of which every text is a piece.
static TEXT: LazyLock<String> = LazyLock::new(|| {
    const WORDS: [&str; 16] = [
        "order",
        "the",
        "parcel",
        "was",
        "delivered",
        "yesterday",
        "but",
        "my",
        "lamp",
        "is",
        "broken",
        "can",
        "you",
        "refund",
        "it",
        "please",
    ];
    let mut numbers = ChaCha8Rng::seed_from_u64(SEED);
    let mut text = String::new();
    while text.len() < 256 * 1024 {
        text.push_str(WORDS[(numbers.next_u32() % 16) as usize]);
        text.push(' ');
    }
    text
});

/// A user with messages that are all about as large.
#[derive(Clone)]
pub(crate) struct User {
    pub(crate) token: String,
    pub(crate) messages: u32,
    pub(crate) per_conversation: u32,
    pub(crate) body_bytes: usize,
    /// Unlike that of all other users.
    number: u64,
}

impl User {
    pub(crate) fn conversations(&self) -> u32 {
        self.messages.div_ceil(self.per_conversation)
    }

    /// A conversation without its messages.
    pub(crate) fn conversation(&self, nth: u32) -> Conversation {
        let first = nth * self.per_conversation;
        let last = (first + self.per_conversation).min(self.messages).saturating_sub(1);
        let written = i32::try_from(last + 1 - first).unwrap_or(i32::MAX);
        Conversation {
            id: self.id("cnv", nth),
            agent_id: format!("agent_{:08x}", self.chance(2, nth) % 64),
            title: Some(self.text(3, nth, 40)),
            created_at: Some(self.time(first)),
            updated_at: Some(self.time(last)),
            last_activity_at: Some(self.time(last)),
            message_count: written,
            total_input_tokens: written.saturating_mul(900),
            total_output_tokens: written.saturating_mul(120),
            total_tokens: written.saturating_mul(1_020),
            ..Conversation::default()
        }
    }

    /// The messages of a conversation, by their numbers.
    pub(crate) fn messages_of(&self, conversation: u32) -> impl Iterator<Item = u32> + use<> {
        let first = conversation * self.per_conversation;
        first..(first + self.per_conversation).min(self.messages)
    }

    pub(crate) fn message(&self, nth: u32) -> Message {
        let created_at = Some(self.time(nth));
        let head = Message {
            id: self.id("msg", nth),
            conversation_id: self.id("cnv", nth / self.per_conversation),
            created_at,
            ..Message::default()
        };
        let mut parts = Vec::new();
        let mut message = if nth.is_multiple_of(2) {
            Message { role: Role::User.into(), updated_at: created_at, ..head }
        } else {
            parts = vec![Part::Start(StartPart {}), Part::StartStep(StartStepPart {})];
            let tokens = |choice, end| i32::try_from(self.chance(choice, nth) % end).ok();
            let (input_tokens, output_tokens) = (tokens(4, 6_000), tokens(5, 500));
            Message {
                role: Role::Assistant.into(),
                updated_at: created_at,
                model: Some("claude-sonnet-4-5".to_owned()),
                input_tokens,
                output_tokens,
                ..head
            }
        };
        // What frames a text, and the parts before it, take about 16 bytes.
        let taken = message.encoded_len() - message_head_len(&message) + 16;
        parts.push(Part::Text(TextPart { text: self.text(6, nth, self.body_bytes.saturating_sub(taken).max(4)) }));
        message.parts = parts.into_iter().map(|part| MessagePart { part: Some(part) }).collect();
        message
    }

    fn time(&self, message: u32) -> Timestamp {
        let micros = self.chance(7, message) % 1_000_000;
        let seconds = OPENED + i64::from(message * SECONDS_BETWEEN_MESSAGES);
        Timestamp { seconds, nanos: i32::try_from(micros * 1_000).unwrap_or(0) }
    }

    fn id(&self, prefix: &str, nth: u32) -> String {
        let choice = u64::from(prefix.as_bytes()[0]);
        format!("{prefix}_{:016x}{:08x}", self.chance(choice, nth), self.chance(choice + 1_000, nth) as u32)
    }

    fn text(&self, choice: u64, nth: u32, bytes: usize) -> String {
        let begin = self.chance(choice, nth) as usize % (TEXT.len() - bytes);
        TEXT[begin..begin + bytes].to_owned()
    }

    /// A number that looks like chance: the mixer of SplitMix64 over what asks for it.
    fn chance(&self, choice: u64, nth: u32) -> u64 {
        let mut number = SEED ^ (self.number << 40) ^ (choice << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(nth);
        for multiplier in [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb_u64] {
            number = (number ^ (number >> 30)).wrapping_mul(multiplier);
        }
        number ^ (number >> 31)
    }
}

/// How many bytes the fields that come before a message's body take in its encoding.
pub(crate) fn message_head_len(message: &Message) -> usize {
    let head = Message {
        id: message.id.clone(),
        conversation_id: message.conversation_id.clone(),
        created_at: message.created_at,
        ..Message::default()
    };
    head.encoded_len()
}

/// Users whose messages came interleaved.
#[derive(Clone, Default)]
pub(crate) struct Population {
    pub(crate) users: Vec<User>,
}

impl Population {
    /// Adds so many users called `name_0`, `name_1`, ….
    #[must_use]
    pub(crate) fn with(mut self, name: &str, users: u32, messages: u32, per_conversation: u32, body_bytes: usize) -> Self {
        for nth in 0..users {
            let number = self.users.len() as u64;
            self.users.push(User { token: format!("{name}_{nth}"), messages, per_conversation, body_bytes, number });
        }
        self
    }

    /// Whose message comes when: users, by their place, in turns of two messages, a question and its answer.
    pub(crate) fn turns(&self) -> Vec<u32> {
        let mut turns = Vec::new();
        for (place, user) in self.users.iter().enumerate() {
            turns.extend(std::iter::repeat_n(u32::try_from(place).unwrap_or(u32::MAX), user.messages.div_ceil(2) as usize));
        }
        let mut numbers = ChaCha8Rng::seed_from_u64(SEED);
        for place in (1..turns.len()).rev() {
            turns.swap(place, (numbers.next_u64() % (place as u64 + 1)) as usize);
        }
        turns
    }
}
