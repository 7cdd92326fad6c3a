//! Conversations: rows and records, and reading them in order.

use sea_orm::{ColumnTrait, QueryFilter, sea_query::ExprTrait};

use super::{
    Error, Held,
    entity::conversation::{Column, Entity, Model},
    page::{Page, PageSize, columns, in_order, key, key_parameters, paged, read_page},
    query::{Pages, Parameter, Query},
    reader::Reading,
    row::FromRow,
};
use crate::domain::{
    record::{Conversation, ConversationMetadata, RecordKey},
    timestamp::Timestamp,
};

static PAGES: Pages = Pages::new(|continues| paged(in_order::<Entity>(continues)));
static AT: Query = Query::new(|_| paged(in_order::<Entity>(false).filter(columns(["created_at", "id"]).gte(key()))));

impl Reading {
    /// A page of the subject's conversations from `from` on, that one included; forgotten ones too, for what lies between two others
    /// must be known.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn conversations(
        &mut self,
        held: &Held,
        from: ConversationsFrom<'_>,
        size: &mut PageSize,
    ) -> Result<Page<Conversation>, Error> {
        let subject = Parameter::Integer(held.subject_id);
        let (query, key) = match from {
            ConversationsFrom::Start => (&PAGES.first, None),
            ConversationsFrom::After(key) => (&PAGES.next, Some(key)),
            ConversationsFrom::At(key) => (&AT, Some(key)),
        };
        let key = key.map(key_parameters);
        let parameters: Vec<_> = [subject].into_iter().chain(key.into_iter().flatten()).collect();
        read_page(self, query, &parameters, size, |row| Ok(record(Model::from_row(row)?)), Conversation::bytes).await
    }
}

/// Where to begin reading conversations.
#[derive(Clone, Copy)]
pub enum ConversationsFrom<'a> {
    /// With the first.
    Start,
    /// With this one, or the first after it.
    At(&'a RecordKey),
    /// With the first after this one.
    After(&'a RecordKey),
}

fn record(row: Model) -> Conversation {
    Conversation {
        key: RecordKey { created_at: Timestamp(row.created_at), id: row.id },
        agent_id: row.agent_id,
        title: row.title,
        updated_at: Timestamp(row.updated_at),
        last_activity_at: row.last_activity_at.map(Timestamp),
        is_from_dashboard: row.is_from_dashboard,
        message_count: row.message_count,
        total_input_tokens: row.total_input_tokens,
        total_output_tokens: row.total_output_tokens,
        total_tokens: row.total_tokens,
        metadata: row.has_metadata.then_some(ConversationMetadata { cached_at: row.metadata_cached_at.map(Timestamp) }),
        institution_id: row.institution_id,
        forgotten_at: row.forgotten_at.map(Timestamp),
    }
}

pub(super) fn row(held: &Held, record: &Conversation) -> Model {
    Model {
        subject_id: held.subject_id,
        created_at: record.key.created_at.0,
        id: record.key.id.clone(),
        agent_id: record.agent_id.clone(),
        title: record.title.clone(),
        updated_at: record.updated_at.0,
        last_activity_at: record.last_activity_at.map(|at| at.0),
        is_from_dashboard: record.is_from_dashboard,
        message_count: record.message_count,
        total_input_tokens: record.total_input_tokens,
        total_output_tokens: record.total_output_tokens,
        total_tokens: record.total_tokens,
        has_metadata: record.metadata.is_some(),
        metadata_cached_at: record.metadata.and_then(|metadata| metadata.cached_at).map(|at| at.0),
        institution_id: record.institution_id.clone(),
        forgotten_at: record.forgotten_at.map(|at| at.0),
    }
}

/// Personal: of no institution.
pub(super) fn personal() -> sea_orm::sea_query::SimpleExpr {
    Column::InstitutionId.is_null()
}
