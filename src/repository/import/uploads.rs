//! Importing uploads and their embeddings; their content is not the repository's business.

use std::collections::{HashMap, HashSet};

use sea_orm::sea_query::OnConflict;

use super::{
    ERASED, Import,
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
        let columns = [uploads::Column::Id, uploads::Column::DeletedAt, uploads::Column::RemovalSince];
        let held = self.held_records::<uploads::Entity, (String, Option<i64>, Option<i64>)>(&sent, &columns).await?;
        let held: HashMap<_, _> =
            held.into_iter().map(|(id, deleted_at, removal_since)| (id, (deleted_at.is_some(), removal_since.is_some()))).collect();
        let mut rows = Vec::with_capacity(batch.uploads.len());
        for At { index, record } in &batch.uploads {
            let of_vault = record.institution_id.is_none() && record.deleted_at.is_none();
            let (is_erased, is_being_removed) = held.get(&record.key.id).copied().unzip();
            if is_being_removed == Some(true) {
                // Marked or not: its status is the removal's to change.
                self.report.reject(FieldViolation::new(format!("{}.uploads[{index}].id", self.path), ERASED), 1);
            } else if let Some(complaint) = other_mark(is_erased, record.deleted_at) {
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
        let columns = [uploads::Column::Id, uploads::Column::DeletedAt, uploads::Column::RemovalSince];
        let held = self.held_records::<uploads::Entity, (String, Option<i64>, Option<i64>)>(&ids, &columns).await?;
        let live = held.into_iter().filter(|(_, deleted_at, removal_since)| deleted_at.or(*removal_since).is_none()).map(|(id, ..)| id);
        let live: HashSet<String> = live.collect();
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
