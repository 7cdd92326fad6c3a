//! Parts of messages. A part that the typed form would not give back exactly is kept whole as a raw part, so that nothing is ever lost.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::value::RawValue;

use crate::grpc::{
    convert::message::type_of,
    proto::{
        MessagePart, RawPart, ReasoningPart, StartPart, StartStepPart, TextPart, ToolApprovalRequestPart, ToolCallPart, ToolOutput,
        ToolOutputType, ToolResultPart, message_part::Part,
    },
};

/// All members that parts of known types have. A member that is there must have its type: null is not absence here.
#[derive(Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct PartForm {
    #[serde(rename = "type")]
    kind: String,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<String>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    tool_name: Option<String>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    args: Option<JsonText>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    output: Option<OutputForm>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    requires_approval: Option<bool>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    provider_options: Option<JsonText>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    args_hash: Option<String>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    app_id: Option<String>,
}

#[derive(PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OutputForm {
    #[serde(rename = "type")]
    kind: OutputKind,
    value: JsonText,
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OutputKind {
    Text,
    Json,
    ErrorText,
    ErrorJson,
    Content,
}

/// Any JSON, kept as its text.
#[derive(PartialEq)]
struct JsonText(String);

impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|json| Self(Box::<str>::from(json).into()))
    }
}

impl Serialize for JsonText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The parser's own message would be harmless, but says nothing to whoever reads an export.
        let json: &RawValue =
            serde_json::from_str(&self.0).map_err(|_| ser::Error::custom("a JSON text of a message part is not valid JSON"))?;
        if json.get().contains(['\n', '\r']) {
            // Line breaks stand only between tokens, where a blank says the same; a line of JSON Lines must have none.
            RawValue::from_string(json.get().replace(['\n', '\r'], " ")).map_err(ser::Error::custom)?.serialize(serializer)
        } else {
            json.serialize(serializer)
        }
    }
}

fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl<'de> Deserialize<'de> for MessagePart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        // A derived form also reads arrays, member by member.
        if !json.get().starts_with('{') {
            return Err(de::Error::custom("is not an object"));
        }
        let typed = serde_json::from_str(json.get()).ok().and_then(typed);
        let part = match typed {
            Some(part) => part,
            None => Part::Raw(raw(json).ok_or_else(|| de::Error::custom("has no text as its `type`"))?),
        };
        Ok(Self { part: Some(part) })
    }
}

