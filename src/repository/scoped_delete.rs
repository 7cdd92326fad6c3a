//! Erasing scopes of a subject's personal data, in one transaction.

use sea_orm::{
    ColumnTrait, EntityTrait, QueryFilter, QuerySelect, QueryTrait,
    sea_query::{DeleteStatement, Expr, SelectStatement, UpdateStatement},
};

use super::{
    Error, Held, Repository, conversation,
    effects::Effects,
    entity::{
        assistant as assistants, compaction_cache, conversation as conversations, feedback, memory, session, upload as uploads,
        upload_embedding,
    },
    subject::{delete_rows, lock_for_small_erasures, raise_epoch, update_rows},
    transaction::{Tries, in_transaction},
    upload,
};
use crate::domain::{
    record::DELETED,
    report::{ScopesErased, UploadFailure},
    scope::Scopes,
    subject::Subject,
};

/// How many ids are named in one statement, at the most.
const IDS: usize = 512;

impl Repository {
    /// Begins an erasure whose first step is outside of the database: raises the subject's epoch, so that exports which see some of that
    /// step end.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn begin_erasure(&self, subject: &Subject) -> Result<(), Error> {
        // A statement that is a transaction by itself: a caller that leaves has it happen or not, and leaves nothing open.
        let mut tries = Tries::new("begin_erasure");
        loop {
            match raise_epoch(self.write(), subject).await {
                Err(Error::Conflict(reason)) if tries.again(&reason) => {}
                outcome => return outcome.map(drop),
            }
        }
    }

    /// Erases the scopes. Of the vault, marks the uploads in `removed`, whose objects are gone, and removes their embeddings. On SQLite the
    /// log is still to be emptied of what was erased.
    ///
    /// # Errors
    /// [`Error::ImportedMeanwhile`] when the vault holds personal uploads neither in `removed` nor in `failed`; others when the database does
    /// not answer. Then nothing has changed.
    pub async fn erase_scopes(
        &self,
        subject: &Subject,
        scopes: Scopes,
        removed: &[String],
        failed: &[UploadFailure],
    ) -> Result<ScopesErased, Error> {
        let report = in_transaction!(self, "erase_scopes", transaction => {
            // By itself: PostgreSQL decides before it waits for the lock which rows a statement sees.
            let Some(held) = lock_for_small_erasures(transaction, subject).await? else { return Ok(None) };
            self.log_will_hold_erased();
            let mut erased = Erased::default();
            let erasure = Erasure { held, now: self.clock.now().0 };
            erasure.effects(scopes, removed, failed).take_place(transaction, &mut erased).await?;
            // To go on would erase the memories of an import and leave its upload: it would be neither before the erasure nor after it.
            if erased.uploads_unseen != 0 {
                return Err(Error::ImportedMeanwhile);
            }
            Ok(Some(erased.report))
        })?;
        Ok(report.unwrap_or_default())
    }
}

#[derive(Default)]
struct Erased {
    report: ScopesErased,
    /// How many uploads the removal of objects knew nothing of.
    uploads_unseen: i64,
}

struct Erasure {
    held: Held,
    now: i64,
}

impl Erasure {
    fn effects(&self, scopes: Scopes, removed: &[String], failed: &[UploadFailure]) -> Effects<Erased> {
        let mut effects: Effects<Erased> = Effects::none();
        let chosen = scopes.chosen();
        if chosen.dialogues {
            effects.add(self.forget_dialogues(), |erased, rows| erased.report.dialogues += rows);
            effects.add(self.purge_compaction_cache(), |erased, rows| erased.report.compaction_cache += rows);
        }
        if chosen.vault {
            // Before any is marked.
            effects.count(self.personal_uploads(), |erased, rows| erased.uploads_unseen += rows as i64);
            let seen: Vec<&str> = removed.iter().chain(failed.iter().map(|failure| &failure.upload_id)).map(String::as_str).collect();
            for ids in seen.chunks(IDS) {
                let seen = self.personal_uploads().and_where(uploads::Column::Id.is_in(in_few_lengths(ids))).to_owned();
                effects.count(seen, |erased, rows| erased.uploads_unseen -= rows as i64);
            }
            for ids in removed.chunks(IDS) {
                effects.add(self.delete_embeddings(ids), |_, _| {});
                effects.add_each(self.mark_uploads(ids), uploads::Column::SizeBytes, |erased, size| {
                    erased.report.uploads += 1;
                    erased.report.bytes = erased.report.bytes.saturating_add(size);
                });
            }
        }
        if chosen.memory {
            let personal = delete_rows::<memory::Entity>(&self.held).filter(memory::Column::InstitutionId.is_null());
            effects.add(personal.into_query(), |erased, rows| erased.report.memories += rows);
        }
        if chosen.assistants {
            effects.add(self.mark_assistants(), |erased, rows| erased.report.assistants += rows);
        }
        if chosen.feedback {
            effects.add(self.mark_feedback(), |erased, rows| erased.report.feedback += rows);
        }
        if chosen.sessions {
            effects.add(delete_rows::<session::Entity>(&self.held).into_query(), |erased, rows| erased.report.sessions += rows);
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

    fn personal_uploads(&self) -> SelectStatement {
        let of_subject =
            uploads::Entity::find().select_only().expr(Expr::val(1)).filter(uploads::Column::SubjectId.eq(self.held.subject_id));
        of_subject.filter(upload::personal_and_live()).into_query()
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
fn in_few_lengths<T: AsRef<str>>(ids: &[T]) -> impl Iterator<Item = &str> {
    let length = ids.len().next_power_of_two();
    ids.iter().chain(ids.last().into_iter().cycle()).take(length).map(AsRef::as_ref)
}
