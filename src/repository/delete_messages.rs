//! Deleting all messages of a subject, in one transaction; and what that would do.

use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait, QueryFilter, QuerySelect, QueryTrait,
    sea_query::{Expr, ExprTrait, SelectStatement},
};

use super::{
    Error, Held, Repository,
    accepted_request::{Accepted, keep_response, plan_changed},
    effects::{Effects, Rows},
    entity::{assistant, compaction_cache, conversation, feedback, memory, message, session, subject as subjects, upload},
    query::zero,
    subject::{delete_rows, note_erasures},
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
            let locked = self.lock(transaction, subject, once).await?;
            let now = self.clock.now().0;
            let mut report = MessagesDeleted::default();
            self.log_will_hold_erased();
            delete(transaction, &locked.held, scrub, now, &mut report).await?;
            crash_at("erasure.after_effects");
            let plan = || PlanDigest::of_messages(subject, scrub, locked.revision, &report);
            if terms.plan.as_ref().is_some_and(|expected| *expected != plan()) && !planted("bug.plan-not-compared") {
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
    effects.add_untold(note_erasures(held, &kinds, now));
    // While the messages are still there: a probe per conversation finds who has any.
    let counted = Rows::held::<conversation::Entity>(held).filter(has_messages(Expr::val(held.subject_id)));
    effects.add(counted.update([(conversation::Column::MessageCount, Expr::val(0))]), |report, rows| report.conversations += rows);
    let derived = Rows::held::<compaction_cache::Entity>(held);
    effects.add(derived.clone().delete(), |report, rows| report.compaction_cache += rows);
    // PostgreSQL would look at each deleted row again to see that none is left, a tenth of the whole time. So what is there under the lock
    // is counted before, and must be what the deletion takes.
    let counts_before = transaction.get_database_backend() == DbBackend::Postgres;
    // All of them. But when PostgreSQL plans for any bound, one on the key's second column has it go by the key, in the order in which the
    // rows lie; else it takes the smaller index, and goes to and fro.
    let in_order = counts_before.then(|| message::Column::ConversationCreatedAt.lte(i64::MAX));
    if let Some(in_order) = in_order.clone() {
        effects.count(Rows::held::<message::Entity>(held).filter(in_order), |report, rows| report.remaining.messages += rows);
    }
    effects.take_place(transaction, report).await?;

    // By itself: among the effects, PostgreSQL would set a row aside for each message.
    report.messages = if planted("bug.only-one-conversation") {
        let one = conversation::Entity::find().select_only().column(conversation::Column::Id).limit(1).into_query();
        let first = delete_rows::<message::Entity>(held).filter(message::Column::ConversationId.in_subquery(one));
        first.exec(transaction).await?.rows_affected
    } else {
        delete_rows::<message::Entity>(held).filter(Condition::all().add_option(in_order)).exec(transaction).await?.rows_affected
    };
    if counts_before {
        report.remaining.messages = report.remaining.messages.abs_diff(report.messages);
    }

    let mut texts: Effects<MessagesDeleted> = Effects::none();
    let titled = Rows::held::<conversation::Entity>(held).filter(conversation::Column::Title.is_not_null());
    let noted = Rows::held::<feedback::Entity>(held).filter(feedback::Column::Notes.is_not_null());
    if scrub {
        let titles = titled.clone().update([(conversation::Column::Title, Expr::val(None::<String>))]);
        texts.add(titles, |report, rows| report.titles_scrubbed += rows);
        if !planted("bug.notes-not-scrubbed") {
            let notes = noted.clone().update([(feedback::Column::Notes, Expr::val(None::<String>))]);
            texts.add(notes, |report, rows| report.notes_scrubbed += rows);
        }
    }
    if !counts_before {
        texts.check(Rows::held::<message::Entity>(held), |report, rows| report.remaining.messages += rows);
    }
    texts.check(derived, |report, rows| report.remaining.compaction_cache += rows);
    texts.check(titled, |report, rows| report.residue.titles += rows);
    texts.check(noted, |report, rows| report.residue.feedback_notes += rows);
    texts.check(Rows::held::<memory::Entity>(held), |report, rows| report.residue.memories += rows);
    texts.check(Rows::held::<upload::Entity>(held), |report, rows| report.residue.uploads += rows);
    texts.check(Rows::held::<assistant::Entity>(held), |report, rows| report.residue.assistants += rows);
    texts.check(Rows::held::<session::Entity>(held), |report, rows| report.residue.sessions += rows);
    texts.take_place(transaction, report).await?;
    if scrub {
        no_text_remains(&report.residue)?;
    }
    nothing_remains(&report.remaining)
}

/// Whether a conversation has a message.
fn own_message(of: Expr) -> SelectStatement {
    let conversation_id = Expr::col((conversation::Entity, conversation::Column::Id));
    message::Entity::find()
        .select_only()
        .expr(zero())
        .filter(Expr::col((message::Entity, message::Column::SubjectId)).eq(of))
        .filter(
            Expr::col((message::Entity, message::Column::ConversationCreatedAt))
                .eq(Expr::col((conversation::Entity, conversation::Column::CreatedAt))),
        )
        // Where both are compared by `=`, PostgreSQL may first gather those of all messages.
        .filter(Expr::col((message::Entity, message::Column::ConversationId)).between(conversation_id.clone(), conversation_id))
        .into_query()
}

/// Conversations whose messages are counted, or that have any: `of` is their subject's number.
pub(super) fn has_messages(of: Expr) -> Condition {
    let exists = Expr::exists(own_message(of));
    Condition::any().add(Expr::col(conversation::Column::MessageCount).ne(zero())).add(exists)
}
