//! Erasing scopes of a subject's personal data, in one transaction. Of uploads with content it only notes that they are to be removed
//! (`removal`): their objects go when it is committed.

use std::sync::Arc;

use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbBackend, EntityTrait, QueryFilter, QuerySelect, QueryTrait, Select,
    sea_query::{Expr, ExprTrait, SqliteQueryBuilder},
};

use super::{
    Error, Repository,
    accepted_request::{Accepted, Kept, keep_response, kept, plan_changed, some_response},
    conversation,
    effects::{Effects, Rows, Written},
    entity::{
        assistant as assistants, compaction_cache, conversation as conversations, feedback, memory, session, subject as subjects,
        upload as uploads, upload_embedding,
    },
    erasure::{Erasure, Texts},
    query::{finds, zero},
    removal::{PendingUpload, StoredObjects, after_lease, note_objects, uploads_of},
    subject::note_erasures,
    transaction::in_transaction,
    upload,
    verification::nothing_remains,
};
use crate::{
    domain::{
        erasure::{Once, PlanDigest, Terms},
        record::DELETED,
        report::{ScopesErased, UploadFailure},
        scope::Scopes,
        subject::Subject,
    },
    fault::{crash_at, planted},
};

/// Said of an upload whose removal was begun and of which nobody knows yet how it ended.
const INTERRUPTED: &str = "its removal was interrupted; it goes on by itself";

impl Repository {
    /// Erases the scopes. Uploads that may have an object are marked as being removed, and named in the report as if they could not be: what
    /// became of them is for [`Repository::finish_erasure`] to say. On SQLite the log is still to be emptied of what was erased.
    ///
    /// # Errors
    /// [`Error::RequestIdReused`] and [`Error::PlanChanged`] when the terms are not met, [`Error::Remained`] when something is still there;
    /// others when the database does not answer. Then nothing has changed, save after [`Error::CommitUnknown`].
    pub async fn erase_scopes(
        &self,
        subject: &Subject,
        scopes: Scopes,
        terms: &Terms,
        objects: &StoredObjects,
    ) -> Result<Accepted<ErasedScopes>, Error> {
        let once = terms.once.as_ref();
        let accepted = in_transaction!(self, subject, "erase_scopes", once.is_some(), self.scopes_erased_before(subject, once).await?, transaction => {
            // By itself: PostgreSQL decides before it waits for the lock which rows a statement sees.
            let locked = self.lock(transaction, subject, once).await?;
            let now = self.clock.now().0;
            let vault_at = if scopes.chosen().vault { locked.vault_erased_from(now) } else { now };
            let mut erased = Erased::default();
            let erasure = Erasure { held: locked.held, now, vault_at };
            let written = written(scopes, transaction.get_database_backend(), kept(once).is_some());
            self.log_will_hold_erased();
            if scopes.chosen().vault {
                note_objects(transaction, &erasure.held, objects).await?;
            }
            written.changes.take_place(transaction, &erasure, Vec::new(), &mut erased).await?;
            crash_at("erasure.after_effects");
            let plan = || PlanDigest::of_scopes(subject, scopes, locked.revision, &erased.planned());
            if terms.plan.as_ref().is_some_and(|expected| *expected != plan()) && !planted("bug.plan-not-compared") {
                return Err(plan_changed(transaction, subject, once).await);
            }
            let (mut report, mut to_remove) = (erased.report.clone(), Vec::new());
            if erased.uploads_to_remove + erased.uploads_of_others > 0 {
                to_remove = uploads_of(transaction, &locked.held, now).await?;
                let failed = |upload: &PendingUpload| UploadFailure { upload_id: upload.id.clone(), error: INTERRUPTED.to_owned() };
                report.uploads_failed = to_remove.iter().filter(|upload| upload.is_own).map(failed).collect();
                (report.remaining.uploads, report.remaining.objects) = (erased.uploads_to_remove, erased.uploads_to_remove);
            }
            // The response says that nothing else remains; should anything, neither is kept.
            let response = keep_response(subject, once, &report, to_remove.is_empty(), vault_at);
            let kept = response.map_or_else(Vec::new, |insert| insert.build(SqliteQueryBuilder).1.0);
            written.checks.take_place(transaction, &erasure, kept, &mut erased).await?;
            nothing_remains(&erased.report.remaining)?;
            crash_at("erasure.before_commit");
            Ok(Accepted::Now(ErasedScopes { report, to_remove, at: vault_at }))
        })?;
        crash_at("erasure.after_commit");
        Ok(accepted)
    }

