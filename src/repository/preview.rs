//! What an erasure would do, counted by the conditions by which it erases.

use std::ops::ControlFlow;

use sea_orm::{
    ColumnTrait, Condition, EntityTrait, QueryFilter, QuerySelect, QueryTrait, Select,
    sea_query::{Alias, Asterisk, Expr, ExprTrait, Func, SelectStatement},
};

use super::{
    Error,
    delete_messages::has_messages,
    entity::{assistant, compaction_cache, conversation, feedback, memory, message, session, subject, upload},
    query::{Query, text, zero},
    reader::Reading,
    scoped_delete::{live_assistants, live_dialogues, of_dialogues},
    subject::{find, id_of_named, names},
    upload::{free_to_remove, personal_and_live},
};
use crate::domain::{
    erasure::PlanDigest,
    report::{MessagesDeleted, Preview, Residue, ScopesErased},
    scope::Scopes,
    subject::Subject,
};

static MESSAGES: Query = Query::new(|_| {
    let size = Func::cust("LENGTH").arg(Expr::col(message::Column::Body));
    let bytes = of_subject::<message::Entity>().expr(Func::sum(size)).into_query();
    of_named([
        count::<message::Entity>(Condition::all()),
        Func::coalesce([subquery(bytes), zero()]).into(),
        count::<conversation::Entity>(has_messages(own_id())),
        count::<compaction_cache::Entity>(Condition::all()),
        count::<conversation::Entity>(Condition::all().add(conversation::Column::Title.is_not_null())),
        count::<feedback::Entity>(Condition::all().add(feedback::Column::Notes.is_not_null())),
        count::<memory::Entity>(Condition::all()),
        count::<upload::Entity>(Condition::all()),
        count::<assistant::Entity>(Condition::all()),
        count::<session::Entity>(Condition::all()),
    ])
});

static SCOPES: Query = Query::new(|_| {
    of_named([
        count::<conversation::Entity>(live_dialogues()),
        count::<compaction_cache::Entity>(Condition::all().add(of_dialogues(own_id()))),
        count::<upload::Entity>(personal_and_live().add(free_to_remove())),
        count::<memory::Entity>(Condition::all().add(memory::Column::InstitutionId.is_null())),
        count::<assistant::Entity>(live_assistants()),
        count::<feedback::Entity>(Condition::all().add(feedback::Column::DeletedAt.is_null())),
        count::<session::Entity>(Condition::all()),
    ])
});

static SIZES: Query = Query::new(|_| {
    let of_named = upload::Entity::find().filter(Expr::col(upload::Column::SubjectId).eq(id_of_named()));
    of_named.filter(personal_and_live()).filter(free_to_remove()).select_only().column(upload::Column::SizeBytes).into_query()
});

/// The revision of the subject that is named, and numbers about it.
fn of_named<const N: usize>(numbers: [Expr; N]) -> SelectStatement {
    let mut select = find(text(), text()).select_only().column(subject::Column::Revision);
    for number in numbers {
        select = select.expr(number.cast_as(Alias::new("bigint")));
    }
    select.into_query()
}

fn own_id() -> Expr {
    Expr::col((subject::Entity, subject::Column::Id))
}

fn of_subject<E: EntityTrait>() -> Select<E> {
    E::find().select_only().filter(Expr::col((E::default(), Alias::new("subject_id"))).eq(own_id()))
}

fn count<E: EntityTrait>(condition: Condition) -> Expr {
    subquery(of_subject::<E>().expr(Func::count(Expr::col(Asterisk))).filter(condition).into_query())
}

fn subquery(select: SelectStatement) -> Expr {
    Expr::SubQuery(None, Box::new(select.into()))
}

impl Reading {
    /// What deleting the subject's messages would do, with the texts that were made of them or without.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn preview_of_messages(&mut self, subject: &Subject, scrub: bool) -> Result<Preview<MessagesDeleted>, Error> {
        let names = names(subject);
        let counted = self.one(&MESSAGES, &names, |row| {
            let number = |column| row.get::<i64>(column).map(i64::unsigned_abs);
            let (titles, notes) = (number(5)?, number(6)?);
            let report = MessagesDeleted {
                messages: number(1)?,
                conversations: number(3)?,
                compaction_cache: number(4)?,
                titles_scrubbed: if scrub { titles } else { 0 },
                notes_scrubbed: if scrub { notes } else { 0 },
                residue: Residue {
                    titles: if scrub { 0 } else { titles },
                    feedback_notes: if scrub { 0 } else { notes },
                    memories: number(7)?,
                    uploads: number(8)?,
                    assistants: number(9)?,
                    sessions: number(10)?,
                },
                ..Default::default()
            };
            Ok((row.get(0)?, row.get(2)?, report))
        });
        let (revision, message_bytes, report) = counted.await?.unwrap_or_default();
        Ok(Preview { report, message_bytes, plan: PlanDigest::of_messages(subject, scrub, revision, &report) })
    }

    /// What erasing the scopes would do.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn preview_of_scopes(&mut self, subject: &Subject, scopes: Scopes) -> Result<Preview<ScopesErased>, Error> {
        let chosen = scopes.chosen();
        let names = names(subject);
        let counted = self.one(&SCOPES, &names, |row| {
            let number = |column, chosen: bool| if chosen { row.get::<i64>(column).map(i64::unsigned_abs) } else { Ok(0) };
            let report = ScopesErased {
                dialogues: number(1, chosen.dialogues)?,
                compaction_cache: number(2, chosen.dialogues)?,
                uploads: number(3, chosen.vault)?,
                memories: number(4, chosen.memory)?,
                assistants: number(5, chosen.assistants)?,
                feedback: number(6, chosen.feedback)?,
                sessions: number(7, chosen.sessions)?,
                ..Default::default()
            };
            Ok((row.get(0)?, report))
        });
        let (revision, mut report) = counted.await?.unwrap_or_default();
        if chosen.vault {
            // One by one: the sum of what callers call sizes may be more than an engine can count.
            let add = |row: super::row::Row<'_>| {
                report.bytes = report.bytes.saturating_add(row.get(0)?);
                Ok(ControlFlow::Continue(()))
            };
            self.rows(&SIZES, &names, add).await?;
        }
        let plan = PlanDigest::of_scopes(subject, scopes, revision, &report);
        Ok(Preview { report, message_bytes: 0, plan })
    }
}
