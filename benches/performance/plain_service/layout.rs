//! The rows of the plain version.

use userdata::grpc::proto::Conversation;

use super::part::to_json;
use crate::row_writer::{Layout, MessageRow, Value, nanos};

pub(crate) const LAYOUT: Layout = Layout {
    users: "users (id, user_token)",
    user: |id, token| vec![Value::Integer(id), Value::Text(token.to_owned())],
    conversations: "conversations (id, user_id, agent_id, title, created_at, updated_at, last_activity_at, is_from_dashboard, \
                    message_count, total_input_tokens, total_output_tokens, total_tokens)",
    conversation: |user, record: &Conversation| {
        let mut values = vec![Value::Text(record.id.clone()), Value::Integer(user), Value::Text(record.agent_id.clone())];
        values.push(record.title.clone().map_or(Value::Null, Value::Text));
        values.extend([record.created_at, record.updated_at, record.last_activity_at].map(|time| Value::Integer(nanos(time))));
        values.push(Value::Boolean(record.is_from_dashboard));
        let counts = [record.message_count, record.total_input_tokens, record.total_output_tokens, record.total_tokens];
        values.extend(counts.map(|count| Value::Integer(count.into())));
        values
    },
    messages: "messages (id, user_id, conversation_id, role, parts, created_at, updated_at, model, input_tokens, output_tokens)",
    message: |row: &MessageRow<'_>| {
        let message = row.message;
        let number = |count: Option<i32>| count.map_or(Value::Null, |count| Value::Integer(count.into()));
        vec![
            Value::Text(message.id.clone()),
            Value::Integer(row.user),
            Value::Text(message.conversation_id.clone()),
            Value::Integer(message.role.into()),
            Value::Text(to_json(&message.parts).to_string()),
            Value::Integer(nanos(message.created_at)),
            Value::Integer(nanos(message.updated_at)),
            message.model.clone().map_or(Value::Null, Value::Text),
            number(message.input_tokens),
            number(message.output_tokens),
        ]
    },
    after_in_postgres: "",
};
