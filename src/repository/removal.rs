//! Removing what an erasure accepted and no transaction covers: the objects of uploads. Each upload that waits for it is marked in its row, from
//! the erasure's own transaction on, until the object is known to be gone; then its status flips. Whoever removes objects, the erasure itself or
//! the worker of any replica, notes what became of them here.

mod claims;

pub(super) use self::claims::after_lease;
pub use self::claims::{Claim, LEASE};

use std::{
    collections::{HashMap, HashSet},
    ops::ControlFlow,
    time::Duration,
};

use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QueryResult,
    QuerySelect, QueryTrait,
    sea_query::{CaseStatement, Expr, ExprTrait},
};

use super::{
    Error, Held, Repository,
    accepted_request::finish_response,
    entity::{
        upload::{Column, Entity},
        upload_embedding,
    },
    query::{Parameter, Query, integer, text, zero},
    reader::Reading,
    scoped_delete::ErasedScopes,
    subject::{Locked, delete_rows, id_of_named, names, raise_epoch, update_rows},
    transaction::in_transaction,
    upload::{being_removed, no_content_comes, personal_and_live},
};
use crate::{
    domain::{
        erasure::Once,
        record::DELETED,
        report::{ScopesErased, UploadFailure},
        subject::Subject,
    },
    fault::{crash_at, planted},
};

/// How many ids are named in one statement, at the most.
const IDS: usize = 512;

/// The wait after the first failure; it doubles with each of the next [`DOUBLINGS`].
const FIRST_WAIT: Duration = Duration::from_secs(1);
const DOUBLINGS: i32 = 4;

/// Content of an upload may be on its way while the upload is removed, and whoever brings it may die before he takes it back, or not know
/// that the store still makes it appear. So long afterwards it is looked for once more, and then from time to time until none can still come.
const SECOND_LOOK: Duration = Duration::from_secs(60);
const FURTHER_LOOKS: Duration = Duration::from_secs(60 * 60);

/// An upload whose object is to be removed.
#[derive(Clone, PartialEq, Eq)]
pub struct PendingUpload {
    /// Its id.
    pub id: String,
    /// Its size.
    pub size_bytes: i64,
    /// Whether this erasure took it on. Of two that overlap it is the first: so it is counted once, though both see to it that it goes.
    pub is_own: bool,
    /// Said of those that an erasure has just taken on: content of it came whole, so there should be an object.
    pub has_object: bool,
    /// How often its removal had failed then.
    attempts: i32,
}

/// Which uploads of a subject have an object in the store, as the store says.
#[derive(Clone, PartialEq, Eq)]
pub enum StoredObjects {
    /// None.
    None,
    /// These.
    Of(Vec<String>),
    /// It does not say.
    Unknown,
}

/// What became of objects.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Removals {
    /// The uploads whose objects are gone.
    pub removed: Vec<String>,
    /// Those whose objects may be there.
    pub failed: Vec<UploadFailure>,
}

static NAMED: Query = Query::new(|_| {
    let of_subject = Entity::find().filter(Expr::col(Column::SubjectId).eq(id_of_named()));
    of_subject.filter(Expr::col(Column::Id).eq(text())).select_only().column(Column::SizeBytes).expr(attempts()).into_query()
});
static TAKEN_BEFORE: Query = Query::new(|_| {
    let of_subject = Entity::find().filter(Expr::col(Column::SubjectId).eq(id_of_named())).filter(personal_and_live());
    let taken = of_subject.filter(Expr::col(Column::RemovalSince).lte(integer()));
    taken.select_only().columns([Column::Id, Column::SizeBytes]).expr(Column::RemovalError.is_not_null()).expr(attempts()).into_query()
});
impl Reading {
    /// The uploads that an unfinished erasure, accepted `at`, has to remove: those that are named as failed, and those that others had taken
    /// on before.
    pub(super) async fn uploads_to_remove(
        &mut self,
        subject: &Subject,
        failed: &[UploadFailure],
        at: i64,
    ) -> Result<Vec<PendingUpload>, Error> {
        let [application, user_token] = names(subject);
        let mut uploads = Vec::with_capacity(failed.len());
        let named: HashSet<&str> = failed.iter().map(|failure| failure.upload_id.as_str()).collect();
        for UploadFailure { upload_id, .. } in failed {
            let parameters = [application, user_token, Parameter::Text(upload_id)];
            let upload = self.one(&NAMED, &parameters, |row| {
                Ok(PendingUpload { id: upload_id.clone(), size_bytes: row.get(0)?, is_own: true, has_object: false, attempts: row.get(1)? })
            });
            uploads.extend(upload.await?);
        }
        // Until these are gone too, the erasure is not at its end. Others may be at it still; if not, they are this erasure's.
        self.rows(&TAKEN_BEFORE, &[application, user_token, Parameter::Integer(at)], |row| {
            let id = row.text(0)?;
            if !named.contains(id) {
                let (size_bytes, is_own, attempts) = (row.get(1)?, row.get(2)?, row.get(3)?);
                uploads.push(PendingUpload { id: id.to_owned(), size_bytes, is_own, has_object: false, attempts });
            }
            Ok(ControlFlow::Continue(()))
        })
        .await?;
        Ok(uploads)
    }
}

