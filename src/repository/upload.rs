//! Uploads and their embeddings: rows and records, and reading them in order. Their content is the vault's.

use std::ops::ControlFlow;

use sea_orm::{
    ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait, Select,
    sea_query::{Expr, ExprTrait},
};

use super::{
    Error, Held,
    entity::{
        upload::{Column, Entity, Model},
        upload_embedding,
    },
    page::{Page, PageSize, in_order, paged, read_in_order},
    query::{Pages, Parameter, Query, integer, text},
    reader::Reading,
    row::FromRow,
    subject::{id_of_named, names},
};
use crate::domain::{
    record::{RecordKey, Upload, UploadEmbedding},
    subject::Subject,
    timestamp::Timestamp,
};

static ALL: Pages = Pages::new(|continues| paged(in_order::<Entity>(continues)));
static LIVE: Pages = Pages::new(|continues| paged(live(in_order(continues))));
static PERSONAL_IDS: Query = Query::new(|_| {
    let of_subject = Expr::col(Column::SubjectId).eq(id_of_named());
    let ids = Entity::find().select_only().column(Column::Id).filter(of_subject).filter(personal_and_live());
    ids.order_by_asc(Column::CreatedAt).order_by_asc(Column::Id).into_query()
});
static LIVE_BY_ID: Query = Query::new(|_| {
    let of_subject = Entity::find().filter(Expr::col(Column::SubjectId).eq(integer())).filter(Expr::col(Column::Id).eq(text()));
    live(of_subject).into_query()
});

fn live(select: Select<Entity>) -> Select<Entity> {
    select.filter(Column::DeletedAt.is_null())
}

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
        let pages = if include_deleted { &ALL } else { &LIVE };
        read_in_order(self, pages, (held, after), size, |row| Ok(record(Model::from_row(row)?)), Upload::bytes).await
    }

    /// The ids of the subject's personal uploads that are not deleted: what the vault scope erases.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn personal_uploads(&mut self, subject: &Subject) -> Result<Vec<String>, Error> {
        let mut ids = Vec::new();
        self.rows(&PERSONAL_IDS, &names(subject), |row| {
            ids.push(row.text(0)?.to_owned());
            Ok(ControlFlow::Continue(()))
        })
        .await?;
        Ok(ids)
    }

    /// One upload that is not deleted.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn live_upload(&mut self, held: &Held, id: &str) -> Result<Option<Upload>, Error> {
        let parameters = [Parameter::Integer(held.subject_id), Parameter::Text(id)];
        self.one(&LIVE_BY_ID, &parameters, |row| Ok(record(Model::from_row(row)?))).await
    }
}

/// Personal, and not deleted: what the vault scope erases.
pub(super) fn personal_and_live() -> Condition {
    Condition::all().add(Column::InstitutionId.is_null()).add(Column::DeletedAt.is_null())
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
