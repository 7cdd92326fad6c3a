//! Subjects: one row per user anything is held about; the lock and the epoch.

use sea_orm::entity::prelude::*;

#[derive(Clone, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "subjects")]
pub(crate) struct Model {
    #[sea_orm(primary_key)]
    pub(crate) id: i64,
    pub(crate) application_id: String,
    pub(crate) user_token: String,
    pub(crate) epoch: i64,
    pub(crate) created_at: i64,
    /// Raised by every import.
    pub(crate) revision: i64,
    pub(crate) messages_erased_at: Option<i64>,
    pub(crate) texts_scrubbed_at: Option<i64>,
    pub(crate) dialogues_erased_at: Option<i64>,
    pub(crate) vault_erased_at: Option<i64>,
    pub(crate) memory_erased_at: Option<i64>,
    pub(crate) assistants_erased_at: Option<i64>,
    pub(crate) feedback_erased_at: Option<i64>,
    pub(crate) sessions_erased_at: Option<i64>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
