//! Invented conversations.

use std::collections::BTreeMap;

use prost_types::Timestamp;

use super::{DAY, Dice, text, time};
use crate::grpc::proto::{
    Conversation, ConversationMetadata, Feedback, Message, MessagePart, RawPart, ReasoningPart, Role, StartPart, StartStepPart, TextPart,
    ToolApprovalRequestPart, ToolCallPart, ToolOutput, ToolOutputType, ToolResultPart, TurnContext, message_part::Part,
};

/// After so many turns every kind of part has been there.
pub(super) const MESSAGES_WITH_EVERY_PART: u32 = 4 * SHAPES;
const SHAPES: u32 = 8;

/// A conversation of so many messages, the user's and the agent's in turn.
pub(super) fn conversation(dice: &mut Dice, messages: u32) -> Conversation {
    let mut id = dice.id("cnv");
    if dice.chance(1, 20) {
        id = format!("{id}/Ü");
    }
    let agent_id = dice.id("agent");
    let began = dice.below(300 * DAY);
    let model = dice.pick(&text::MODELS);
    let mut conversation = Conversation {
        id,
        agent_id,
        title: None,
        created_at: time(began),
        updated_at: time(began),
        is_from_dashboard: dice.chance(1, 15),
        institution_id: dice.chance(1, 8).then(|| "inst_harbour_school".to_owned()),
        conversation_metadata: dice.chance(1, 3).then_some(ConversationMetadata { cached_at: None }),
        ..Conversation::default()
    };
    let first_shape = dice.below(SHAPES);
    let mut now = began;
    for turn in 0..messages {
        now = now.saturating_add(3 + dice.below(90));
        // Every other answer is nothing but text; the others go through the kinds of parts one by one.
        let shape = if turn % 4 == 1 { 0 } else { (turn / 4 + first_shape) % SHAPES };
        let message = if turn.is_multiple_of(2) { from_user(dice) } else { from_agent(dice, shape, model) };
        let message = written(dice, message, &conversation.id, now);
        conversation.total_input_tokens = conversation.total_input_tokens.saturating_add(message.input_tokens.unwrap_or(0));
        conversation.total_output_tokens = conversation.total_output_tokens.saturating_add(message.output_tokens.unwrap_or(0));
        if turn % 2 == 1 && dice.chance(1, 9) {
            let feedback = feedback(dice, &conversation.agent_id, &message.id, now, Some(model));
            conversation.feedback.push(feedback);
        }
        conversation.messages.push(message);
    }
    if messages > 0 {
        conversation.title = dice.chance(5, 6).then(|| text::question(dice));
        conversation.last_activity_at = time(now);
    }
    if let Some(metadata) = conversation.conversation_metadata.as_mut().filter(|_| dice.chance(1, 2)) {
        metadata.cached_at = time(now);
    }
    conversation.updated_at = time(now);
    conversation.message_count = i32::try_from(messages).unwrap_or(i32::MAX);
    conversation.total_tokens = conversation.total_input_tokens.saturating_add(conversation.total_output_tokens);
    conversation
}

pub(super) fn feedback(dice: &mut Dice, agent_id: &str, message_id: &str, given: u32, model: Option<&str>) -> Feedback {
    let tags = (0..dice.below(3)).map(|_| dice.pick(&text::TAGS).to_owned()).collect();
    Feedback {
        id: dice.id("fbk"),
        agent_id: agent_id.to_owned(),
        message_id: message_id.to_owned(),
        vote: i32::from(dice.chance(2, 3)),
        tags,
        notes: match dice.below(6) {
            0 => Some(String::new()),
            1 => Some("Answered the wrong question 🙁".to_owned()),
            _ => None,
        },
        model: model.map(str::to_owned),
        created_at: time(given),
        updated_at: time(given),
        deleted_at: None,
    }
}

/// A message with its id and times.
fn written(dice: &mut Dice, message: Message, conversation_id: &str, second: u32) -> Message {
    let nanos = match dice.below(4) {
        0 => dice.below(1_000) * 1_000_000,
        1 => dice.below(1_000_000) * 1_000,
        _ => 0,
    };
    let created_at = time(second).map(|time| Timestamp { nanos: i32::try_from(nanos).unwrap_or(0), ..time });
    Message { id: dice.id("msg"), conversation_id: conversation_id.to_owned(), created_at, updated_at: created_at, ..message }
}

fn from_user(dice: &mut Dice) -> Message {
    let text = if dice.chance(1, 40) { String::new() } else { text::question(dice) };
    let parts = vec![MessagePart { part: Some(Part::Text(TextPart { text })) }];
    Message { role: Role::User.into(), parts, turn_context: turn_context(dice), ..Message::default() }
}

