//! Importing uploads and their embeddings; their content is not the repository's business.

use std::collections::{HashMap, HashSet};

use sea_orm::{
    ColumnTrait, EntityTrait, QueryFilter, QuerySelect,
    sea_query::{Expr, OnConflict},
};

use super::{
    ERASED, Import, is_one_of,
    late::{LATE, Observed},
    other_mark,
};
use crate::{
    domain::{
        category::Category,
        import::{At, ImportBatch},
        violation::{Complaint, FieldViolation},
    },
    repository::{
        Error,
        entity::{upload as uploads, upload_embedding as embeddings},
        upload,
        upsert::{by_id, latest_by_id, upsert},
    },
};

const UNKNOWN_UPLOAD: Complaint = Complaint::Rule("names an upload that is not held, or deleted; import the upload itself first");

impl Import<'_> {
    pub(super) async fn uploads(&mut self, batch: &ImportBatch) -> Result<(), Error> {
        let sent: Vec<&str> = batch.uploads.iter().map(|at| at.record.key.id.as_str()).collect();
        let being_removed = self.erased_or_not::<uploads::Entity>(&sent, Expr::col("removal_since")).await?;
        let held = self.erased_or_not::<uploads::Entity>(&sent, Expr::col("deleted_at")).await?;
        let mut rows = Vec::with_capacity(batch.uploads.len());
        for At { index, record } in &batch.uploads {
            let of_vault = record.institution_id.is_none() && record.deleted_at.is_none();
            if being_removed.get(&record.key.id) == Some(&true) {
                // Marked or not: its status is the removal's to change.
                self.report.reject(FieldViolation::new(format!("{}.uploads[{index}].id", self.path), ERASED), 1);
            } else if let Some(complaint) = other_mark(held.get(&record.key.id), record.deleted_at) {
                self.report.reject(FieldViolation::new(format!("{}.uploads[{index}].id", self.path), complaint), 1);
            } else if self.is_late_if(of_vault, record.key.created_at, self.erased.vault_erased_at) {
                self.report.reject(FieldViolation::new(format!("{}.uploads[{index}].created_at", self.path), LATE), 1);
            } else {
                rows.push((record.key.id.as_str(), upload::row(&self.held, record)));
            }
        }
        let rows = latest_by_id(rows.into_iter());
        self.report.counts.add(Category::Uploads, rows.len() as u32);
        upsert(self.transaction, rows, by_id::<uploads::Entity>(&upload::KEPT)).await
    }

    pub(super) async fn upload_embeddings(&mut self, batch: &ImportBatch) -> Result<(), Error> {
        let ids: HashSet<&str> = batch.upload_embeddings.iter().map(|at| at.record.upload_id.as_str()).collect();
        let ids: Vec<&str> = ids.into_iter().collect();
        let mut live: HashSet<String> = HashSet::new();
        for ids in ids.chunks(1_000) {
            let found: Vec<String> = uploads::Entity::find()
                .select_only()
                .column(uploads::Column::Id)
                .filter(uploads::Column::SubjectId.eq(self.held.subject_id))
                .filter(is_one_of(self.transaction, uploads::Column::Id, ids))
                .filter(uploads::Column::DeletedAt.is_null())
                .filter(uploads::Column::RemovalSince.is_null())
                .into_tuple()
                .all(self.transaction)
                .await?;
            live.extend(found);
        }
        let mut rows = HashMap::new();
        for At { index, record } in &batch.upload_embeddings {
            if matches!(self.observed, Observed::BeforeAnErasure) {
                let field = format!("{}.upload_embeddings[{index}].upload_id", self.path);
                self.report.reject(FieldViolation::new(field, LATE), 1);
            } else if live.contains(&record.upload_id) {
                rows.insert((record.upload_id.as_str(), record.chunk_index), upload::embedding_row(&self.held, record));
            } else {
                let field = format!("{}.upload_embeddings[{index}].upload_id", self.path);
                self.report.reject(FieldViolation::new(field, UNKNOWN_UPLOAD), 1);
            }
        }
        let key = [embeddings::Column::SubjectId, embeddings::Column::UploadId, embeddings::Column::ChunkIndex];
        let conflict = OnConflict::columns(key).update_columns([embeddings::Column::Model, embeddings::Column::Vector]).to_owned();
        upsert(self.transaction, rows.into_values().collect(), conflict).await
    }
}
