//! Parts of messages as JSON, of the kinds that the benchmark's messages have.

use anyhow::bail;
use serde_json::{Value, json};
use userdata::grpc::proto::{MessagePart, StartPart, StartStepPart, TextPart, message_part::Part};

pub(crate) fn to_json(parts: &[MessagePart]) -> Value {
    let parts = parts.iter().filter_map(|part| match part.part.as_ref()? {
        Part::Text(part) => Some(json!({ "type": "text", "text": part.text })),
        Part::Start(_) => Some(json!({ "type": "start" })),
        Part::StartStep(_) => Some(json!({ "type": "step-start" })),
        _ => None,
    });
    Value::Array(parts.collect())
}

pub(crate) fn from_json(parts: &Value) -> anyhow::Result<Vec<MessagePart>> {
    let parts = parts.as_array().into_iter().flatten().map(|part| {
        let text = |name: &str| part[name].as_str().unwrap_or_default().to_owned();
        let part = match part["type"].as_str() {
            Some("text") => Part::Text(TextPart { text: text("text") }),
            Some("start") => Part::Start(StartPart {}),
            Some("step-start") => Part::StartStep(StartStepPart {}),
            _ => bail!("a part of an unknown type"),
        };
        Ok(MessagePart { part: Some(part) })
    });
    parts.collect()
}
