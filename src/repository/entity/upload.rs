//! Uploads, without their content.

use sea_orm::entity::prelude::*;

use crate::repository::row::columns_in_order;

#[derive(Clone, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "uploads")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) subject_id: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) created_at: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) file_name: String,
    pub(crate) content_type: String,
    pub(crate) size_bytes: i64,
    pub(crate) status: String,
    pub(crate) institution_id: Option<String>,
    pub(crate) deleted_at: Option<i64>,
    /// Whether an object of it may be in the object store.
    pub(crate) has_content: bool,
    /// While content is being imported: since when.
    pub(crate) content_begun_at: Option<i64>,
    /// While an erasure waits for its object to be removed: since when.
    pub(crate) removal_since: Option<i64>,
    /// How often that has failed.
    pub(crate) removal_attempts: Option<i32>,
    /// When it is tried again.
    pub(crate) removal_next_at: Option<i64>,
    /// Why it failed last; null while it has not failed, or an erasure tries again.
    pub(crate) removal_error: Option<String>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

columns_in_order!(
    subject_id,
    created_at,
    id,
    file_name,
    content_type,
    size_bytes,
    status,
    institution_id,
    deleted_at,
    has_content,
    content_begun_at,
    removal_since,
    removal_attempts,
    removal_next_at,
    removal_error
);