impl Repository {
    /// Notes what became of objects that were claimed: their uploads are deleted, with their embeddings, or wait for another try. An epoch is
    /// for those who see something else than before.
    ///
    /// # Errors
    /// When the database does not answer; then nothing has changed, and the objects are removed again later.
    pub async fn finish_removals(&self, claim: &Claim, removals: &Removals) -> Result<(), Error> {
        let subject = &claim.subject;
        let share = self.write_shares.take_in_turn(subject.application()).await?;
        in_transaction!(with share; self, subject, "finish_removals", false, None, transaction => {
            let now = self.clock.now().0;
            let Locked { held, vault_erased_at, .. } = self.lock(transaction, subject, None).await?;
            self.log_will_hold_erased();
            // None was accepted since.
            let is_latest = vault_erased_at == claim.vault_erased_at.map(|at| at.0);
            if changes_what_is_shown(transaction, &held, removals, is_latest).await? {
                raise_epoch(transaction, &held).await?;
            }
            note(transaction, &held, removals, now, |_| is_latest).await
        })
    }

    /// The same of the objects of an erasure: gives its report, which becomes the final response to its request.
    ///
    /// # Errors
    /// The same.
    pub async fn finish_erasure(
        &self,
        subject: &Subject,
        erased: &ErasedScopes,
        removals: &Removals,
        objects_left: u64,
        once: Option<&Once>,
    ) -> Result<ScopesErased, Error> {
        let share = self.write_shares.take_in_turn(subject.application()).await?;
        let finished = in_transaction!(with share; self, subject, "finish_erasure", once.is_some(), self.finished_before(subject, once).await?, transaction => {
            let now = self.clock.now().0;
            let locked = self.lock(transaction, subject, None).await?;
            raise_epoch(transaction, &locked.held).await?;
            self.log_will_hold_erased();
            let is_latest = locked.vault_erased_at.is_none_or(|last| last <= erased.at);
            let waiting = attempts_of(transaction, &locked.held).await?;
            // What waits no more, another has seen to be gone, and noted when to look again.
            let failed: Vec<_> = removals.failed.iter().filter(|failure| waiting.contains_key(&failure.upload_id)).cloned().collect();
            let removed = removals.removed.iter().filter(|id| waiting.contains_key(*id)).cloned().collect();
            let mut report = erased.report.clone();
            (report.remaining.uploads, report.remaining.objects) = (failed.len() as u64, Ord::min(objects_left, failed.len() as u64));
            let still_there: HashSet<&str> = failed.iter().map(|failure| failure.upload_id.as_str()).collect();
            let mut shown = HashSet::new();
            for upload in &erased.to_remove {
                // Another that was at it has failed meanwhile.
                let is_given_up = waiting.get(&upload.id).is_some_and(|attempts| *attempts > upload.attempts);
                if still_there.contains(upload.id.as_str()) {
                    shown.extend((upload.is_own && is_latest || is_given_up).then_some(upload.id.as_str()));
                } else if upload.is_own || is_given_up {
                    report.uploads += 1;
                    report.bytes = report.bytes.saturating_add(upload.size_bytes);
                }
            }
            report.uploads_failed.clone_from(&failed);
            let removals = Removals { removed, failed };
            note(transaction, &locked.held, &removals, now, |id| shown.contains(id)).await?;
            report.remaining.embeddings = embeddings_of(transaction, &locked.held, &erased.to_remove).await?;
            if let Some(once) = once {
                finish_response(transaction, subject, once, &report).await?;
            }
            crash_at("erasure.before_settle_commit");
            Ok(report)
        })?;
        crash_at("erasure.after_settle_commit");
        Ok(finished)
    }

