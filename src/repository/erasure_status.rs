//! What has become of erasures: how many there were, and which of their files still wait to be removed.

use std::ops::ControlFlow;

use sea_orm::{
    ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
    sea_query::{Expr, ExprTrait, SelectStatement},
};

use super::{
    Error,
    entity::{
        subject as subjects,
        upload::{Column, Entity},
    },
    query::{Parameter, Query, text},
    reader::Reading,
    subject::{id_of_named, names},
};
use crate::domain::{
    report::ErasureStatus,
    subject::{ApplicationId, Subject},
    timestamp::Timestamp,
};

// By the subject's number alone: of a join, a plan may begin with the uploads of all.
static OF_SUBJECT: Query = Query::new(|_| waiting().and_where(Expr::col(Column::SubjectId).eq(id_of_named())).to_owned());
static OF_APPLICATION: Query = Query::new(|_| {
    let mut select = waiting();
    let of_subject = Expr::col((subjects::Entity, subjects::Column::Id)).eq(Expr::col((Entity, Column::SubjectId)));
    select.inner_join(subjects::Entity, of_subject);
    select.and_where(Expr::col((subjects::Entity, subjects::Column::ApplicationId)).eq(text())).to_owned()
});

/// Since when uploads wait, and how often their removal has failed; those that wait longest first.
fn waiting() -> SelectStatement {
    let pending = Entity::find().filter(Column::RemovalNextAt.is_not_null()).filter(Column::DeletedAt.is_null());
    let waiting = pending.select_only().columns([Column::RemovalSince, Column::RemovalAttempts]);
    waiting.order_by_asc(Column::RemovalSince).order_by_desc(Column::RemovalAttempts).into_query()
}

impl Reading {
    /// What has become of the erasures of a subject.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn erasure_status(&mut self, subject: &Subject) -> Result<ErasureStatus, Error> {
        let epoch = self.find(subject).await?.map_or(0, |held| held.epoch());
        Ok(ErasureStatus { epoch, ..self.waiting(&OF_SUBJECT, &names(subject)).await? })
    }

    /// What has become of the erasures of all subjects of an application.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn erasure_status_of_all(&mut self, application: &ApplicationId) -> Result<ErasureStatus, Error> {
        self.waiting(&OF_APPLICATION, &[Parameter::Text(application.as_str())]).await
    }

    async fn waiting(&mut self, query: &'static Query, parameters: &[Parameter<'_>]) -> Result<ErasureStatus, Error> {
        let mut status = ErasureStatus::default();
        self.rows(query, parameters, |row| {
            let waits = (Timestamp(row.get(0)?), row.get(1)?);
            status.oldest.get_or_insert(waits);
            status.uploads_pending += 1;
            Ok(ControlFlow::Continue(()))
        })
        .await?;
        Ok(status)
    }
}
