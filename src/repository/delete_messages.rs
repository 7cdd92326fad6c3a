//! Deleting all messages of a subject, in one transaction; and what that would do.

use std::sync::Arc;

use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait, QueryFilter, QuerySelect, QueryTrait,
    sea_query::{Expr, ExprTrait, Func, SelectStatement},
};

use super::{
    Error, Held, Repository,
    accepted_request::{Accepted, keep_response, plan_changed},
    effects::{Effects, Rows, Written},
    entity::{assistant, compaction_cache, conversation, feedback, memory, message, session, subject as subjects, upload},
    erasure::{Erasure, Texts},
    query::{finds, zero},
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
            delete(transaction, &Erasure { held: locked.held, now, vault_at: now }, scrub, &mut report).await?;
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

async fn delete(transaction: &DatabaseTransaction, erasure: &Erasure, scrub: bool, report: &mut MessagesDeleted) -> Result<(), Error> {
    let backend = transaction.get_database_backend();
    let written = written(scrub, backend);
    written.before.take_place(transaction, erasure, report).await?;
    // By itself: among the effects, PostgreSQL would set a row aside for each message.
    let messages = delete_rows::<message::Entity>(&erasure.held);
    report.messages = if planted("bug.only-one-conversation") {
        let one = conversation::Entity::find().select_only().column(conversation::Column::Id).limit(1).into_query();
        messages.filter(message::Column::ConversationId.in_subquery(one)).exec(transaction).await?.rows_affected
    } else {
        messages.filter(Condition::all().add_option(all_in_order(backend))).exec(transaction).await?.rows_affected
    };
    if counts_before(backend) {
        report.remaining.messages = report.remaining.messages.abs_diff(report.messages);
    }
    written.after.take_place(transaction, erasure, report).await?;
    if scrub {
        no_text_remains(&report.residue)?;
    }
    nothing_remains(&report.remaining)
}

/// What happens around the deletion itself, written.
struct Around {
    before: Written<MessagesDeleted>,
    after: Written<MessagesDeleted>,
}

fn written(scrub: bool, backend: DbBackend) -> Arc<Around> {
    /// By whether texts go too, and whether it is for SQLite.
    static WRITTEN: Texts<(bool, bool), Around> = Texts::new();
    let stand_in = &Erasure::STAND_IN;
    let write = || Around {
        before: before(stand_in, scrub, backend).write(backend, None),
        after: after(&stand_in.held, scrub, backend).write(backend, None),
    };
    WRITTEN.of((scrub, backend == DbBackend::Sqlite), write)
}

/// PostgreSQL would look at each deleted row again to see that none is left, a tenth of the whole time. So what is there under the lock is
/// counted before, and must be what the deletion takes.
fn counts_before(backend: DbBackend) -> bool {
    backend == DbBackend::Postgres
}

/// All messages. But when PostgreSQL plans for any bound, one on the key's second column has it go by the key, in the order in which the rows
/// lie; else it takes the smaller index, and goes to and fro.
fn all_in_order(backend: DbBackend) -> Option<Expr> {
    counts_before(backend).then(|| message::Column::ConversationCreatedAt.lte(i64::MAX))
}

fn before(erasure: &Erasure, scrub: bool, backend: DbBackend) -> Effects<MessagesDeleted> {
    let held = &erasure.held;
    let mut effects = Effects::none();
    let kinds = [Some(subjects::Column::MessagesErasedAt), scrub.then_some(subjects::Column::TextsScrubbedAt)];
    effects.add_untold(note_erasures(held, kinds.into_iter().flatten().map(|kind| (kind, erasure.now))));
    // While the messages are still there: a probe per conversation finds who has any.
    let counted = Rows::held::<conversation::Entity>(held).filter(has_messages(Expr::val(held.subject_id)));
    let zero_counts = counted.update([(conversation::Column::MessageCount, Expr::val(0))]);
    effects.add(zero_counts, |report: &mut MessagesDeleted, rows| report.conversations += rows);
    let derived = Rows::held::<compaction_cache::Entity>(held);
    effects.add(derived.delete(), |report, rows| report.compaction_cache += rows);
    if let Some(in_order) = all_in_order(backend) {
        effects.count(Rows::held::<message::Entity>(held).filter(in_order), |report, rows| report.remaining.messages += rows);
    }
    effects
}

fn after(held: &Held, scrub: bool, backend: DbBackend) -> Effects<MessagesDeleted> {
    let mut effects: Effects<MessagesDeleted> = Effects::none();
    let titled = Rows::held::<conversation::Entity>(held).filter(conversation::Column::Title.is_not_null());
    let noted = Rows::held::<feedback::Entity>(held).filter(feedback::Column::Notes.is_not_null());
    if scrub {
        let titles = titled.clone().update([(conversation::Column::Title, Expr::val(None::<String>))]);
        effects.add(titles, |report, rows| report.titles_scrubbed += rows);
        if !planted("bug.notes-not-scrubbed") {
            let notes = noted.clone().update([(feedback::Column::Notes, Expr::val(None::<String>))]);
            effects.add(notes, |report, rows| report.notes_scrubbed += rows);
        }
    }
    if !counts_before(backend) {
        effects.check(Rows::held::<message::Entity>(held), |report, rows| report.remaining.messages += rows);
    }
    effects.check(Rows::held::<compaction_cache::Entity>(held), |report, rows| report.remaining.compaction_cache += rows);
    effects.check(titled, |report, rows| report.residue.titles += rows);
    effects.check(noted, |report, rows| report.residue.feedback_notes += rows);
    effects.check(Rows::held::<memory::Entity>(held), |report, rows| report.residue.memories += rows);
    effects.check(Rows::held::<upload::Entity>(held), |report, rows| report.residue.uploads += rows);
    effects.check(Rows::held::<assistant::Entity>(held), |report, rows| report.residue.assistants += rows);
    effects.check(Rows::held::<session::Entity>(held), |report, rows| report.residue.sessions += rows);
    effects
}

/// NULL if a conversation has no message. As the first of a range of the key, for then PostgreSQL goes by the key whatever it believes that
/// the table holds; where all is compared by `=`, it may gather all of the subject's messages, once or for each conversation.
fn first_message(of: Expr) -> SelectStatement {
    let conversation_id = Expr::col((conversation::Entity, conversation::Column::Id));
    message::Entity::find()
        .select_only()
        .expr(Func::min(Expr::col((message::Entity, message::Column::ConversationId))))
        .filter(Expr::col((message::Entity, message::Column::SubjectId)).eq(of))
        .filter(
            Expr::col((message::Entity, message::Column::ConversationCreatedAt))
                .eq(Expr::col((conversation::Entity, conversation::Column::CreatedAt))),
        )
        .filter(Expr::col((message::Entity, message::Column::ConversationId)).between(conversation_id.clone(), conversation_id))
        .into_query()
}

/// Conversations whose messages are counted, or that have any: `of` is their subject's number.
pub(super) fn has_messages(of: Expr) -> Condition {
    Condition::any().add(Expr::col(conversation::Column::MessageCount).ne(zero())).add(finds(first_message(of)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_for_the_stand_in_and_then_filled_is_what_would_be_written_for_the_erasure() {
        let erasure = Erasure { held: Held::of(7), now: 1_000_000_007, vault_at: 1_000_000_011 };
        for (backend, scrub) in [DbBackend::Sqlite, DbBackend::Postgres].into_iter().flat_map(|backend| [(backend, false), (backend, true)])
        {
            let Around { before: written_before, after: written_after } = &*written(scrub, backend);
            let itself = [before(&erasure, scrub, backend).write(backend, None), after(&erasure.held, scrub, backend).write(backend, None)];
            for (written, itself) in [written_before, written_after].into_iter().zip(&itself) {
                for (written, itself) in [(&written.changes, &itself.changes), (&written.checks, &itself.checks)] {
                    let (text, values) = written.statement();
                    let filled: Vec<_> = values.iter().map(|value| erasure.fill(value)).collect();
                    assert!((text, filled.as_slice()) == itself.statement(), "{scrub} on {backend:?}");
                }
            }
        }
    }
}
