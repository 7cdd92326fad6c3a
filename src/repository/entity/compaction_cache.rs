//! Summaries of conversations.

use sea_orm::entity::prelude::*;

use crate::repository::row::columns_in_order;

#[derive(Clone, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "compaction_cache")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) subject_id: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) created_at: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) conversation_id: String,
    pub(crate) text: String,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

columns_in_order!(subject_id, created_at, id, conversation_id, text);
