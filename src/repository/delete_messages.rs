//! Deleting all messages of a subject, in one transaction.

use sea_orm::{
    ColumnTrait, Condition, EntityTrait, QueryFilter, QuerySelect, QueryTrait,
    sea_query::{Expr, ExprTrait},
};

use super::{
    Error, Repository,
    effects::Effects,
    entity::{compaction_cache, conversation, message},
    subject::{delete_rows, lock_for_erasure, update_rows},
    transaction::in_transaction,
};
use crate::domain::{report::MessagesDeleted, subject::Subject};

impl Repository {
    /// Deletes all messages of the subject, and the compaction cache derived from them; sets the message counts to 0.
    ///
    /// # Errors
    /// When the database does not answer; then nothing has changed.
    pub async fn delete_messages(&self, subject: &Subject) -> Result<MessagesDeleted, Error> {
        let report = in_transaction!(self, "delete_messages", transaction => {
            let Some(held) = lock_for_erasure(transaction, subject).await? else { return Ok(None) };
            self.log_will_hold_erased();
            // While the messages are still there: a probe per conversation finds who has any.
            let own_message = message::Entity::find()
                .select_only()
                .expr(Expr::val(1))
                .filter(message::Column::SubjectId.eq(held.subject_id))
                .filter(
                    Expr::col((message::Entity, message::Column::ConversationCreatedAt))
                        .eq(Expr::col((conversation::Entity, conversation::Column::CreatedAt))),
                )
                .filter(
                    Expr::col((message::Entity, message::Column::ConversationId))
                        .eq(Expr::col((conversation::Entity, conversation::Column::Id))),
                )
                .into_query();
            let counted = update_rows::<conversation::Entity>(&held)
                .col_expr(conversation::Column::MessageCount, Expr::val(0))
                .filter(Condition::any().add(conversation::Column::MessageCount.ne(0)).add(Expr::exists(own_message)));
            let mut report = MessagesDeleted::default();
            let mut effects = Effects::none();
            effects.add(counted.into_query(), |report: &mut MessagesDeleted, rows| report.conversations += rows);
            effects.add(delete_rows::<compaction_cache::Entity>(&held).into_query(), |report, rows| report.compaction_cache += rows);
            effects.take_place(transaction, &mut report).await?;
            // By itself: among the effects, PostgreSQL would set a row aside for each message.
            report.messages = delete_rows::<message::Entity>(&held).exec(transaction).await?.rows_affected;
            Ok(Some(report))
        })?;
        if report.is_some() {
            self.empty_log_of_erased().await;
        }
        Ok(report.unwrap_or_default())
    }
}
