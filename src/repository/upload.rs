//! Uploads and their embeddings: rows and records, and reading them in order. Their content is the vault's.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use super::{
    Error, Held,
    entity::{
        upload::{Column, Entity, Model},
        upload_embedding,
    },
    page::{Page, PageSize, in_order, read_page},
    reader::Reading,
    row::FromRow,
};
use crate::domain::{
    record::{RecordKey, Upload, UploadEmbedding},
    timestamp::Timestamp,
};

impl Reading {
    /// A page of the subject's uploads after `after`.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn uploads(
        &mut self,
        held: &Held,
        after: Option<&RecordKey>,
        include_deleted: bool,
        size: &mut PageSize,
    ) -> Result<Page<Upload>, Error> {
        let mut select = in_order::<Entity>(held, after);
        if !include_deleted {
            select = select.filter(Column::DeletedAt.is_null());
        }
        read_page(self, select, size, |row| Ok(record(Model::from_row(row)?)), Upload::bytes).await
    }

    /// A page of the subject's personal uploads after `after` that are not deleted: what the vault scope erases.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn personal_uploads(&mut self, held: &Held, after: Option<&RecordKey>, size: &mut PageSize) -> Result<Page<Upload>, Error> {
        let select = in_order::<Entity>(held, after).filter(Column::DeletedAt.is_null()).filter(Column::InstitutionId.is_null());
        read_page(self, select, size, |row| Ok(record(Model::from_row(row)?)), Upload::bytes).await
    }

    /// One upload that is not deleted.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn live_upload(&mut self, held: &Held, id: &str) -> Result<Option<Upload>, Error> {
        let select =
            Entity::find().filter(Column::SubjectId.eq(held.subject_id)).filter(Column::Id.eq(id)).filter(Column::DeletedAt.is_null());
        Ok(self.one(select).await?.map(record))
    }
}

fn record(row: Model) -> Upload {
    Upload {
        key: RecordKey { created_at: Timestamp(row.created_at), id: row.id },
        file_name: row.file_name,
        content_type: row.content_type,
        size_bytes: row.size_bytes,
        status: row.status,
        institution_id: row.institution_id,
        deleted_at: row.deleted_at.map(Timestamp),
    }
}

pub(super) fn row(held: &Held, record: &Upload) -> Model {
    Model {
        subject_id: held.subject_id,
        created_at: record.key.created_at.0,
        id: record.key.id.clone(),
        file_name: record.file_name.clone(),
        content_type: record.content_type.clone(),
        size_bytes: record.size_bytes,
        status: record.status.clone(),
        institution_id: record.institution_id.clone(),
        deleted_at: record.deleted_at.map(|at| at.0),
    }
}

pub(super) fn embedding_row(held: &Held, record: &UploadEmbedding) -> upload_embedding::Model {
    upload_embedding::Model {
        subject_id: held.subject_id,
        upload_id: record.upload_id.clone(),
        chunk_index: record.chunk_index,
        model: record.model.clone(),
        vector: record.vector.iter().flat_map(|number| number.to_le_bytes()).collect(),
    }
}
