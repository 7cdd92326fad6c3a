//! Looking for what must not be there: as it is, in hex, in base64, in percent-encoding, and as a list of numbers.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use tonic::{Status, metadata::KeyAndValueRef};

use super::planted::WORD;

/// What is looked for.
pub(super) struct Sought(Vec<String>);

impl Sought {
    /// The planted word in its spellings, these credentials, and the parts of a token.
    pub(super) fn new(credentials: &[&str], token: &str) -> Self {
        let bytes: Vec<String> = WORD.bytes().map(|byte| byte.to_string()).collect();
        let percent: String = WORD.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let mut sought = vec![WORD.to_owned(), hex::encode(WORD), bytes.join(", "), percent];
        // Wherever it begins among the three bytes of a group: without the characters that its neighbours have a part in.
        for before in 0..3 {
            let encoded = STANDARD_NO_PAD.encode([&b"xxx"[..before], WORD.as_bytes()].concat());
            let begin = (before * 8).div_ceil(6);
            let end = (before + WORD.len()) * 8 / 6;
            sought.push(encoded[begin..end].to_owned());
        }
        sought.extend(credentials.iter().map(|credential| (*credential).to_owned()));
        sought.extend(token.split('.').skip(1).map(str::to_owned));
        Self(sought.into_iter().map(|text| text.to_lowercase()).collect())
    }

    /// Fails, with the line, when something sought is there, in whatever case.
    pub(super) fn assert_absent(&self, place: &str, within: &[u8]) {
        let within = String::from_utf8_lossy(within).to_lowercase();
        for sought in &self.0 {
            let line = within.lines().find(|line| line.contains(sought.as_str()));
            assert!(line.is_none(), "{place} holds {sought:?}: {}", line.unwrap_or_default());
        }
    }
}

/// All that a status says: message, details, metadata.
pub(super) fn all_of(status: &Status) -> Vec<u8> {
    let mut all = format!("{status:?}\n{}\n", status.message()).into_bytes();
    all.extend(status.details());
    for pair in status.metadata().iter() {
        match pair {
            KeyAndValueRef::Ascii(_, value) => all.extend(value.as_encoded_bytes()),
            KeyAndValueRef::Binary(_, value) => all.extend(value.to_bytes().unwrap_or_default()),
        }
    }
    all
}

#[test]
fn what_is_planted_is_found_in_every_spelling() {
    let sought = Sought::new(&["0123456789abcdef"], "head.payload.signature");
    let planted = format!("a {WORD}");
    let shown = [
        planted.clone(),
        planted.to_uppercase(),
        hex::encode(&planted),
        format!("{:?}", planted.as_bytes()),
        STANDARD_NO_PAD.encode(&planted),
        STANDARD_NO_PAD.encode(format!("b{planted}")),
        STANDARD_NO_PAD.encode(format!("bc{planted} d")),
        "udk_0_0123456789ABCDEF".to_owned(),
        "payload".to_owned(),
        "a signature".to_owned(),
    ];
    for shown in shown {
        std::panic::catch_unwind(|| sought.assert_absent("here", shown.as_bytes())).expect_err(&shown);
    }
    sought.assert_absent("here", b"nothing of it");
}
