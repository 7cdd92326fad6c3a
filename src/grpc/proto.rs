//! The contract, generated from `proto/`: messages, clients, servers and their descriptors. The `Debug` of messages shows no text
//! (`build.rs`).

tonic::include_proto!("userdata.v1");
include!(concat!(env!("OUT_DIR"), "/debug.rs"));

/// The servers, generated around [`ExportFrame`](super::export_frame::ExportFrame).
#[expect(clippy::allow_attributes, reason = "generated")]
pub mod server {
    include!(concat!(env!("OUT_DIR"), "/servers/userdata.v1.rs"));
}

/// The descriptor set of the contract and all it imports, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_debug_of_a_message_shows_numbers_and_no_text() {
        let text = || "hunter2".to_owned();
        let part = MessagePart { part: Some(message_part::Part::Text(TextPart { text: text() })) };
        let turn_context = Some(TurnContext { values: [(text(), text())].into() });
        let message =
            Message { id: text(), parts: vec![part], turn_context, model: Some(text()), input_tokens: Some(17), ..Default::default() };
        let conversation = Conversation { title: Some(text()), messages: vec![message], ..Default::default() };
        let memory = Memory { text: text(), tags: vec![text()], ..Default::default() };
        let content = UploadContent { upload_id: text(), data: text().into(), ..Default::default() };
        let request = ImportUserDataRequest {
            user_token: text(),
            conversations: vec![conversation],
            memories: vec![memory],
            upload_contents: vec![content],
            ..Default::default()
        };
        for shown in [format!("{request:?}"), format!("{request:#?}")] {
            assert!(shown.contains("17") && shown.contains("TextPart"), "{shown}");
            assert!(!shown.contains("hunter2") && !shown.contains("104, 117"), "{shown}");
        }
    }
}
