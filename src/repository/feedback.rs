//! Feedback: rows and records, nested in a conversation or detached from all that an export shows.

use std::sync::Arc;

use sea_orm::{
    ColumnTrait, Condition, EntityTrait, QueryFilter, QuerySelect, QueryTrait, Select,
    sea_query::{Expr, ExprTrait},
};

use super::{
    Error, Held,
    entity::{
        Texts, conversation,
        feedback::{Column, Entity, Model},
    },
    message::{Stretch, stretch_of},
    page::{Page, PageSize, in_order, key_parameters, paged, read_page},
    query::{Pages, Parameter, integer},
    reader::Reading,
    row::FromRow,
};
use crate::domain::{
    record::{Feedback, RecordKey},
    timestamp::Timestamp,
};

impl Reading {
    /// A page of the feedback given in a stretch of conversations, each with its conversation's key, by conversation and then in order.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn feedback_in_conversations(
        &mut self,
        held: &Held,
        stretch: &Stretch,
        include_deleted: bool,
        size: &mut PageSize,
    ) -> Result<Page<(Arc<RecordKey>, Feedback)>, Error> {
        let pages = if include_deleted { &ALL_NESTED } else { &LIVE_NESTED };
        let (query, parameters) = stretch.query(pages, held);
        read_page(
            self,
            query,
            &parameters,
            size,
            |row| {
                let row = Model::from_row(row)?;
                let (Some(created_at), Some(id)) = (row.conversation_created_at, row.conversation_id.clone()) else {
                    return Err(Error::Corrupt("feedback.conversation_id: half of a key"));
                };
                Ok((Arc::new(RecordKey { created_at: Timestamp(created_at), id }), record(row)))
            },
            |(_, feedback)| feedback.bytes(),
        )
        .await
    }

    /// A page of the feedback after `after` that belongs to no conversation, or to one that is forgotten and not shown.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn detached_feedback(
        &mut self,
        held: &Held,
        after: Option<&RecordKey>,
        include_deleted: bool,
        size: &mut PageSize,
    ) -> Result<Page<Feedback>, Error> {
        let (pages, forgotten_of) = if include_deleted { (&ALL_DETACHED, None) } else { (&LIVE_DETACHED, Some(held.subject_id)) };
        let key = after.map(key_parameters);
        let mut parameters = vec![Parameter::Integer(held.subject_id)];
        parameters.extend(key.into_iter().flatten());
        parameters.extend(forgotten_of.map(Parameter::Integer));
        let query = if after.is_some() { &pages.next } else { &pages.first };
        read_page(self, query, &parameters, size, |row| Ok(record(Model::from_row(row)?)), Feedback::bytes).await
    }
}

static ALL_NESTED: Pages = Pages::new(|continues| paged(stretch_of::<Entity>(continues)));
static LIVE_NESTED: Pages = Pages::new(|continues| paged(live(stretch_of(continues))));
static ALL_DETACHED: Pages = Pages::new(|continues| paged(in_order::<Entity>(continues).filter(Column::ConversationId.is_null())));
static LIVE_DETACHED: Pages = Pages::new(|continues| {
    // Not by the number in the other table: PostgreSQL may then look up the forgotten conversations of all.
    let forgotten = conversation::Entity::find()
        .select_only()
        .column(conversation::Column::Id)
        .filter(Expr::col((conversation::Entity, conversation::Column::SubjectId)).eq(integer()))
        .filter(conversation::Column::ForgottenAt.is_not_null())
        .filter(Expr::col((conversation::Entity, conversation::Column::Id)).eq(Expr::col((Entity, Column::ConversationId))))
        .into_query();
    let detached = Condition::any().add(Column::ConversationId.is_null()).add(Expr::exists(forgotten));
    paged(live(in_order(continues)).filter(detached))
});

fn live(select: Select<Entity>) -> Select<Entity> {
    select.filter(Column::DeletedAt.is_null())
}

fn record(row: Model) -> Feedback {
    Feedback {
        key: RecordKey { created_at: Timestamp(row.created_at), id: row.id },
        agent_id: row.agent_id,
        message_id: row.message_id,
        vote: row.vote,
        tags: row.tags.0,
        notes: row.notes,
        model: row.model,
        updated_at: Timestamp(row.updated_at),
        deleted_at: row.deleted_at.map(Timestamp),
    }
}

pub(super) fn row(held: &Held, conversation: Option<&RecordKey>, record: &Feedback) -> Model {
    Model {
        subject_id: held.subject_id,
        created_at: record.key.created_at.0,
        id: record.key.id.clone(),
        conversation_created_at: conversation.map(|key| key.created_at.0),
        conversation_id: conversation.map(|key| key.id.clone()),
        agent_id: record.agent_id.clone(),
        message_id: record.message_id.clone(),
        vote: record.vote,
        tags: Texts(record.tags.clone()),
        notes: record.notes.clone(),
        model: record.model.clone(),
        updated_at: record.updated_at.0,
        deleted_at: record.deleted_at.map(|at| at.0),
    }
}