    /// The final response to a request, if it has one.
    async fn finished_before(&self, subject: &Subject, once: Option<&Once>) -> Result<Option<ScopesErased>, Error> {
        let kept = self.accepted_before::<ScopesErased>(subject, once).await?;
        Ok(kept.filter(|kept| kept.is_final).map(|kept| kept.report))
    }
}

/// How often the removal of the uploads that wait for it has failed.
async fn attempts_of(transaction: &DatabaseTransaction, held: &Held) -> Result<HashMap<String, i32>, Error> {
    let waiting = Entity::find().filter(Column::SubjectId.eq(held.subject_id)).filter(Column::DeletedAt.is_null());
    let waiting = waiting.filter(Column::RemovalSince.is_not_null()).select_only().column(Column::Id).expr(attempts());
    Ok(waiting.into_tuple().all(transaction).await?.into_iter().collect())
}

fn attempts() -> Expr {
    Expr::col((Entity, Column::RemovalAttempts)).if_null(zero())
}

/// Whether an export shows something else when this is noted: an upload less, or one that it has not shown since its erasure began.
async fn changes_what_is_shown(
    transaction: &DatabaseTransaction,
    held: &Held,
    Removals { removed, failed }: &Removals,
    shows_failed: bool,
) -> Result<bool, Error> {
    let failed = failed.iter().map(|failure| &failure.upload_id).filter(|_| shows_failed);
    for (ids, then) in [(removed.iter().collect::<Vec<_>>(), Condition::all()), (failed.collect(), being_removed())] {
        for ids in ids.chunks(IDS) {
            let changes = Entity::find().filter(Column::SubjectId.eq(held.subject_id)).filter(Column::DeletedAt.is_null());
            if changes.filter(Column::Id.is_in(ids.iter().copied())).filter(then.clone()).count(transaction).await? > 0 {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// How many embeddings of these uploads are there.
async fn embeddings_of(transaction: &DatabaseTransaction, held: &Held, uploads: &[PendingUpload]) -> Result<u64, Error> {
    let mut embeddings = 0;
    for uploads in uploads.chunks(IDS) {
        let of_subject = upload_embedding::Entity::find().filter(upload_embedding::Column::SubjectId.eq(held.subject_id));
        let ids = uploads.iter().map(|upload| upload.id.as_str());
        embeddings += of_subject.filter(upload_embedding::Column::UploadId.is_in(ids)).count(transaction).await?;
    }
    Ok(embeddings)
}

/// An upload that could not be removed is shown again, and counts as failed, if `shows`; else it is another erasure's to say what became of it,
/// or after a while the worker's: an export would show it beside what that erasure took.
async fn note(
    transaction: &DatabaseTransaction,
    held: &Held,
    removals: &Removals,
    now: i64,
    shows: impl Fn(&str) -> bool,
) -> Result<(), Error> {
    for ids in removals.removed.chunks(IDS) {
        mark_removed(transaction, held, ids, now).await?;
    }
    for failure in &removals.failed {
        wait_longer(transaction, held, failure, now, shows(&failure.upload_id)).await?;
    }
    Ok(())
}

async fn mark_removed(transaction: &DatabaseTransaction, held: &Held, ids: &[String], now: i64) -> Result<(), Error> {
    let derived = upload_embedding::Column::UploadId.is_in(ids.iter().cloned());
    delete_rows::<upload_embedding::Entity>(held).filter(derived).exec(transaction).await?;
    let next_look = CaseStatement::new()
        .case(no_content_comes(now), Expr::val(None::<i64>))
        .case(Column::DeletedAt.is_null(), now.saturating_add(nanos(SECOND_LOOK)))
        .finally(now.saturating_add(nanos(FURTHER_LOOKS)));
    update_rows::<Entity>(held)
        .col_expr(Column::Status, Expr::val(DELETED))
        .col_expr(Column::DeletedAt, Expr::col(Column::DeletedAt).if_null(now))
        .col_expr(Column::HasContent, Expr::val(false))
        .col_expr(Column::RemovalNextAt, next_look.into())
        .col_expr(Column::RemovalSince, Expr::val(None::<i64>))
        .col_expr(Column::RemovalAttempts, Expr::val(None::<i32>))
        .col_expr(Column::RemovalError, Expr::val(None::<String>))
        .filter(Column::Id.is_in(ids.iter().cloned()))
        .filter(Column::RemovalNextAt.is_not_null())
        .exec(transaction)
        .await?;
    Ok(())
}

async fn wait_longer(transaction: &DatabaseTransaction, held: &Held, failure: &UploadFailure, now: i64, shows: bool) -> Result<(), Error> {
    let attempts = Expr::col(Column::RemovalAttempts).if_null(0);
    let mut wait = CaseStatement::new();
    for made in 0..DOUBLINGS {
        wait = wait.case(attempts.clone().eq(made), now.saturating_add(nanos(FIRST_WAIT) << made));
    }
    let wait = wait.finally(now.saturating_add(nanos(FIRST_WAIT) << DOUBLINGS));
    let later = update_rows::<Entity>(held)
        .col_expr(Column::RemovalAttempts, attempts.add(1))
        .filter(Column::Id.eq(failure.upload_id.as_str()))
        .filter(Column::RemovalNextAt.is_not_null());
    let later = if shows {
        later.col_expr(Column::RemovalNextAt, wait.into()).col_expr(Column::RemovalError, Expr::val(failure.error.as_str()))
    } else {
        later.col_expr(Column::RemovalNextAt, Expr::val(after_lease(now)))
    };
    let later = match planted("bug.failed-files-forgotten") {
        true => later.col_expr(Column::RemovalNextAt, Expr::val(None::<i64>)),
        false => later,
    };
    later.exec(transaction).await?;
    Ok(())
}

/// Corrects which uploads have an object, where the store says otherwise.
pub(super) async fn note_objects(transaction: &DatabaseTransaction, held: &Held, objects: &StoredObjects) -> Result<(), Error> {
    let note = || {
        update_rows::<Entity>(held)
            .col_expr(Column::HasContent, Expr::val(true))
            .filter(personal_and_live())
            .filter(Column::HasContent.eq(false))
    };
    match objects {
        StoredObjects::None => {}
        StoredObjects::Of(ids) => {
            for ids in ids.chunks(IDS) {
                note().filter(Column::Id.is_in(ids.iter().cloned())).exec(transaction).await?;
            }
        }
        StoredObjects::Unknown => {
            note().exec(transaction).await?;
        }
    }
    Ok(())
}

/// The uploads whose objects an erasure that begins `now` has to remove, in their order: those it has just marked, and those that others are
/// at.
pub(super) async fn uploads_of(transaction: &DatabaseTransaction, held: &Held, now: i64) -> Result<Vec<PendingUpload>, Error> {
    let begun = Entity::find()
        .select_only()
        .columns([Column::Id, Column::SizeBytes, Column::RemovalNextAt])
        .exprs([attempts(), Column::ContentBegunAt.is_null()])
        .filter(Column::SubjectId.eq(held.subject_id))
        .filter(personal_and_live())
        .filter(being_removed())
        .order_by_asc(Column::CreatedAt)
        .order_by_asc(Column::Id)
        .into_query();
    let rows = transaction.query_all(&begun).await?;
    let upload = |row: &QueryResult| {
        let is_own = row.try_get_by_index::<i64>(2)? == after_lease(now);
        let (id, size_bytes) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        Ok(PendingUpload { id, size_bytes, is_own, attempts: row.try_get_by_index(3)?, has_object: row.try_get_by_index(4)? })
    };
    rows.iter().map(upload).collect()
}

pub(super) fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