    async fn scopes_erased_before(&self, subject: &Subject, once: Option<&Once>) -> Result<Option<Accepted<ErasedScopes>>, Error> {
        let kept = self.accepted_before::<ScopesErased>(subject, once).await?;
        let Some(Kept { report, is_final, at }) = kept else { return Ok(None) };
        let to_remove =
            if is_final { Vec::new() } else { self.reading(subject).await?.uploads_to_remove(subject, &report.uploads_failed, at).await? };
        let before = ErasedScopes { report, to_remove, at };
        Ok(Some(if is_final { Accepted::Before(before) } else { Accepted::Unfinished(before) }))
    }
}

/// What a scoped delete did in the database.
pub struct ErasedScopes {
    /// What it did.
    pub report: ScopesErased,
    /// The uploads whose objects are to go now; the report says of each that it failed.
    pub to_remove: Vec<PendingUpload>,
    /// When it was accepted: [`Erasure::vault_at`].
    pub(super) at: i64,
}

/// Which kinds of erasure the scopes are.
fn kinds(scopes: Scopes) -> Vec<subjects::Column> {
    let chosen = scopes.chosen();
    let kinds = [
        (chosen.dialogues, subjects::Column::DialoguesErasedAt),
        (chosen.vault, subjects::Column::VaultErasedAt),
        (chosen.memory, subjects::Column::MemoryErasedAt),
        (chosen.assistants, subjects::Column::AssistantsErasedAt),
        (chosen.feedback, subjects::Column::FeedbackErasedAt),
        (chosen.sessions, subjects::Column::SessionsErasedAt),
    ];
    kinds.into_iter().filter_map(|(chosen, kind)| chosen.then_some(kind)).collect()
}

#[derive(Default)]
struct Erased {
    report: ScopesErased,
    uploads_to_remove: u64,
    bytes_to_remove: i64,
    /// Uploads that another erasure is just removing.
    uploads_of_others: u64,
}

impl Erased {
    /// What will have been done when the objects are gone.
    fn planned(&self) -> ScopesErased {
        let Self { report, uploads_to_remove, bytes_to_remove, uploads_of_others: _ } = self;
        ScopesErased { uploads: report.uploads + uploads_to_remove, bytes: report.bytes.saturating_add(*bytes_to_remove), ..report.clone() }
    }
}

/// The effects of an erasure of these scopes, written.
fn written(scopes: Scopes, backend: DbBackend, keeps: bool) -> Arc<Written<Erased>> {
    /// By the scopes, whether it is for SQLite, and whether a response is kept.
    static WRITTEN: Texts<(Scopes, bool, bool), Written<Erased>> = Texts::new();
    let write = || Erasure::STAND_IN.effects(scopes).write(backend, keeps.then(some_response));
    WRITTEN.of((scopes, backend == DbBackend::Sqlite, keeps), write)
}

