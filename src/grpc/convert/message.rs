//! Messages. What is stored of one is the encoding of the contract's `Message` without ids and creation time; encoded in field order behind
//! those three, it is the encoding of the whole.

use prost::{
    Message as _,
    encoding::{self, WireType},
};
use serde::{Deserialize, de::IgnoredAny};

use super::Complaints;
use crate::{
    domain::{
        digest::RecordDigest,
        limits::{MAX_JSON_DEPTH, MAX_RECORD_BYTES},
        record::{Message, RecordKey},
        timestamp::Timestamp,
        violation::{Complaint, FieldViolation},
    },
    grpc::proto::{self, ToolOutputType, message_part::Part},
};

/// Checks a message that came in the conversation `conversation_id`.
///
/// # Errors
/// All that is wrong with it.
pub(crate) fn message(message: proto::Message, conversation_id: &str) -> Result<Message, Vec<FieldViolation>> {
    let mut complaints = Complaints::default();
    let size = message.encoded_len();
    if size > MAX_RECORD_BYTES {
        let field = largest_part(&message).map_or_else(|| "parts".to_owned(), |index| format!("parts[{index}]"));
        complaints.add(field, Complaint::TooLong { bytes: size, limit: MAX_RECORD_BYTES });
        return Err(complaints.0);
    }
    let id = complaints.name("id", message.id.clone());
    if message.conversation_id != conversation_id {
        complaints.add("conversation_id", Complaint::Rule("is not the id of the conversation that encloses it"));
    }
    let created_at = complaints.time("created_at", message.created_at);
    complaints.time("updated_at", message.updated_at);
    if message.role() == proto::Role::Unspecified {
        complaints.add("role", Complaint::UnknownValue { known: "ROLE_USER, ROLE_ASSISTANT" });
    }
    for (field, count) in [("input_tokens", message.input_tokens), ("output_tokens", message.output_tokens)] {
        if count.is_some_and(|count| count < 0) {
            complaints.add(field, Complaint::Negative);
        }
    }
    for (index, part) in message.parts.iter().enumerate() {
        check_part(&mut complaints, index, part.part.as_ref());
    }
    let rest = proto::Message { id: String::new(), conversation_id: String::new(), created_at: None, ..message };
    let body = rest.encode_to_vec();
    let key = RecordKey { created_at, id };
    let digest = RecordDigest::of(&[&head(&key, conversation_id), &body]);
    complaints.or(Message { key, body: body.into(), digest })
}

/// The encoding of the fields of a message that come before its body.
pub(crate) fn head(key: &RecordKey, conversation_id: &str) -> Vec<u8> {
    let mut head = Vec::with_capacity(24 + key.id.len() + conversation_id.len());
    put_head(key.created_at, &key.id, conversation_id, &mut head);
    head
}

/// Appends that encoding to `head`.
pub(crate) fn put_head(created_at: Timestamp, id: &str, conversation_id: &str, head: &mut Vec<u8>) {
    for (field, text) in [(1, id), (2, conversation_id)] {
        encoding::encode_key(field, WireType::LengthDelimited, head);
        encoding::encode_varint(text.len() as u64, head);
        head.extend_from_slice(text.as_bytes());
    }
    encoding::message::encode(3, &super::time::timestamp(created_at), head);
}

fn largest_part(message: &proto::Message) -> Option<usize> {
    let sizes = message.parts.iter().map(prost::Message::encoded_len).enumerate();
    sizes.max_by_key(|(_, size)| *size).map(|(index, _)| index)
}

fn check_part(complaints: &mut Complaints, index: usize, part: Option<&Part>) {
    let mut json = |member: &str, text: &str| match check_json(text) {
        Ok(()) => true,
        Err(problem) => {
            complaints.add(format!("parts[{index}].{member}"), Complaint::Json { problem });
            false
        }
    };
    match part {
        None => complaints.add(format!("parts[{index}].part"), Complaint::Missing),
        Some(Part::Text(_) | Part::Reasoning(_) | Part::Start(_) | Part::StartStep(_)) => {}
        Some(Part::ToolCall(call)) => {
            json("tool_call.args", &call.args);
            if let Some(options) = &call.provider_options {
                json("tool_call.provider_options", options);
            }
        }
        Some(Part::ToolApprovalRequest(request)) => {
            json("tool_approval_request.args", &request.args);
            if let Some(options) = &request.provider_options {
                json("tool_approval_request.provider_options", options);
            }
        }
        Some(Part::ToolResult(result)) => {
            if let Some(options) = &result.provider_options {
                json("tool_result.provider_options", options);
            }
            match &result.output {
                None => complaints.add(format!("parts[{index}].tool_result.output"), Complaint::Missing),
                Some(output) => {
                    let is_json = json("tool_result.output.value", &output.value);
                    let begins_not_with = |begin| is_json && !output.value.trim_start().starts_with(begin);
                    let (member, complaint) = match output.r#type() {
                        ToolOutputType::Text | ToolOutputType::ErrorText if begins_not_with('"') => {
                            ("value", Complaint::Rule("is not a JSON string"))
                        }
                        ToolOutputType::Content if begins_not_with('[') => ("value", Complaint::Rule("is not a JSON array")),
                        ToolOutputType::Unspecified => {
                            ("type", Complaint::UnknownValue { known: "TOOL_OUTPUT_TYPE_TEXT, _JSON, _ERROR_TEXT, _ERROR_JSON, _CONTENT" })
                        }
                        _ => return,
                    };
                    complaints.add(format!("parts[{index}].tool_result.output.{member}"), complaint);
                }
            }
        }
        Some(Part::Raw(raw)) => {
            let is_json = json("raw.json", &raw.json);
            let is_object = raw.json.trim_start().starts_with('{');
            if !is_object {
                complaints.add(format!("parts[{index}].raw.json"), Complaint::Rule("is not a JSON object"));
            }
            if raw.r#type.is_empty() {
                complaints.add(format!("parts[{index}].raw.type"), Complaint::Missing);
            } else if is_json && is_object && type_of(&raw.json).as_ref() != Some(&raw.r#type) {
                complaints.add(format!("parts[{index}].raw.type"), Complaint::Rule("is not the one `type` of `json`"));
            }
        }
    }
}

/// The `type` of a JSON object, if it has one and no other, which is a text.
pub(crate) fn type_of(json: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Typed {
        r#type: String,
    }
    serde_json::from_str(json).ok().map(|Typed { r#type }| r#type)
}

/// Whether a text is JSON, and not nested too deep for common parsers. What is wrong with it is told by place, never by content.
fn check_json(text: &str) -> Result<(), String> {
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        return Err(format!("at line {}, column {}", error.line(), error.column()));
    }
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    if deepest > MAX_JSON_DEPTH { Err(format!("it is nested {deepest} deep; the limit is {MAX_JSON_DEPTH}")) } else { Ok(()) }
}
