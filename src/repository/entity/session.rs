//! Login sessions.

use sea_orm::entity::prelude::*;

use crate::repository::row::columns_in_order;

#[derive(Clone, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "sessions")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) subject_id: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) created_at: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) ip_address: String,
    pub(crate) user_agent: String,
    pub(crate) device: String,
    pub(crate) last_active_at: Option<i64>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

columns_in_order!(subject_id, created_at, id, ip_address, user_agent, device, last_active_at);
