//! Erasing scopes of a subject's personal data, in one transaction.

use sea_orm::{
    ColumnTrait, Condition, EntityTrait, QueryFilter, QuerySelect, QueryTrait,
    sea_query::{DeleteStatement, Expr, ExprTrait, UpdateStatement},
};

use super::{
    Error, Held, Repository, conversation,
    effects::Effects,
    entity::{
        assistant as assistants, compaction_cache, conversation as conversations, feedback, memory, session, subject as subjects,
        upload as uploads, upload_embedding,
    },
    subject::{delete_rows, lock_for_erasure, raise_epoch, update_rows},
    transaction::{Tries, in_transaction},
    upload,
};
use crate::domain::{record::DELETED, report::ScopesErased, scope::Scopes, subject::Subject};

/// How many ids are named in one statement, at the most.
const IDS: usize = 512;

impl Repository {
    /// Begins an erasure whose first step is outside of the database: raises the subject's epoch, so that exports which see some of that
    /// step end. `None` if the subject holds no upload that the step is about.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn begin_erasing_uploads(&self, subject: &Subject) -> Result<Option<Held>, Error> {
        let own = Expr::col((uploads::Entity, uploads::Column::SubjectId)).eq(Expr::col((subjects::Entity, subjects::Column::Id)));
        let live = uploads::Entity::find().select_only().expr(Expr::val(1)).filter(own).filter(upload::personal_and_live()).into_query();
        let holds_some = Condition::all().add(Expr::exists(live));
        // A statement that is a transaction by itself: a caller that leaves has it happen or not, and leaves nothing open.
        let mut tries = Tries::new("begin_erasing_uploads");
        loop {
            match raise_epoch(self.write(), subject, holds_some.clone()).await {
                Err(Error::Conflict(reason)) if tries.again(&reason) => {}
                outcome => return outcome,
            }
        }
    }

    /// Erases the scopes. Of the vault, marks the uploads in `removed`, whose objects are gone, and removes their embeddings.
    ///
    /// # Errors
    /// When the database does not answer; then nothing has changed.
    pub async fn erase_scopes(&self, subject: &Subject, scopes: Scopes, removed: &[String]) -> Result<ScopesErased, Error> {
        let report = in_transaction!(self, "erase_scopes", transaction => {
            // By itself: PostgreSQL decides before it waits for the lock which rows a statement sees.
            let Some(held) = lock_for_erasure(transaction, subject).await? else { return Ok(None) };
            self.log_will_hold_erased();
            let mut report = ScopesErased::default();
            let erasure = Erasure { held, now: self.clock.now().0 };
            erasure.effects(scopes, removed).take_place(transaction, &mut report).await?;
            Ok(Some(report))
        })?;
        if report.is_some() {
            self.empty_log_of_erased().await;
        }
        Ok(report.unwrap_or_default())
    }
}

struct Erasure {
    held: Held,
    now: i64,
}

impl Erasure {
    fn effects(&self, scopes: Scopes, removed: &[String]) -> Effects<ScopesErased> {
        let mut effects: Effects<ScopesErased> = Effects::none();
        let chosen = scopes.chosen();
        if chosen.dialogues {
            effects.add(self.forget_dialogues(), |report, rows| report.dialogues += rows);
            effects.add(self.purge_compaction_cache(), |report, rows| report.compaction_cache += rows);
        }
        if chosen.vault {
            for ids in removed.chunks(IDS) {
                effects.add(self.delete_embeddings(ids), |_, _| {});
                effects.add_each(self.mark_uploads(ids), uploads::Column::SizeBytes, |report, size| {
                    report.uploads += 1;
                    report.bytes = report.bytes.saturating_add(size);
                });
            }
        }
        if chosen.memory {
            let personal = delete_rows::<memory::Entity>(&self.held).filter(memory::Column::InstitutionId.is_null());
            effects.add(personal.into_query(), |report, rows| report.memories += rows);
        }
        if chosen.assistants {
            effects.add(self.mark_assistants(), |report, rows| report.assistants += rows);
        }
        if chosen.feedback {
            effects.add(self.mark_feedback(), |report, rows| report.feedback += rows);
        }
        if chosen.sessions {
            effects.add(delete_rows::<session::Entity>(&self.held).into_query(), |report, rows| report.sessions += rows);
        }
        effects
    }

    fn forget_dialogues(&self) -> UpdateStatement {
        update_rows::<conversations::Entity>(&self.held)
            .col_expr(conversations::Column::ForgottenAt, Expr::val(self.now))
            .filter(conversation::personal())
            .filter(conversations::Column::ForgottenAt.is_null())
            .into_query()
    }

    fn purge_compaction_cache(&self) -> DeleteStatement {
        let personal = conversations::Entity::find()
            .select_only()
            .column(conversations::Column::Id)
            .filter(conversations::Column::SubjectId.eq(self.held.subject_id))
            .filter(conversation::personal())
            .into_query();
        let derived = compaction_cache::Column::ConversationId.in_subquery(personal);
        delete_rows::<compaction_cache::Entity>(&self.held).filter(derived).into_query()
    }

    fn delete_embeddings(&self, of: &[String]) -> DeleteStatement {
        let derived = upload_embedding::Column::UploadId.is_in(in_few_lengths(of));
        delete_rows::<upload_embedding::Entity>(&self.held).filter(derived).into_query()
    }

    fn mark_uploads(&self, ids: &[String]) -> UpdateStatement {
        update_rows::<uploads::Entity>(&self.held)
            .col_expr(uploads::Column::Status, Expr::val(DELETED))
            .col_expr(uploads::Column::DeletedAt, Expr::val(self.now))
            .filter(uploads::Column::Id.is_in(in_few_lengths(ids)))
            .filter(uploads::Column::DeletedAt.is_null())
            .into_query()
    }

    fn mark_assistants(&self) -> UpdateStatement {
        update_rows::<assistants::Entity>(&self.held)
            .col_expr(assistants::Column::Status, Expr::val(DELETED))
            .col_expr(assistants::Column::DeletedAt, Expr::val(self.now))
            .filter(assistants::Column::InstitutionId.is_null())
            .filter(assistants::Column::DeletedAt.is_null())
            .into_query()
    }

    fn mark_feedback(&self) -> UpdateStatement {
        update_rows::<feedback::Entity>(&self.held)
            .col_expr(feedback::Column::DeletedAt, Expr::val(self.now))
            .filter(feedback::Column::DeletedAt.is_null())
            .into_query()
    }
}

/// The ids, the last of them repeated: statements are kept prepared, and there is one for each number of ids that they name.
fn in_few_lengths(ids: &[String]) -> impl Iterator<Item = &str> {
    let length = ids.len().next_power_of_two();
    ids.iter().chain(ids.last().into_iter().cycle()).take(length).map(String::as_str)
}
