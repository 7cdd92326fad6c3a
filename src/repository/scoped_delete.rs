//! Erasing scopes of a subject's personal data, in one transaction.

use sea_orm::{ColumnTrait, Condition, DatabaseTransaction, EntityTrait, QueryFilter, QuerySelect, QueryTrait, sea_query::Expr};

use super::{
    Error, Held, Repository, conversation,
    entity::{
        assistant as assistants, compaction_cache, conversation as conversations, feedback, memory, session, upload as uploads,
        upload_embedding,
    },
    subject::{delete_rows, lock_for_erasure},
    transaction::in_transaction,
};
use crate::domain::{record::DELETED, report::ScopesErased, scope::Scopes, subject::Subject};

impl Repository {
    /// Begins an erasure whose first step is outside of the database: raises the subject's epoch, so that exports which see some of that
    /// step end. `None` if nothing was ever held about the subject.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn begin_erasure(&self, subject: &Subject) -> Result<Option<Held>, Error> {
        in_transaction!(self, "begin_erasure", transaction => lock_for_erasure(transaction, subject).await)
    }

    /// Erases the scopes. Of the vault, marks the uploads in `removed`, whose objects are gone, and removes their embeddings.
    ///
    /// # Errors
    /// When the database does not answer; then nothing has changed.
    pub async fn erase_scopes(&self, subject: &Subject, scopes: Scopes, removed: &[String]) -> Result<ScopesErased, Error> {
        let report = in_transaction!(self, "erase_scopes", transaction => {
            let Some(held) = lock_for_erasure(transaction, subject).await? else { return Ok(None) };
            self.log_will_hold_erased();
            let erasure = Erasure { transaction, held, now: self.clock.now().0 };
            let chosen = scopes.chosen();
            let mut report = ScopesErased::default();
            if chosen.dialogues {
                report.dialogues = erasure.forget_dialogues().await?;
                report.compaction_cache = erasure.purge_compaction_cache().await?;
            }
            if chosen.vault {
                (report.uploads, report.bytes) = erasure.mark_uploads(removed).await?;
            }
            if chosen.memory {
                let personal = Condition::all().add(memory::Column::InstitutionId.is_null());
                report.memories = delete_rows::<memory::Entity, _>(transaction, &held, personal).await?;
            }
            if chosen.assistants {
                report.assistants = erasure.mark_assistants().await?;
            }
            if chosen.feedback {
                report.feedback = erasure.mark_feedback().await?;
            }
            if chosen.sessions {
                report.sessions = delete_rows::<session::Entity, _>(transaction, &held, Condition::all()).await?;
            }
            Ok(Some(report))
        })?;
        if report.is_some() {
            self.empty_log_of_erased().await;
        }
        Ok(report.unwrap_or_default())
    }
}

struct Erasure<'a> {
    transaction: &'a DatabaseTransaction,
    held: Held,
    now: i64,
}

impl Erasure<'_> {
    async fn forget_dialogues(&self) -> Result<u64, Error> {
        let forgotten = conversations::Entity::update_many()
            .col_expr(conversations::Column::ForgottenAt, Expr::val(self.now))
            .filter(conversations::Column::SubjectId.eq(self.held.subject_id))
            .filter(conversation::personal())
            .filter(conversations::Column::ForgottenAt.is_null())
            .exec(self.transaction)
            .await?;
        Ok(forgotten.rows_affected)
    }

    async fn purge_compaction_cache(&self) -> Result<u64, Error> {
        let personal = conversations::Entity::find()
            .select_only()
            .column(conversations::Column::Id)
            .filter(conversations::Column::SubjectId.eq(self.held.subject_id))
            .filter(conversation::personal())
            .into_query();
        let derived = Condition::all().add(compaction_cache::Column::ConversationId.in_subquery(personal));
        delete_rows::<compaction_cache::Entity, _>(self.transaction, &self.held, derived).await
    }

    /// How many uploads are now deleted, and the sum of their sizes.
    async fn mark_uploads(&self, removed: &[String]) -> Result<(u64, i64), Error> {
        let (mut count, mut bytes) = (0, 0);
        for ids in removed.chunks(1_000) {
            let embeddings = Condition::all().add(upload_embedding::Column::UploadId.is_in(ids.iter().map(String::as_str)));
            delete_rows::<upload_embedding::Entity, _>(self.transaction, &self.held, embeddings).await?;
            let marked = uploads::Entity::update_many()
                .col_expr(uploads::Column::Status, Expr::val(DELETED))
                .col_expr(uploads::Column::DeletedAt, Expr::val(self.now))
                .filter(uploads::Column::SubjectId.eq(self.held.subject_id))
                .filter(uploads::Column::Id.is_in(ids.iter().map(String::as_str)))
                .filter(uploads::Column::DeletedAt.is_null())
                .exec_with_returning(self.transaction)
                .await?;
            count += marked.len() as u64;
            bytes = marked.iter().fold(bytes, |sum: i64, row| sum.saturating_add(row.size_bytes));
        }
        Ok((count, bytes))
    }

    async fn mark_assistants(&self) -> Result<u64, Error> {
        let marked = assistants::Entity::update_many()
            .col_expr(assistants::Column::Status, Expr::val(DELETED))
            .col_expr(assistants::Column::DeletedAt, Expr::val(self.now))
            .filter(assistants::Column::SubjectId.eq(self.held.subject_id))
            .filter(assistants::Column::InstitutionId.is_null())
            .filter(assistants::Column::DeletedAt.is_null())
            .exec(self.transaction)
            .await?;
        Ok(marked.rows_affected)
    }

    async fn mark_feedback(&self) -> Result<u64, Error> {
        let marked = feedback::Entity::update_many()
            .col_expr(feedback::Column::DeletedAt, Expr::val(self.now))
            .filter(feedback::Column::SubjectId.eq(self.held.subject_id))
            .filter(feedback::Column::DeletedAt.is_null())
            .exec(self.transaction)
            .await?;
        Ok(marked.rows_affected)
    }
}