fn raw(json: Box<RawValue>) -> Option<RawPart> {
    Some(RawPart { r#type: type_of(json.get())?, json: Box::<str>::from(json).into() })
}

/// The part of a known type that has all the members of its type and no other.
fn typed(mut form: PartForm) -> Option<Part> {
    let part = match std::mem::take(&mut form.kind).as_str() {
        "text" => Part::Text(TextPart { text: form.text.take()? }),
        "reasoning" => Part::Reasoning(ReasoningPart { text: form.text.take()? }),
        "start" => Part::Start(StartPart {}),
        "start-step" => Part::StartStep(StartStepPart {}),
        "tool-call" => Part::ToolCall(ToolCallPart {
            tool_call_id: form.tool_call_id.take()?,
            tool_name: form.tool_name.take()?,
            args: form.args.take()?.0,
            requires_approval: form.requires_approval.take(),
            provider_options: form.provider_options.take().map(|json| json.0),
        }),
        "tool-result" => Part::ToolResult(ToolResultPart {
            tool_call_id: form.tool_call_id.take()?,
            tool_name: form.tool_name.take()?,
            output: Some(output(form.output.take()?)?),
            provider_options: form.provider_options.take().map(|json| json.0),
        }),
        "tool-approval-request" => Part::ToolApprovalRequest(ToolApprovalRequestPart {
            tool_call_id: form.tool_call_id.take()?,
            tool_name: form.tool_name.take()?,
            args: form.args.take()?.0,
            description: form.description.take(),
            provider_options: form.provider_options.take().map(|json| json.0),
            args_hash: form.args_hash.take(),
            app_id: form.app_id.take(),
        }),
        _ => return None,
    };
    (form == PartForm::default()).then_some(part)
}

fn output(form: OutputForm) -> Option<ToolOutput> {
    let (kind, begins) = match form.kind {
        OutputKind::Text => (ToolOutputType::Text, "\""),
        OutputKind::Json => (ToolOutputType::Json, ""),
        OutputKind::ErrorText => (ToolOutputType::ErrorText, "\""),
        OutputKind::ErrorJson => (ToolOutputType::ErrorJson, ""),
        OutputKind::Content => (ToolOutputType::Content, "["),
    };
    form.value.0.starts_with(begins).then(|| ToolOutput { r#type: kind.into(), value: form.value.0 })
}

impl Serialize for MessagePart {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.part {
            Some(Part::Raw(raw)) => JsonText(raw.json.clone()).serialize(serializer),
            Some(part) => {
                form(part).ok_or_else(|| ser::Error::custom("a tool result has no output of a known type"))?.serialize(serializer)
            }
            None => Err(ser::Error::custom("a message part is of a kind this client does not know; use a newer one")),
        }
    }
}

fn form(part: &Part) -> Option<PartForm> {
    let kind = |kind: &str| PartForm { kind: kind.to_owned(), ..PartForm::default() };
    let json = |text: &String| JsonText(text.clone());
    Some(match part {
        Part::Text(part) => PartForm { text: Some(part.text.clone()), ..kind("text") },
        Part::Reasoning(part) => PartForm { text: Some(part.text.clone()), ..kind("reasoning") },
        Part::Start(StartPart {}) => kind("start"),
        Part::StartStep(StartStepPart {}) => kind("start-step"),
        Part::ToolCall(part) => PartForm {
            tool_call_id: Some(part.tool_call_id.clone()),
            tool_name: Some(part.tool_name.clone()),
            args: Some(json(&part.args)),
            requires_approval: part.requires_approval,
            provider_options: part.provider_options.as_ref().map(json),
            ..kind("tool-call")
        },
        Part::ToolResult(part) => PartForm {
            tool_call_id: Some(part.tool_call_id.clone()),
            tool_name: Some(part.tool_name.clone()),
            output: Some(output_form(part.output.as_ref()?)?),
            provider_options: part.provider_options.as_ref().map(json),
            ..kind("tool-result")
        },
        Part::ToolApprovalRequest(part) => PartForm {
            tool_call_id: Some(part.tool_call_id.clone()),
            tool_name: Some(part.tool_name.clone()),
            args: Some(json(&part.args)),
            description: part.description.clone(),
            provider_options: part.provider_options.as_ref().map(json),
            args_hash: part.args_hash.clone(),
            app_id: part.app_id.clone(),
            ..kind("tool-approval-request")
        },
        Part::Raw(_) => return None,
    })
}

fn output_form(output: &ToolOutput) -> Option<OutputForm> {
    let kind = match output.r#type() {
        ToolOutputType::Unspecified => return None,
        ToolOutputType::Text => OutputKind::Text,
        ToolOutputType::Json => OutputKind::Json,
        ToolOutputType::ErrorText => OutputKind::ErrorText,
        ToolOutputType::ErrorJson => OutputKind::ErrorJson,
        ToolOutputType::Content => OutputKind::Content,
    };
    Some(OutputForm { kind, value: JsonText(output.value.clone()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Part {
        serde_json::from_str::<MessagePart>(json).unwrap().part.unwrap()
    }

    fn written(json: &str) -> String {
        serde_json::to_string(&serde_json::from_str::<MessagePart>(json).unwrap()).unwrap()
    }

    const TYPED: [&str; 12] = [
        r#"{"type":"text","text":"Grüße 🛫"}"#,
        r#"{"type":"reasoning","text":""}"#,
        r#"{"type":"start"}"#,
        r#"{"type":"start-step"}"#,
        r#"{"type":"tool-call","toolCallId":"c","toolName":"t","args":{"n":18446744073709551617, "f":255.0,"e":1e3,"d":0.1000000000000000055511151231257827}}"#,
        r#"{"type":"tool-call","toolCallId":"c","toolName":"t","args":null,"requiresApproval":false,"providerOptions":{"a":{"b":[1E+2]}}}"#,
        r#"{"type":"tool-result","toolCallId":"c","toolName":"t","output":{"type":"text","value":"a\u00e9"}}"#,
        r#"{"type":"tool-result","toolCallId":"c","toolName":"t","output":{"type":"json","value":[9007199254740993]},"providerOptions":null}"#,
        r#"{"type":"tool-result","toolCallId":"c","toolName":"t","output":{"type":"error-text","value":"no"}}"#,
        r#"{"type":"tool-result","toolCallId":"c","toolName":"t","output":{"type":"error-json","value":false}}"#,
        r#"{"type":"tool-result","toolCallId":"c","toolName":"t","output":{"type":"content","value":[{"type":"text","text":"x"}]}}"#,
        r#"{"type":"tool-approval-request","toolCallId":"c","toolName":"t","args":[-0],"description":"?","providerOptions":{},"argsHash":"h","appId":"A"}"#,
    ];

    const RAW: [&str; 11] = [
        r#"{"type":"file","url":"https://example.com","n":9007199254740993.0}"#,
        r#"{"text":"x","type":"text","state":"done"}"#,
        r#"{"type":"text","text":null}"#,
        r#"{"type":"text"}"#,
        r#"{"type":"text","text":"a","text":"b"}"#,
        r#"{"type":"start","text":"x"}"#,
        r#"{"type":"tool-call","toolCallId":"c","toolName":"t"}"#,
        r#"{"type":"tool-call","toolCallId":"c","toolName":"t","args":{},"requiresApproval":null}"#,
        r#"{"type":"tool-result","toolCallId":"c","toolName":"t","output":{"type":"text","value":1}}"#,
        r#"{"type":"tool-result","toolCallId":"c","toolName":"t","output":{"type":"execution-denied","value":"x"}}"#,
        r#"{"type":"text","text":"\ud83d"}"#,
    ];

    #[test]
    fn parts_of_known_types_are_typed_and_keep_every_digit() {
        for json in TYPED {
            assert!(!matches!(read(json), Part::Raw(_)), "{json}");
            assert_eq!(written(json), json);
        }
    }

    #[test]
    fn what_the_typed_form_would_lose_stays_whole() {
        for json in RAW {
            assert!(matches!(read(json), Part::Raw(raw) if raw.json == json), "{json}");
            assert_eq!(written(json), json);
        }
    }

    #[test]
    fn json_texts_travel_as_they_are_spelled() {
        let Part::ToolCall(part) = read(TYPED[4]) else { panic!("typed") };
        assert_eq!(part.args, r#"{"n":18446744073709551617, "f":255.0,"e":1e3,"d":0.1000000000000000055511151231257827}"#);
    }

    #[test]
    fn json_texts_are_written_in_one_line() {
        let part = MessagePart { part: Some(Part::Raw(RawPart { r#type: "x".into(), json: "{\r\n\"type\":\n\"x\"}".into() })) };
        assert_eq!(serde_json::to_string(&part).unwrap(), "{  \"type\": \"x\"}");
    }

    #[test]
    fn a_part_without_a_type_is_refused() {
        for json in ["[]", "1", "{}", r#"{"type":1}"#, r#"["text"]"#] {
            assert!(serde_json::from_str::<MessagePart>(json).is_err(), "{json}");
        }
    }
}