fn from_agent(dice: &mut Dice, shape: u32, model: &str) -> Message {
    let counted = dice.chance(9, 10);
    Message {
        role: Role::Assistant.into(),
        parts: answer(dice, shape).into_iter().map(|part| MessagePart { part: Some(part) }).collect(),
        model: Some(model.to_owned()),
        input_tokens: counted.then(|| i32::try_from(200 + dice.below(6_000)).unwrap_or(0)),
        output_tokens: counted.then(|| i32::try_from(dice.below(500)).unwrap_or(0)),
        ..Message::default()
    }
}

fn turn_context(dice: &mut Dice) -> Option<TurnContext> {
    match dice.below(6) {
        0 => None,
        1 => Some(TurnContext::default()),
        _ => {
            let locale = ("locale".to_owned(), dice.pick(&text::LOCALES).to_owned());
            let channel = ("channel".to_owned(), dice.pick(&text::CHANNELS).to_owned());
            Some(TurnContext { values: BTreeMap::from([locale, channel]) })
        }
    }
}

fn answer(dice: &mut Dice, shape: u32) -> Vec<Part> {
    let mut parts = vec![Part::Start(StartPart {}), Part::StartStep(StartStepPart {})];
    let call_id = dice.id("call");
    // Above 2^53, where floats have gaps.
    let order = (1_u64 << 53) + 1 + 2 * u64::from(dice.below(u32::MAX));
    match shape {
        0 => {}
        1 => parts.push(Part::Reasoning(ReasoningPart { text: text::thought(dice) })),
        2 => {
            let options = Some(format!(r#"{{"anthropic":{{"cacheControl":{{"type":"ephemeral"}},"budget":{order}}}}}"#));
            parts.push(call(&call_id, "get_order", format!(r#"{{"order":{order},"limit":1e3}}"#), None, options.clone()));
            let value = format!(
                r#"{{"order":{order},"total":255.0,"rate":0.1000000000000000055511151231257827,"items":[{{"name":"Fahrradlampe","left":-0}}],"note":null}}"#
            );
            parts.push(result(&call_id, "get_order", ToolOutputType::Json, value, options));
        }
        3 => {
            let args = format!(r#"{{"order":{order},"amount":"49.90","reason":"doppelt belastet"}}"#);
            parts.push(call(&call_id, "refund", args.clone(), Some(true), None));
            parts.push(Part::ToolApprovalRequest(ToolApprovalRequestPart {
                tool_call_id: call_id,
                tool_name: "refund".to_owned(),
                args,
                description: dice.chance(1, 2).then(|| "Refund 49.90 € to the customer's card".to_owned()),
                provider_options: dice.chance(1, 2).then(|| "{}".to_owned()),
                args_hash: dice.chance(1, 2).then(|| format!("{order:016x}")),
                app_id: dice.chance(1, 2).then(|| "DEMO".to_owned()),
            }));
        }
        4 => {
            parts.push(call(&call_id, "find_store", "[]".to_owned(), Some(false), None));
            parts.push(result(&call_id, "find_store", ToolOutputType::ErrorText, r#""no store within 50 km""#.to_owned(), None));
        }
        5 => {
            parts.push(call(&call_id, "track_parcel", format!("{order}"), None, None));
            parts.push(result(&call_id, "track_parcel", ToolOutputType::ErrorJson, r#"{"code":404,"retry":false}"#.to_owned(), None));
        }
        6 => {
            parts.push(call(&call_id, "show_manual", "null".to_owned(), None, None));
            let value = r#"[{"type":"text","text":"第1章"},{"type":"media","mediaType":"image/png","data":"iVBORw0KGgo="}]"#.to_owned();
            parts.push(result(&call_id, "show_manual", ToolOutputType::Content, value, None));
            parts.push(result(&call_id, "show_manual", ToolOutputType::Text, r#""shown \ud83d\udc4d""#.to_owned(), None));
        }
        _ => {
            let json = format!(r#"{{"type":"source-url","sourceId":{order},"url":"https://example.com/help?q=1","title":null}}"#);
            parts.push(Part::Raw(RawPart { r#type: "source-url".to_owned(), json }));
            let json = r#"{"type":"text","text":"…","state":"done"}"#.to_owned();
            parts.push(Part::Raw(RawPart { r#type: "text".to_owned(), json }));
        }
    }
    parts.push(Part::StartStep(StartStepPart {}));
    parts.push(Part::Text(TextPart { text: text::answer(dice) }));
    parts
}

fn call(id: &str, tool_name: &str, args: String, requires_approval: Option<bool>, provider_options: Option<String>) -> Part {
    Part::ToolCall(ToolCallPart { tool_call_id: id.to_owned(), tool_name: tool_name.to_owned(), args, requires_approval, provider_options })
}

fn result(id: &str, tool_name: &str, kind: ToolOutputType, value: String, provider_options: Option<String>) -> Part {
    let output = Some(ToolOutput { r#type: kind.into(), value });
    Part::ToolResult(ToolResultPart { tool_call_id: id.to_owned(), tool_name: tool_name.to_owned(), output, provider_options })
}
