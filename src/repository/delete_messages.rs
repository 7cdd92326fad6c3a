//! Deleting all messages of a subject, in one transaction.

use sea_orm::{
    ColumnTrait, Condition, EntityTrait, QueryFilter, QuerySelect, QueryTrait,
    sea_query::{Expr, ExprTrait},
};

use super::{
    Error, Repository,
    entity::{compaction_cache, conversation, message},
    subject::{delete_rows, lock_for_erasure},
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
            let conversations = conversation::Entity::update_many()
                .col_expr(conversation::Column::MessageCount, Expr::val(0))
                .filter(conversation::Column::SubjectId.eq(held.subject_id))
                .filter(Condition::any().add(conversation::Column::MessageCount.ne(0)).add(Expr::exists(own_message)))
                .exec(transaction)
                .await?
                .rows_affected;
            let messages = delete_rows::<message::Entity, _>(transaction, &held, Condition::all()).await?;
            let compaction_cache = delete_rows::<compaction_cache::Entity, _>(transaction, &held, Condition::all()).await?;
            Ok(Some(MessagesDeleted { messages, conversations, compaction_cache }))
        })?;
        if report.is_some() {
            self.empty_log_of_erased().await;
        }
        Ok(report.unwrap_or_default())
    }
}
