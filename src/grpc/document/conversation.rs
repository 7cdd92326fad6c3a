//! Conversations. Documents name their user in each of them, which records do not.

use std::borrow::Cow;

use prost_types::Timestamp;
use serde::{Deserialize, Serialize};

use super::time::{rfc3339, rfc3339_or_null};
use crate::grpc::proto::{Conversation, ConversationMetadata, Feedback, Message};

/// A conversation as documents have it. The lists are optional to write the header alone; when read, absent is empty.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ConversationForm<'a> {
    id: Cow<'a, str>,
    agent_id: Cow<'a, str>,
    title: Option<Cow<'a, str>>,
    #[serde(with = "rfc3339")]
    created_at: Option<Timestamp>,
    #[serde(with = "rfc3339")]
    updated_at: Option<Timestamp>,
    #[serde(with = "rfc3339_or_null", default)]
    last_activity_at: Option<Timestamp>,
    pub(super) user_token: Option<Cow<'a, str>>,
    #[serde(default)]
    is_from_dashboard: bool,
    #[serde(default)]
    message_count: i32,
    #[serde(default)]
    total_input_tokens: i32,
    #[serde(default)]
    total_output_tokens: i32,
    #[serde(default)]
    total_tokens: i32,
    conversation_metadata: Option<ConversationMetadata>,
    #[serde(skip_serializing_if = "Option::is_none")]
    institution_id: Option<Cow<'a, str>>,
    #[serde(with = "rfc3339_or_null", default, skip_serializing_if = "Option::is_none")]
    forgotten_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) feedback: Option<Cow<'a, [Feedback]>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) messages: Option<Cow<'a, [Message]>>,
}

impl<'a> ConversationForm<'a> {
    /// The header of a conversation, without its lists; `None` for a continuation, which has none.
    pub(super) fn of(conversation: &'a Conversation, user_token: &'a str) -> Option<Self> {
        conversation.created_at?;
        Some(Self {
            id: Cow::Borrowed(&conversation.id),
            agent_id: Cow::Borrowed(&conversation.agent_id),
            title: conversation.title.as_deref().map(Cow::Borrowed),
            created_at: conversation.created_at,
            updated_at: conversation.updated_at,
            last_activity_at: conversation.last_activity_at,
            user_token: Some(Cow::Borrowed(user_token)),
            is_from_dashboard: conversation.is_from_dashboard,
            message_count: conversation.message_count,
            total_input_tokens: conversation.total_input_tokens,
            total_output_tokens: conversation.total_output_tokens,
            total_tokens: conversation.total_tokens,
            conversation_metadata: conversation.conversation_metadata,
            institution_id: conversation.institution_id.as_deref().map(Cow::Borrowed),
            forgotten_at: conversation.forgotten_at,
            feedback: None,
            messages: None,
        })
    }
}

impl From<ConversationForm<'_>> for Conversation {
    fn from(form: ConversationForm<'_>) -> Self {
        Self {
            id: form.id.into_owned(),
            agent_id: form.agent_id.into_owned(),
            title: form.title.map(Cow::into_owned),
            created_at: form.created_at,
            updated_at: form.updated_at,
            last_activity_at: form.last_activity_at,
            is_from_dashboard: form.is_from_dashboard,
            message_count: form.message_count,
            total_input_tokens: form.total_input_tokens,
            total_output_tokens: form.total_output_tokens,
            total_tokens: form.total_tokens,
            conversation_metadata: form.conversation_metadata,
            institution_id: form.institution_id.map(Cow::into_owned),
            forgotten_at: form.forgotten_at,
            messages: form.messages.map(Cow::into_owned).unwrap_or_default(),
            feedback: form.feedback.map(Cow::into_owned).unwrap_or_default(),
        }
    }
}

/// What an export of messages or feedback without conversations tells of one.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ContinuationForm<'a> {
    id: &'a str,
    user_token: &'a str,
    feedback: &'a [Feedback],
    messages: &'a [Message],
}

impl<'a> ContinuationForm<'a> {
    pub(super) fn of(conversation: &'a Conversation, user_token: &'a str) -> Self {
        Self { id: &conversation.id, user_token, feedback: &conversation.feedback, messages: &conversation.messages }
    }
}
