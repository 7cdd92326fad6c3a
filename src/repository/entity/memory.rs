//! Memories.

use sea_orm::entity::prelude::*;

use super::{Episode, Texts};
use crate::repository::row::columns_in_order;

#[derive(Clone, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "memories")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) subject_id: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) created_at: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) object_id: Option<String>,
    pub(crate) text: String,
    pub(crate) raw_extract: String,
    pub(crate) memory_type: Option<String>,
    pub(crate) episode: Option<Episode>,
    pub(crate) keywords: Texts,
    pub(crate) topics: Texts,
    pub(crate) tags: Texts,
    pub(crate) recall_triggers: Texts,
    pub(crate) agent_ids: Texts,
    pub(crate) app_id: String,
    pub(crate) user_id: String,
    pub(crate) institution_id: Option<String>,
    pub(crate) updated_at: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

columns_in_order!(
    subject_id,
    created_at,
    id,
    object_id,
    text,
    raw_extract,
    memory_type,
    episode,
    keywords,
    topics,
    tags,
    recall_triggers,
    agent_ids,
    app_id,
    user_id,
    institution_id,
    updated_at
);
