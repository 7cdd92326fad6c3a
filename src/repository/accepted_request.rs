//! Requests that take effect once: their responses are kept, written by the transaction that has the effect.
//!
//! Whoever locks the subject sees on the way whether the request was accepted before. The primary key decides between requests that come at
//! the same time: the second cannot write its response. Either is rolled back and then finds the response of the first; so does whoever
//! lost its connection during COMMIT.

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter, QuerySelect, QueryTrait,
    sea_query::{self, Expr, ExprTrait, InsertStatement},
};

use super::{
    Error, Repository,
    entity::accepted_request::{ActiveModel, Column, Entity},
    query::{Parameter, Query, text},
    reader::Reading,
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
    by_id.select_only().columns([Column::Digest, Column::Response, Column::IsFinal, Column::AcceptedAt]).into_query()
});

static IS_ACCEPTED: Query = Query::new(|_| {
    let of_application = Entity::find().select_only().column(Column::IsFinal).filter(Expr::col(Column::ApplicationId).eq(text()));
    of_application.filter(Expr::col(Column::RequestId).eq(text())).into_query()
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

/// A response that was kept.
pub(super) struct Kept<R> {
    pub(super) report: R,
    pub(super) is_final: bool,
    /// When the request was accepted.
    pub(super) at: i64,
}

impl Repository {
    /// The response to a request, if it was accepted before.
    ///
    /// # Errors
    /// [`Error::RequestIdReused`] when its id is that of another; others when the database does not answer.
    pub(super) async fn accepted_before<R: Stored>(&self, subject: &Subject, once: Option<&Once>) -> Result<Option<Kept<R>>, Error> {
        let Some(Once { id, digest }) = once else { return Ok(None) };
        let parameters = [Parameter::Text(subject.application().as_str()), Parameter::Text(id.as_str())];
        let mut reading = self.reading(subject).await?;
        let found =
            reading.one(&BY_ID, &parameters, |row| Ok((row.bytes(0)? == digest, R::from_bytes(row.bytes(1)?), row.get(2)?, row.get(3)?)));
        match found.await? {
            None => Ok(None),
            Some((false, ..)) if !planted("bug.request-not-compared") => Err(Error::RequestIdReused),
            Some((_, report, is_final, at)) => {
                Ok(Some(Kept { report: report.ok_or(Error::Corrupt("a stored response is none"))?, is_final, at }))
            }
        }
    }
}

impl Reading {
    /// Whether a request of the application was accepted before.
    pub(super) async fn is_accepted(&mut self, application: &ApplicationId, once: &Once) -> Result<bool, Error> {
        let parameters = [Parameter::Text(application.as_str()), Parameter::Text(once.id.as_str())];
        Ok(self.one(&IS_ACCEPTED, &parameters, |_| Ok(())).await?.is_some())
    }
}

/// Why a transaction ends whose request was accepted before: whoever tries again finds the response.
pub(super) fn repeated() -> Error {
    Error::Conflict("the request was accepted before".to_owned())
}

/// Whether a request of the application was accepted before.
pub(super) fn is_accepted(application: &ApplicationId, once: &Once) -> Expr {
    let of_application = Entity::find().select_only().expr(Expr::val(1)).filter(Column::ApplicationId.eq(application.as_str()));
    Expr::exists(of_application.filter(Column::RequestId.eq(once.id.as_str())).into_query())
}

/// Why a call ends whose plan is void. Its request may have been accepted while it waited for the lock, which the statement that locks does
/// not see on PostgreSQL; or there was nothing to lock.
pub(super) async fn plan_changed(transaction: &DatabaseTransaction, subject: &Subject, once: Option<&Once>) -> Error {
    let Some(once) = once else { return Error::PlanChanged };
    let select = sea_query::Query::select().expr(is_accepted(subject.application(), once)).to_owned();
    let is_accepted = transaction.query_one(&select).await.map(|row| row.map(|row| row.try_get_by_index(0)));
    match is_accepted {
        Ok(Some(Ok(true))) => repeated(),
        Ok(Some(Ok(false)) | None) => Error::PlanChanged,
        Ok(Some(Err(error))) | Err(error) => error.into(),
    }
}

/// Keeps the response to a request, in the transaction of its effect; fails with [`Error::Conflict`] when another call has had the same
/// effect meanwhile. `None` if there is no request to keep it for.
pub(super) fn keep_response<R: Stored>(
    subject: &Subject,
    once: Option<&Once>,
    report: &R,
    is_final: bool,
    now: i64,
) -> Option<InsertStatement> {
    let Once { id, digest } = kept(once)?;
    Some(insert(subject.application().as_str(), id.as_str(), digest.to_vec(), report.to_bytes(), is_final, now))
}

/// The request whose response is kept.
pub(super) fn kept(once: Option<&Once>) -> Option<&Once> {
    once.filter(|_| !planted("bug.response-not-stored"))
}

/// Like what [`keep_response`] gives, for whoever writes texts beforehand.
pub(super) fn some_response() -> InsertStatement {
    insert("", "", Vec::new(), Vec::new(), true, 0)
}

fn insert(application_id: &str, request_id: &str, digest: Vec<u8>, response: Vec<u8>, is_final: bool, accepted_at: i64) -> InsertStatement {
    let row = ActiveModel {
        application_id: Set(application_id.to_owned()),
        request_id: Set(request_id.to_owned()),
        digest: Set(digest),
        response: Set(response),
        is_final: Set(is_final),
        accepted_at: Set(accepted_at),
    };
    Entity::insert(row).into_query()
}

/// Replaces the response of a request whose files have been removed, or not; fails with [`Error::Conflict`] when another call for the same
/// request has done so before.
pub(super) async fn finish_response<R: Stored>(
    transaction: &DatabaseTransaction,
    subject: &Subject,
    once: &Once,
    report: &R,
) -> Result<(), Error> {
    let finished = Entity::update_many()
        .col_expr(Column::Response, Expr::val(report.to_bytes()))
        .col_expr(Column::IsFinal, Expr::val(true))
        .filter(Column::ApplicationId.eq(subject.application().as_str()))
        .filter(Column::RequestId.eq(once.id.as_str()))
        .filter(Column::IsFinal.eq(false));
    match finished.exec(transaction).await?.rows_affected {
        1 => Ok(()),
        _ => Err(Error::Conflict("the request was answered before".to_owned())),
    }
}
