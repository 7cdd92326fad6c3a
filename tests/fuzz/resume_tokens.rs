//! Resume tokens: as they are, and with their bytes changed and their check made to fit, which only a reader of the source can do.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use userdata::domain::{
    category::{Categories, Category},
    counts::RecordCounts,
    digest::ExportDigest,
    position::{InConversation, InUpload, Position},
    principal::{Permission, Permissions, Principal},
    record::RecordKey,
    resume_token::{ExportChoices, ExportState},
    subject::{ApplicationId, Subject, UserToken},
    timestamp::Timestamp,
};

use crate::bounded::fuzz;

const CHECK_BYTES: usize = 16;

#[test]
fn a_resume_token_is_read_or_refused() {
    let (subject, choices) = (subject(), choices());
    let tokens: Vec<Vec<u8>> = positions().into_iter().map(|position| state(position).seal(&subject, choices).into_bytes()).collect();
    let opened = |token: &str| ExportState::open(token, &subject, choices);
    // Changes to the token itself.
    fuzz(&tokens, |_, token| {
        if let Ok(token) = std::str::from_utf8(token)
            && let Some(state) = opened(token)
        {
            assert_eq!(state.seal(&subject, choices), token, "two tokens say the same");
        }
    });
    // Changes to what it holds.
    let held: Vec<Vec<u8>> = tokens.iter().map(|token| URL_SAFE_NO_PAD.decode(token).unwrap()).map(without_check).collect();
    fuzz(&held, |_, bytes| {
        let token = URL_SAFE_NO_PAD.encode([bytes, &check(&subject, choices, bytes)].concat());
        if let Some(state) = opened(&token) {
            assert_eq!(state.seal(&subject, choices), token, "two tokens say the same");
        }
    });
    assert!(opened(std::str::from_utf8(&tokens[0]).unwrap()).is_some() && held.iter().all(|bytes| fits(bytes, &subject, choices)));
}

#[test]
fn a_resume_token_with_an_id_that_no_record_can_have_is_refused() {
    for id in ["a\0b", ""] {
        let position = Position::Memory(RecordKey { created_at: Timestamp(1), id: id.to_owned() });
        assert!(ExportState::open(&state(position).seal(&subject(), choices()), &subject(), choices()).is_none(), "{id:?}");
    }
}

fn fits(bytes: &[u8], subject: &Subject, choices: ExportChoices) -> bool {
    let token = URL_SAFE_NO_PAD.encode([bytes, &check(subject, choices, bytes)].concat());
    ExportState::open(&token, subject, choices).is_some()
}

fn without_check(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len() - CHECK_BYTES);
    bytes
}

/// The check of a token, as `domain::resume_token` makes it.
fn check(subject: &Subject, choices: ExportChoices, bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let mut hash = Sha256::new_with_prefix(b"userdata resume token");
    for part in [subject.application().as_str(), subject.user_token().as_str()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.update(choices.categories.bits().to_be_bytes());
    hash.update([u8::from(choices.include_deleted), u8::from(choices.include_upload_content)]);
    hash.update(bytes);
    *hash.finalize().first_chunk().unwrap()
}

fn subject() -> Subject {
    let application = ApplicationId::parse("ACME").unwrap();
    let permissions: Permissions = [Permission::Export].into_iter().collect();
    let principal = Principal::ApiKey { application, key_id: "0123456789abcdef".to_owned(), permissions };
    principal.authorise(Permission::Export, UserToken::parse("anna").unwrap()).unwrap()
}

fn choices() -> ExportChoices {
    ExportChoices { categories: Categories::all(), include_deleted: false, include_upload_content: true }
}

fn state(position: Position) -> ExportState {
    let mut counts = RecordCounts::default();
    counts.add(Category::Messages, 3);
    ExportState { position, epoch: 7, as_of: Timestamp(1_750_000_000_000_000_000), counts, digest: ExportDigest::default() }
}

fn positions() -> Vec<Position> {
    let key = |id: &str| RecordKey { created_at: Timestamp(1), id: id.to_owned() };
    vec![
        Position::Start,
        Position::Conversation(key("c"), InConversation::Header),
        Position::Conversation(key("c"), InConversation::Message(key("m"))),
        Position::Conversation(key("c"), InConversation::Feedback(key("f"))),
        Position::Feedback(key("f")),
        Position::Memory(key("é")),
        Position::Upload(key("u"), InUpload::Content { offset: 5, version: 6 }),
        Position::Upload(key("u"), InUpload::Complete),
        Position::Assistant(key("a")),
        Position::Session(key("s")),
        Position::CompactionCache(key("k")),
        Position::End,
    ]
}
