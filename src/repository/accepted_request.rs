//! Requests that take effect once: their responses are kept, written by the transaction that has the effect.
//!
//! The primary key decides between requests that come at the same time: the second cannot write its response, is rolled back, and then
//! finds that of the first. So does whoever lost its connection during COMMIT.

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QuerySelect, QueryTrait,
    sea_query::{Expr, ExprTrait},
};

use super::{
    Error, Repository,
    entity::accepted_request::{ActiveModel, Column, Entity},
    query::{Parameter, Query, text},
};
use crate::{
    domain::{
        erasure::Once,
        report::Stored,
        subject::{ApplicationId, Subject},
    },
    fault::planted,
};

static BY_ID: Query = Query::new(|_| {
    let of_application = Entity::find().filter(Expr::col(Column::ApplicationId).eq(text()));
    let by_id = of_application.filter(Expr::col(Column::RequestId).eq(text()));
    by_id.select_only().columns([Column::Digest, Column::Response, Column::IsFinal]).into_query()
});

/// What became of a request.
pub enum Accepted<R> {
    /// It has taken effect now.
    Now(R),
    /// It had taken effect before, and this was answered.
    Before(R),
    /// It had taken effect before, but for files; this will be answered unless they can be removed.
    Unfinished(R),
}

impl Repository {
    /// The response to a request, if it was accepted before, and whether it is final.
    ///
    /// # Errors
    /// [`Error::RequestIdReused`] when its id is that of another; others when the database does not answer.
    pub(super) async fn accepted_before<R: Stored>(
        &self,
        application: &ApplicationId,
        once: Option<&Once>,
    ) -> Result<Option<(bool, R)>, Error> {
        let Some(Once { id, digest }) = once else { return Ok(None) };
        let parameters = [Parameter::Text(application.as_str()), Parameter::Text(id.as_str())];
        let mut reading = self.reading().await?;
        let found = reading.one(&BY_ID, &parameters, |row| Ok((row.bytes(0)? == digest, R::from_bytes(row.bytes(1)?), row.get(2)?)));
        match found.await? {
            None => Ok(None),
            Some((false, ..)) if !planted("bug.request-not-compared") => Err(Error::RequestIdReused),
            Some((_, report, is_final)) => Ok(Some((is_final, report.ok_or(Error::Corrupt("a stored response is none"))?))),
        }
    }
}

/// Keeps the response to a request, in the transaction of its effect.
///
/// # Errors
/// [`Error::Conflict`] when another call has had the same effect meanwhile.
pub(super) async fn keep_response<R: Stored>(
    transaction: &DatabaseTransaction,
    subject: &Subject,
    once: Option<&Once>,
    report: &R,
    is_final: bool,
    now: i64,
) -> Result<(), Error> {
    let Some(Once { id, digest }) = once else { return Ok(()) };
    if planted("bug.response-not-stored") {
        return Ok(());
    }
    let row = ActiveModel {
        application_id: Set(subject.application().as_str().to_owned()),
        request_id: Set(id.as_str().to_owned()),
        digest: Set(digest.to_vec()),
        response: Set(report.to_bytes()),
        is_final: Set(is_final),
        accepted_at: Set(now),
    };
    Entity::insert(row).exec_without_returning(transaction).await?;
    Ok(())
}

/// Replaces the response of a request whose files have been removed, or not; gives whether nobody has done so before.
pub(super) async fn finish_response<R: Stored>(
    transaction: &DatabaseTransaction,
    subject: &Subject,
    once: &Once,
    report: &R,
) -> Result<bool, Error> {
    let finished = Entity::update_many()
        .col_expr(Column::Response, Expr::val(report.to_bytes()))
        .col_expr(Column::IsFinal, Expr::val(true))
        .filter(Column::ApplicationId.eq(subject.application().as_str()))
        .filter(Column::RequestId.eq(once.id.as_str()))
        .filter(Column::IsFinal.eq(false));
    Ok(finished.exec(transaction).await?.rows_affected == 1)
}
