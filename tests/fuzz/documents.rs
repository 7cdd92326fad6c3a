//! User documents, with the JSON parts of messages: what is read is written and read again as it was.

use userdata::grpc::document::UserDocument;

use crate::{bounded::fuzz, mutant};

#[test]
fn a_user_document_is_read_or_refused() {
    fuzz(&mutant::files("documents"), |_, json| {
        let Ok(document) = UserDocument::parse(json) else { return };
        let written = serde_json::to_vec(&document).unwrap();
        let again = UserDocument::parse(&written).unwrap_or_else(|error| panic!("what was written cannot be read: {error}"));
        assert_eq!(serde_json::to_vec(&again).unwrap(), written);
        assert_eq!(again.into_requests().count(), document.into_requests().count());
    });
}