impl Erasure {
    fn effects(&self, scopes: Scopes) -> Effects<Erased> {
        let held = &self.held;
        let mut effects: Effects<Erased> = Effects::none();
        let at = |kind| if matches!(kind, subjects::Column::VaultErasedAt) { self.vault_at } else { self.now };
        effects.add_untold(note_erasures(held, kinds(scopes).into_iter().map(|kind| (kind, at(kind)))));
        let chosen = scopes.chosen();
        if chosen.dialogues {
            let live = Rows::held::<conversations::Entity>(held).filter(live_dialogues());
            let forget = live.clone().update([(conversations::Column::ForgottenAt, Expr::val(self.now))]);
            effects.add(forget, |erased, rows| erased.report.dialogues += rows);
            effects.check(live, |erased, rows| erased.report.remaining.dialogues += rows);
            let derived = Rows::held::<compaction_cache::Entity>(held).filter(of_dialogues(Expr::val(held.subject_id)));
            effects.add(derived.clone().delete(), |erased, rows| erased.report.compaction_cache += rows);
            effects.check(derived, |erased, rows| erased.report.remaining.compaction_cache += rows);
        }
        if chosen.vault {
            self.add_uploads(&mut effects);
        }
        if chosen.memory {
            let personal = Rows::held::<memory::Entity>(held).filter(memory::Column::InstitutionId.is_null());
            if !planted("bug.memories-missed") {
                effects.add(personal.clone().delete(), |erased, rows| erased.report.memories += rows);
            }
            effects.check(personal, |erased, rows| erased.report.remaining.memories += rows);
        }
        if chosen.assistants {
            let live = Rows::held::<assistants::Entity>(held).filter(live_assistants());
            let mark = [(assistants::Column::Status, Expr::val(DELETED)), (assistants::Column::DeletedAt, Expr::val(self.now))];
            effects.add(live.clone().update(mark), |erased, rows| erased.report.assistants += rows);
            effects.check(live, |erased, rows| erased.report.remaining.assistants += rows);
        }
        if chosen.feedback {
            let live = Rows::held::<feedback::Entity>(held).filter(feedback::Column::DeletedAt.is_null());
            let mark = live.clone().update([(feedback::Column::DeletedAt, Expr::val(self.now))]);
            effects.add(mark, |erased, rows| erased.report.feedback += rows);
            effects.check(live, |erased, rows| erased.report.remaining.feedback += rows);
        }
        if chosen.sessions {
            let all = Rows::held::<session::Entity>(held);
            effects.add(all.clone().delete(), |erased, rows| erased.report.sessions += rows);
            effects.check(all, |erased, rows| erased.report.remaining.sessions += rows);
        }
        effects
    }

    fn add_uploads(&self, effects: &mut Effects<Erased>) {
        let live = Rows::held::<uploads::Entity>(&self.held).filter(upload::personal_and_live());
        // Before this erasure begins with its own.
        effects.count(live.clone().filter(upload::being_removed()), |erased, rows| erased.uploads_of_others += rows);
        let (without_object, with_object) = (uploads::Column::HasContent.eq(false), uploads::Column::HasContent.eq(true));

        let embeddings = Rows::held::<upload_embedding::Entity>(&self.held);
        let derived = |from: Expr| finds(self.upload_of_embedding().filter(from).into_query());
        let of_live = uploads::Column::DeletedAt.is_null().and(without_object.clone());
        effects.add_untold(embeddings.clone().filter(derived(of_live)).delete());
        let of_deleted = embeddings.filter(derived(uploads::Column::DeletedAt.is_not_null()));
        effects.check(of_deleted, |erased, rows| erased.report.remaining.embeddings += rows);

        let to_mark = if planted("bug.marked-before-removal") { live.clone() } else { live.clone().filter(without_object) };
        let mark = [(uploads::Column::Status, Expr::val(DELETED)), (uploads::Column::DeletedAt, Expr::val(self.now))];
        effects.add_summing(to_mark.update(mark), uploads::Column::SizeBytes, |erased, rows, bytes| {
            erased.report.uploads += rows;
            erased.report.bytes = erased.report.bytes.saturating_add(bytes);
        });
        let begin = [
            (uploads::Column::RemovalSince, Expr::col(uploads::Column::RemovalSince).if_null(self.vault_at)),
            (uploads::Column::RemovalAttempts, Expr::col(uploads::Column::RemovalAttempts).if_null(0)),
            (uploads::Column::RemovalError, Expr::val(None::<String>)),
            (uploads::Column::RemovalNextAt, Expr::val(after_lease(self.now))),
        ];
        let to_remove = live.clone().filter(upload::free_to_remove()).filter(with_object);
        effects.add_summing(to_remove.update(begin), uploads::Column::SizeBytes, |erased, rows, bytes| {
            erased.uploads_to_remove += rows;
            erased.bytes_to_remove = erased.bytes_to_remove.saturating_add(bytes);
        });
        let kept = live.filter(uploads::Column::RemovalSince.is_null());
        effects.check(kept, |erased, rows| erased.report.remaining.uploads += rows);
    }

