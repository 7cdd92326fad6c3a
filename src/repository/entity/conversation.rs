//! Conversations.

use sea_orm::entity::prelude::*;

use crate::repository::row::columns_in_order;

#[derive(Clone, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "conversations")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) subject_id: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) created_at: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) agent_id: String,
    pub(crate) title: Option<String>,
    pub(crate) updated_at: i64,
    pub(crate) last_activity_at: Option<i64>,
    pub(crate) is_from_dashboard: bool,
    pub(crate) message_count: i32,
    pub(crate) total_input_tokens: i32,
    pub(crate) total_output_tokens: i32,
    pub(crate) total_tokens: i32,
    pub(crate) has_metadata: bool,
    pub(crate) metadata_cached_at: Option<i64>,
    pub(crate) institution_id: Option<String>,
    pub(crate) forgotten_at: Option<i64>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

columns_in_order!(
    subject_id,
    created_at,
    id,
    agent_id,
    title,
    updated_at,
    last_activity_at,
    is_from_dashboard,
    message_count,
    total_input_tokens,
    total_output_tokens,
    total_tokens,
    has_metadata,
    metadata_cached_at,
    institution_id,
    forgotten_at
);
