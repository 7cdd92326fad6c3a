//! Feedback.

use sea_orm::entity::prelude::*;

use super::Texts;
use crate::repository::row::columns_in_order;

#[derive(Clone, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "feedback")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) subject_id: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) created_at: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) conversation_created_at: Option<i64>,
    pub(crate) conversation_id: Option<String>,
    pub(crate) agent_id: String,
    pub(crate) message_id: String,
    pub(crate) vote: i32,
    pub(crate) tags: Texts,
    pub(crate) notes: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) updated_at: i64,
    pub(crate) deleted_at: Option<i64>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

columns_in_order!(
    subject_id,
    created_at,
    id,
    conversation_created_at,
    conversation_id,
    agent_id,
    message_id,
    vote,
    tags,
    notes,
    model,
    updated_at,
    deleted_at
);