    /// The upload that an embedding is of, if it is personal.
    fn upload_of_embedding(&self) -> Select<uploads::Entity> {
        uploads::Entity::find()
            .select_only()
            .expr(zero())
            .filter(uploads::Column::SubjectId.eq(self.held.subject_id))
            .filter(
                Expr::col((uploads::Entity, uploads::Column::Id))
                    .eq(Expr::col((upload_embedding::Entity, upload_embedding::Column::UploadId))),
            )
            .filter(uploads::Column::InstitutionId.is_null())
    }
}

/// What the scope `dialogues` forgets.
pub(super) fn live_dialogues() -> Condition {
    Condition::all().add(conversation::personal()).add(conversations::Column::ForgottenAt.is_null())
}

/// What the scope `assistants` deletes.
pub(super) fn live_assistants() -> Condition {
    Condition::all().add(assistants::Column::InstitutionId.is_null()).add(assistants::Column::DeletedAt.is_null())
}

/// Of the subject's compaction cache, what is derived from personal conversations.
pub(super) fn of_dialogues(subject_id: Expr) -> Expr {
    let conversation = conversations::Entity::find()
        .select_only()
        .expr(zero())
        .filter(Expr::col((conversations::Entity, conversations::Column::SubjectId)).eq(subject_id))
        .filter(
            Expr::col((conversations::Entity, conversations::Column::Id))
                .eq(Expr::col((compaction_cache::Entity, compaction_cache::Column::ConversationId))),
        )
        .filter(conversation::personal());
    finds(conversation.into_query())
}

#[cfg(test)]
mod tests {
    use sea_orm::sea_query::Value;

    use super::*;
    use crate::{domain::scope::Chosen, repository::Held};

    fn statements(of: &Written<Erased>) -> Vec<(String, Vec<Value>)> {
        [&of.changes, &of.checks].map(|trip| trip.statement()).map(|(sql, values)| (sql.to_owned(), values.to_vec())).into()
    }

    #[test]
    fn what_is_written_for_the_stand_in_and_then_filled_is_what_would_be_written_for_the_erasure() {
        for (backend, keeps) in [DbBackend::Sqlite, DbBackend::Postgres].into_iter().flat_map(|backend| [(backend, false), (backend, true)])
        {
            for bits in 1..64 {
                let [dialogues, vault, memory, assistants, feedback, sessions] = std::array::from_fn(|bit| bits >> bit & 1 == 1);
                let scopes = Scopes::new(Chosen { dialogues, vault, memory, assistants, feedback, sessions }).unwrap();
                let erasure = Erasure { held: Held::of(7), now: 1_000_000_007, vault_at: 1_000_000_011 };
                let mut filled = statements(&written(scopes, backend, keeps));
                for value in filled.iter_mut().flat_map(|(_, values)| values) {
                    *value = erasure.fill(value);
                }
                let itself = statements(&erasure.effects(scopes).write(backend, keeps.then(some_response)));
                assert!(filled == itself, "{scopes:?} on {backend:?}");
            }
        }
    }
}
