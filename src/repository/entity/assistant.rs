//! Assistants.

use sea_orm::entity::prelude::*;

use crate::repository::row::columns_in_order;

#[derive(Clone, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "assistants")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) subject_id: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) created_at: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) instructions: Option<String>,
    pub(crate) status: String,
    pub(crate) institution_id: Option<String>,
    pub(crate) updated_at: i64,
    pub(crate) deleted_at: Option<i64>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

columns_in_order!(subject_id, created_at, id, name, description, instructions, status, institution_id, updated_at, deleted_at);
