//! Uploads and their embeddings: rows and records, and reading them in order. Their content is the vault's.

use std::ops::ControlFlow;

use sea_orm::{
    ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait, Select,
    sea_query::{CaseStatement, Expr, ExprTrait, Func},
};

use super::{
    Error, Held, Repository,
    entity::{
        upload::{Column, Entity, Model},
        upload_embedding,
    },
    page::{Page, PageSize, in_order, paged, read_in_order},
    query::{Pages, Query},
    reader::Reading,
    removal::nanos,
    row::FromRow,
    subject::{id_of_named, names, update_rows},
    transaction::in_transaction,
};
use crate::domain::{
    limits::LONGEST_STREAM_DURATION,
    record::{RecordKey, Upload, UploadEmbedding},
    subject::Subject,
    timestamp::Timestamp,
};

static LIVE: Pages = Pages::new(|continues| paged(shown(in_order(continues)).filter(Column::DeletedAt.is_null())));
static ALL: Pages = Pages::new(|continues| paged(shown(in_order(continues))));
static PERSONAL_IDS: Query = Query::new(|_| {
    let of_subject = Expr::col(Column::SubjectId).eq(id_of_named());
    let ids = Entity::find().select_only().column(Column::Id).filter(of_subject).filter(personal_and_live());
    ids.order_by_asc(Column::CreatedAt).order_by_asc(Column::Id).into_query()
});

/// What an export shows: nothing that an erasure is removing. What could not be removed it shows again.
fn shown(select: Select<Entity>) -> Select<Entity> {
    select.filter(free_to_remove().add(Column::DeletedAt.is_not_null()))
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
}

/// Why content cannot be taken.
pub enum NoContent {
    /// There is no such upload, or it is deleted, or about to be.
    UnknownUpload,
    /// The subject was erased since the writer looked.
    ObservedBefore,
}

/// Content of an upload that has begun to come.
#[derive(Clone, Copy)]
pub struct BegunContent {
    /// How large it is to be.
    pub size_bytes: i64,
    /// When it began, if no other content of the upload was on its way then.
    alone_since: Option<i64>,
}

impl Repository {
    /// Begins to take the content of an upload. From now on an erasure knows that there may be an object.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn begin_content(
        &self,
        subject: &Subject,
        upload_id: &str,
        observed_epoch: Option<i64>,
    ) -> Result<Result<BegunContent, NoContent>, Error> {
        in_transaction!(self, subject, "begin_content", transaction => {
            let row = self.lock_for_import(transaction, subject).await?;
            if observed_epoch.is_some_and(|observed| observed != row.epoch) {
                return Ok(Err(NoContent::ObservedBefore));
            }
            let now = self.clock.now().0;
            // What comes beside other content has another time than its own: so neither of the two finds the mark to be its own in the end.
            let begun_at = CaseStatement::new().case(no_content_comes(now), now).finally(now.saturating_add(1));
            let begin = update_rows::<Entity>(&row.into())
                .col_expr(Column::HasContent, Expr::val(true))
                .col_expr(Column::ContentBegunAt, begun_at.into())
                .filter(Column::Id.eq(upload_id))
                .filter(takes_content());
            let Some(row) = begin.exec_with_returning(transaction).await?.pop() else { return Ok(Err(NoContent::UnknownUpload)) };
            Ok(Ok(BegunContent { size_bytes: row.size_bytes, alone_since: row.content_begun_at.filter(|at| *at == now) }))
        })
    }

    /// Ends to take the content of an upload; gives whether it may stay. Only if the store has said that the object `is_there`, and no other
    /// content of the upload was on its way at the same time, an erasure need not mind any more that one may come.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn end_content(&self, subject: &Subject, upload_id: &str, begun: BegunContent, is_there: bool) -> Result<bool, Error> {
        let ended = begun.alone_since.filter(|_| is_there);
        in_transaction!(self, subject, "end_content", transaction => {
            let row = self.lock_for_import(transaction, subject).await?;
            let end = update_rows::<Entity>(&row.into())
                .col_expr(Column::ContentBegunAt, Func::cust("NULLIF").args([Expr::col(Column::ContentBegunAt), Expr::val(ended)]).into())
                .filter(Column::Id.eq(upload_id))
                .filter(takes_content());
            Ok(end.exec(transaction).await?.rows_affected == 1)
        })
    }
}

/// Not deleted, and not about to be.
fn takes_content() -> Condition {
    Condition::all().add(Column::DeletedAt.is_null()).add(Column::RemovalSince.is_null())
}

/// No import can bring content any more: the last that began it has ended well, or has no time left.
pub(super) fn no_content_comes(now: i64) -> Condition {
    let too_old = Column::ContentBegunAt.lt(now.saturating_sub(nanos(LONGEST_STREAM_DURATION)));
    Condition::any().add(Column::ContentBegunAt.is_null()).add(too_old)
}

/// Personal, and not deleted: what the vault scope erases.
pub(super) fn personal_and_live() -> Condition {
    Condition::all().add(Column::InstitutionId.is_null()).add(Column::DeletedAt.is_null())
}

/// Just being removed by an erasure: it has not failed yet.
pub(super) fn being_removed() -> Condition {
    Condition::all().add(Column::RemovalSince.is_not_null()).add(Column::RemovalError.is_null())
}

/// Not so: if it has failed, the next erasure may try.
pub(super) fn free_to_remove() -> Condition {
    Condition::any().add(Column::RemovalSince.is_null()).add(Column::RemovalError.is_not_null())
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
        has_content: false,
        content_begun_at: None,
        removal_since: None,
        removal_attempts: None,
        removal_next_at: None,
        removal_error: None,
    }
}

/// What an import of the record does not replace.
pub(super) const KEPT: [Column; 7] = [
    Column::DeletedAt,
    Column::HasContent,
    Column::ContentBegunAt,
    Column::RemovalSince,
    Column::RemovalAttempts,
    Column::RemovalNextAt,
    Column::RemovalError,
];

pub(super) fn embedding_row(held: &Held, record: &UploadEmbedding) -> upload_embedding::Model {
    upload_embedding::Model {
        subject_id: held.subject_id,
        upload_id: record.upload_id.clone(),
        chunk_index: record.chunk_index,
        model: record.model.clone(),
        vector: record.vector.iter().flat_map(|number| number.to_le_bytes()).collect(),
    }
}
