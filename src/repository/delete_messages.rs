//! Deleting all messages of a subject, in one transaction; and what that would do.

use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait, QueryFilter, QuerySelect, QueryTrait,
    sea_query::{Expr, ExprTrait, SelectStatement},
};

use super::{
    Error, Held, Repository,
    accepted_request::{Accepted, keep_response, plan_changed},
    effects::Effects,
    entity::{assistant, compaction_cache, conversation, feedback, memory, message, session, subject as subjects, upload},
    query::zero,
    subject::{delete_rows, note_erasures, rows, update_rows},
    transaction::in_transaction,
    verification::{no_text_remains, nothing_remains},
};
use crate::{
    domain::{
        erasure::{PlanDigest, Terms},
        report::MessagesDeleted,
        subject::Subject,
    },
    fault::{crash_at, planted},
};

impl Repository {
    /// Deletes all messages of the subject, and the compaction cache derived from them; sets the message counts to 0. With `scrub` the titles
    /// and notes go too. What was deleted is looked for again before it is committed.
    ///
    /// # Errors
    /// [`Error::RequestIdReused`] and [`Error::PlanChanged`] when the terms are not met, [`Error::Remained`] when something is still there;
    /// others when the database does not answer. Then nothing has changed, save after [`Error::CommitUnknown`].
    pub async fn delete_messages(&self, subject: &Subject, scrub: bool, terms: &Terms) -> Result<Accepted<MessagesDeleted>, Error> {
        let once = terms.once.as_ref();
        let before = async || Ok::<_, Error>(self.accepted_before(subject, once).await?.map(|kept| Accepted::Before(kept.report)));
        let report = in_transaction!(self, subject, "delete_messages", once.is_some(), before().await?, transaction => {
            let locked = self.lock_for_erasure(transaction, subject, once).await?;
            let now = self.clock.now().0;
            let mut report = MessagesDeleted::default();
            self.log_will_hold_erased();
            delete(transaction, &locked.held, scrub, now, &mut report).await?;
            crash_at("erasure.after_effects");
            let plan = PlanDigest::of_messages(subject, scrub, locked.revision, &report);
            if terms.plan.as_ref().is_some_and(|expected| *expected != plan) && !planted("bug.plan-not-compared") {
                return Err(plan_changed(transaction, subject, once).await);
            }
            if let Some(response) = keep_response(subject, once, &report, true, now) {
                transaction.execute(&response).await?;
            }
            crash_at("erasure.before_commit");
            Ok(Accepted::Now(report))
        })?;
        crash_at("erasure.after_commit");
        if matches!(report, Accepted::Now(_)) {
            self.empty_log_of_erased().await;
        }
        Ok(report)
    }
}

async fn delete(transaction: &DatabaseTransaction, held: &Held, scrub: bool, now: i64, report: &mut MessagesDeleted) -> Result<(), Error> {
    let mut effects: Effects<MessagesDeleted> = Effects::none();
    let mut kinds = vec![subjects::Column::MessagesErasedAt];
    kinds.extend(scrub.then_some(subjects::Column::TextsScrubbedAt));
    effects.add(note_erasures(held, &kinds, now), |_, _| {});
    // While the messages are still there: a probe per conversation finds who has any.
    let counted = update_rows::<conversation::Entity>(held)
        .col_expr(conversation::Column::MessageCount, Expr::val(0))
        .filter(has_messages(Expr::val(held.subject_id)));
    effects.add(counted.into_query(), |report, rows| report.conversations += rows);
    effects.add(delete_rows::<compaction_cache::Entity>(held).into_query(), |report, rows| report.compaction_cache += rows);
    // PostgreSQL would look at each deleted row again to see that none is left, a tenth of the whole time. So what is there under the lock
    // is counted before, and must be what the deletion takes.
    let counts_before = transaction.get_database_backend() == DbBackend::Postgres;
    if counts_before {
        effects.add(rows::<message::Entity>(held), |report, rows| report.remaining.messages += rows);
    }
    effects.take_place(transaction, report).await?;

    // By itself: among the effects, PostgreSQL would set a row aside for each message.
    report.messages = if planted("bug.only-one-conversation") {
        let one = conversation::Entity::find().select_only().column(conversation::Column::Id).limit(1).into_query();
        let first = delete_rows::<message::Entity>(held).filter(message::Column::ConversationId.in_subquery(one));
        first.exec(transaction).await?.rows_affected
    } else {
        delete_rows::<message::Entity>(held).exec(transaction).await?.rows_affected
    };
    if counts_before {
        report.remaining.messages = report.remaining.messages.abs_diff(report.messages);
    }

    let mut texts: Effects<MessagesDeleted> = Effects::none();
    if scrub {
        let titles = update_rows::<conversation::Entity>(held).col_expr(conversation::Column::Title, Expr::val(None::<String>));
        texts.add(titles.filter(conversation::Column::Title.is_not_null()).into_query(), |report, rows| report.titles_scrubbed += rows);
        let notes = update_rows::<feedback::Entity>(held).col_expr(feedback::Column::Notes, Expr::val(None::<String>));
        if !planted("bug.notes-not-scrubbed") {
            texts.add(notes.filter(feedback::Column::Notes.is_not_null()).into_query(), |report, rows| report.notes_scrubbed += rows);
        }
    }
    if !counts_before {
        texts.check(rows::<message::Entity>(held).limit(1).to_owned(), |report, rows| report.remaining.messages += rows);
    }
    texts.check(rows::<compaction_cache::Entity>(held), |report, rows| report.remaining.compaction_cache += rows);
    let titled = rows::<conversation::Entity>(held).and_where(conversation::Column::Title.is_not_null()).to_owned();
    texts.check(titled, |report, rows| report.residue.titles += rows);
    let noted = rows::<feedback::Entity>(held).and_where(feedback::Column::Notes.is_not_null()).to_owned();
    texts.check(noted, |report, rows| report.residue.feedback_notes += rows);
    texts.check(rows::<memory::Entity>(held), |report, rows| report.residue.memories += rows);
    texts.check(rows::<upload::Entity>(held), |report, rows| report.residue.uploads += rows);
    texts.check(rows::<assistant::Entity>(held), |report, rows| report.residue.assistants += rows);
    texts.check(rows::<session::Entity>(held), |report, rows| report.residue.sessions += rows);
    texts.take_place(transaction, report).await?;
    if scrub {
        no_text_remains(&report.residue)?;
    }
    nothing_remains(&report.remaining)
}

/// Whether a conversation has a message.
fn own_message(of: Expr) -> SelectStatement {
    message::Entity::find()
        .select_only()
        .expr(zero())
        .filter(Expr::col((message::Entity, message::Column::SubjectId)).eq(of))
        .filter(
            Expr::col((message::Entity, message::Column::ConversationCreatedAt))
                .eq(Expr::col((conversation::Entity, conversation::Column::CreatedAt))),
        )
        .filter(
            Expr::col((message::Entity, message::Column::ConversationId)).eq(Expr::col((conversation::Entity, conversation::Column::Id))),
        )
        .into_query()
}

/// Conversations whose messages are counted, or that have any: `of` is their subject's number.
pub(super) fn has_messages(of: Expr) -> Condition {
    let exists = Expr::exists(own_message(of));
    Condition::any().add(Expr::col(conversation::Column::MessageCount).ne(zero())).add(exists)
}
