//! Who removes which objects: for a while he has them to himself.

use std::{ops::ControlFlow, time::Duration};

use sea_orm::{
    ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
    sea_query::{Expr, ExprTrait},
};

use super::{IDS, nanos};
use crate::{
    domain::{
        subject::{ApplicationId, Subject, UserToken},
        timestamp::Timestamp,
    },
    repository::{
        Error, Held, Repository,
        entity::{
            subject as subjects,
            upload::{Column, Entity},
        },
        query::{Parameter, Query, integer},
        subject::{find, update_rows},
    },
};

/// How long whoever removes objects has it to himself. Two at it do no harm, only the same work twice.
pub const LEASE: Duration = Duration::from_secs(10);

/// Uploads of a subject whose objects are to be removed now, by whoever has claimed it.
pub struct Claim {
    /// The subject.
    pub subject: Subject,
    /// When its vault had been erased last, before the claim.
    pub vault_erased_at: Option<Timestamp>,
    /// The uploads' ids.
    pub upload_ids: Vec<String>,
}

static DUE: Query = Query::new(|_| {
    let due = Entity::find().filter(Expr::col(Column::RemovalNextAt).lte(integer())).order_by_asc(Column::RemovalNextAt);
    let mut select = due.select_only().columns([Column::SubjectId, Column::Id]).into_query();
    let of_subject = Expr::col((subjects::Entity, subjects::Column::Id)).eq(Expr::col((Entity, Column::SubjectId)));
    select.inner_join(subjects::Entity, of_subject);
    let names = [subjects::Column::ApplicationId, subjects::Column::UserToken, subjects::Column::VaultErasedAt];
    select.columns(names.map(|column| (subjects::Entity, column)));
    select
});

impl Repository {
    /// Uploads whose removal is to be tried now, by subject: they are the caller's for [`LEASE`].
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn claim_removals(&self) -> Result<Vec<Claim>, Error> {
        let Timestamp(now) = self.clock.now();
        let mut found = 0;
        let mut due: Vec<(i64, Claim)> = Vec::new();
        let mut reading = self.reading_removals().await?;
        reading
            .rows(&DUE, &[Parameter::Integer(now)], |row| {
                let (number, id) = (row.get(0)?, row.text(1)?.to_owned());
                match due.iter_mut().find(|(known, ..)| *known == number) {
                    Some((_, claim)) => claim.upload_ids.push(id),
                    None => {
                        let subject = subject(row.text(2)?, row.text(3)?)?;
                        let vault_erased_at = row.get::<Option<i64>>(4)?.map(Timestamp);
                        due.push((number, Claim { subject, vault_erased_at, upload_ids: vec![id] }));
                    }
                }
                found += 1;
                Ok(if found < IDS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
            })
            .await?;
        drop(reading);
        let mut claimed = Vec::new();
        for (subject_id, claim) in due {
            let held = Held::of(subject_id);
            let take = update_rows::<Entity>(&held)
                .col_expr(Column::RemovalNextAt, Expr::val(after_lease(now)))
                .filter(Column::Id.is_in(claim.upload_ids))
                .filter(Column::RemovalNextAt.lte(now));
            let transaction = self.begin_about(&claim.subject).await?;
            let rows = take.exec_with_returning(&transaction).await?;
            transaction.commit().await?;
            if !rows.is_empty() {
                claimed.push(Claim { upload_ids: rows.into_iter().map(|row| row.id).collect(), ..claim });
            }
        }
        Ok(claimed)
    }

    /// Has whoever removes the objects of these uploads go on having them to himself.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn keep_removals(&self, subject: &Subject, upload_ids: &[String]) -> Result<(), Error> {
        let transaction = self.begin_about(subject).await?;
        let (application, user_token) = (subject.application().as_str(), subject.user_token().as_str());
        let known = find(Expr::val(application), Expr::val(user_token)).one(&transaction).await?;
        for ids in upload_ids.chunks(IDS) {
            let held = known.iter().map(|row| row.id);
            let keep = Entity::update_many()
                .col_expr(Column::RemovalNextAt, Expr::val(after_lease(self.clock.now().0)))
                .filter(Column::SubjectId.is_in(held))
                .filter(Column::Id.is_in(ids.iter().cloned()))
                .filter(Column::RemovalNextAt.is_not_null());
            keep.exec(&transaction).await?;
        }
        Ok(transaction.commit().await?)
    }
}

/// When whoever begins to remove objects `now` has them to himself no more.
pub(in crate::repository) fn after_lease(now: i64) -> i64 {
    now.saturating_add(nanos(LEASE))
}

fn subject(application: &str, user_token: &str) -> Result<Subject, Error> {
    let names = ApplicationId::parse(application).and_then(|application| Ok((application, UserToken::parse(user_token)?)));
    let (application, user_token) = names.map_err(|_| Error::Corrupt("a subject has no name"))?;
    Ok(Subject::of_accepted_erasure(application, user_token))
}
