//! Messages, as documents nest them in conversations.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::time::rfc3339;
use crate::grpc::proto::{Message, MessagePart, TurnContext};

#[derive(Serialize, Deserialize)]
#[serde(remote = "Message", rename_all = "camelCase", deny_unknown_fields)]
struct MessageForm {
    id: String,
    conversation_id: String,
    #[serde(with = "role")]
    role: i32,
    parts: Vec<MessagePart>,
    #[serde(with = "rfc3339")]
    created_at: Option<prost_types::Timestamp>,
    #[serde(with = "rfc3339")]
    updated_at: Option<prost_types::Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    input_tokens: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    output_tokens: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    turn_context: Option<TurnContext>,
}

form!(Message, MessageForm);

impl<'de> Deserialize<'de> for TurnContext {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Deserialize::deserialize(deserializer).map(|values| Self { values })
    }
}

impl Serialize for TurnContext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.values.serialize(serializer)
    }
}

mod role {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};

    use crate::grpc::proto::Role;

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum RoleForm {
        User,
        Assistant,
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
        Ok(match RoleForm::deserialize(deserializer)? {
            RoleForm::User => Role::User,
            RoleForm::Assistant => Role::Assistant,
        }
        .into())
    }

    pub(super) fn serialize<S: Serializer>(role: &i32, serializer: S) -> Result<S::Ok, S::Error> {
        match Role::try_from(*role) {
            Ok(Role::User) => RoleForm::User,
            Ok(Role::Assistant) => RoleForm::Assistant,
            Ok(Role::Unspecified) | Err(_) => {
                return Err(ser::Error::custom("a message has a role this client does not know; use a newer one"));
            }
        }
        .serialize(serializer)
    }
}
