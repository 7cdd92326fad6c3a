//! Importing one request: its records upserted by id, in one transaction, under the subject's lock. What cannot be taken is rejected alone.
//!
//! An import neither brings back nor erases: a record that is held is only accepted if both bear the mark of a forgotten or soft-deleted
//! one, or neither does.

mod assistants;
mod held;
mod late;
mod uploads;

use std::collections::{HashMap, HashSet};

use sea_orm::{ColumnTrait, DatabaseTransaction, EntityTrait, ExprTrait, QueryFilter, sea_query::Expr};

use self::late::{LATE, LATE_TEXT, Observed};
use super::{
    Error, Held, Repository, compaction_cache,
    entity::{
        compaction_cache as cache, conversation as conversations, feedback as feedback_rows, memory as memories, message as messages,
        session as sessions, subject as subjects,
    },
    feedback, memory, message, session,
    transaction::in_transaction,
    upsert::{by_id, latest_by_id, upsert},
};
use crate::{
    domain::{
        category::Category,
        import::{At, ConversationElement, ImportBatch},
        record::{Conversation, Feedback, Memory, RecordKey, Session},
        report::Imported,
        subject::Subject,
        timestamp::Timestamp,
        violation::{Complaint, FieldViolation},
    },
    fault::crash_at,
};

const ERASED: Complaint = Complaint::Rule("names a record that the user had deleted; an import does not bring it back");
const FORGOTTEN: Complaint = Complaint::Rule("names a conversation that the user had forgotten; an import does not bring it back");
const NOT_ERASED: Complaint = Complaint::Rule("names a record that is held and not deleted; an import does not delete it");
const NOT_FORGOTTEN: Complaint = Complaint::Rule("names a conversation that is held and not forgotten; an import does not forget it");
const UNKNOWN_CONVERSATION: Complaint = Complaint::Rule("names a conversation that is not held; import the conversation itself first");
const OTHER_CONVERSATION: Complaint = Complaint::Rule("is the id of a message of another conversation; ids are unique within a user");

impl Repository {
    /// Imports the records of one request, all that can be taken in one effect. Content is not its business.
    ///
    /// # Errors
    /// When the database does not answer; then nothing of the request stays.
    pub async fn import(&self, subject: &Subject, batch: &ImportBatch) -> Result<Imported, Error> {
        in_transaction!(self, subject, "import", transaction => {
            let row = self.lock_for_import(transaction, subject).await?;
            let observed = Observed::at(batch.observed_epoch, &row);
            let mut import =
                Import { transaction, held: row.clone().into(), erased: row, observed, path: &batch.path, report: Imported::default() };
            import.conversations(&batch.conversations).await?;
            import.detached_feedback(&batch.feedback).await?;
            import.memories(batch).await?;
            import.uploads(batch).await?;
            import.upload_embeddings(batch).await?;
            import.assistants(batch).await?;
            import.sessions(batch).await?;
            import.compaction_cache(batch).await?;
            crash_at("import.before_commit");
            Ok(import.report)
        })
    }
}

struct Import<'a> {
    transaction: &'a DatabaseTransaction,
    held: Held,
    /// When the subject was last erased.
    erased: subjects::Model,
    observed: Observed,
    path: &'a str,
    report: Imported,
}

/// A conversation as the import finds it.
struct Known {
    created_at: Timestamp,
    forgotten: bool,
}

impl Import<'_> {
    async fn conversations(&mut self, elements: &[At<ConversationElement>]) -> Result<(), Error> {
        let mut known = self.known_conversations(elements.iter().map(|element| element.record.id.as_str())).await?;
        let mut headers: Vec<&Conversation> = Vec::new();
        let mut moved: Vec<(Timestamp, RecordKey)> = Vec::new();
        let mut accepted: Vec<&At<ConversationElement>> = Vec::new();
        for element in elements {
            let part = &element.record;
            let complaint = match (known.get(&part.id), &part.header) {
                (Some(Known { forgotten: true, .. }), _) if part.forgotten_at.is_none() => Some(("id", FORGOTTEN)),
                (Some(Known { forgotten: false, .. }), _) if part.forgotten_at.is_some() => Some(("id", NOT_FORGOTTEN)),
                (None, None) => Some(("id", UNKNOWN_CONVERSATION)),
                (_, Some(header)) => self.complaint_of(header),
                _ => None,
            };
            if let Some((field, complaint)) = complaint {
                let field = format!("{}.conversations[{}].{field}", self.path, element.index);
                // An empty continuation holds no record, and is still not taken.
                self.report.reject(FieldViolation::new(field, complaint), Ord::max(part.records(), 1));
                continue;
            }
            if let Some(header) = &part.header {
                let now = Known { created_at: header.key.created_at, forgotten: header.forgotten_at.is_some() };
                if let Some(before) = known.insert(part.id.clone(), now)
                    && before.created_at != header.key.created_at
                {
                    moved.push((before.created_at, header.key.clone()));
                }
                headers.push(header);
            }
            accepted.push(element);
        }

        let rows = latest_by_id(headers.iter().map(|header| (header.key.id.as_str(), self.row_of(header))));
        self.report.counts.add(Category::Conversations, rows.len() as u32);
        let kept = [conversations::Column::ForgottenAt];
        upsert(self.transaction, rows, by_id::<conversations::Entity>(&kept)).await?;
        for (from, to) in moved {
            self.move_nested(from, &to).await?;
        }
        self.messages(&accepted, &known).await?;
        let nested = accepted.iter().flat_map(|element| {
            let conversation = RecordKey { created_at: known[&element.record.id].created_at, id: element.record.id.clone() };
            let path = format!("{}.conversations[{}]", self.path, element.index);
            element.record.feedback.iter().map(move |feedback| (path.clone(), Some(conversation.clone()), feedback))
        });
        let nested: Vec<_> = nested.collect();
        self.feedback(nested).await
    }

    /// What the database knows of these conversations.
    async fn known_conversations(&self, ids: impl Iterator<Item = &str>) -> Result<HashMap<String, Known>, Error> {
        let ids: HashSet<&str> = ids.collect();
        let ids: Vec<&str> = ids.into_iter().collect();
        let columns = [conversations::Column::Id, conversations::Column::CreatedAt, conversations::Column::ForgottenAt];
        let known = self.held_records::<conversations::Entity, (String, i64, Option<i64>)>(&ids, &columns).await?;
        let known = known
            .into_iter()
            .map(|(id, created_at, forgotten_at)| (id, Known { created_at: Timestamp(created_at), forgotten: forgotten_at.is_some() }));
        Ok(known.collect())
    }

    /// Takes what is nested in a conversation along when its creation time changes: the time is part of their keys.
    async fn move_nested(&self, from: Timestamp, to: &RecordKey) -> Result<(), Error> {
        messages::Entity::update_many()
            .col_expr(messages::Column::ConversationCreatedAt, Expr::val(to.created_at.0))
            .filter(messages::Column::SubjectId.eq(self.held.subject_id))
            .filter(messages::Column::ConversationCreatedAt.eq(from.0))
            .filter(messages::Column::ConversationId.eq(to.id.as_str()))
            .exec(self.transaction)
            .await?;
        feedback_rows::Entity::update_many()
            .col_expr(feedback_rows::Column::ConversationCreatedAt, Expr::val(to.created_at.0))
            .filter(feedback_rows::Column::SubjectId.eq(self.held.subject_id))
            .filter(feedback_rows::Column::ConversationCreatedAt.eq(from.0))
            .filter(feedback_rows::Column::ConversationId.eq(to.id.as_str()))
            .exec(self.transaction)
            .await?;
        Ok(())
    }

    async fn messages(&mut self, elements: &[&At<ConversationElement>], known: &HashMap<String, Known>) -> Result<(), Error> {
        let sent = elements.iter().flat_map(|element| element.record.messages.iter().map(|at| at.record.key.id.as_str()));
        let columns = [messages::Column::Id, messages::Column::ConversationId];
        let held = self.held_records::<messages::Entity, (String, String)>(&sent.collect::<Vec<_>>(), &columns).await?;
        // In which conversation each message is.
        let mut homes: HashMap<&str, &str> = held.iter().map(|(id, home)| (id.as_str(), home.as_str())).collect();
        let mut rows = Vec::new();
        for element in elements {
            let conversation = RecordKey { created_at: known[&element.record.id].created_at, id: element.record.id.clone() };
            for At { index, record } in &element.record.messages {
                if self.is_late(record.key.created_at, self.erased.messages_erased_at) {
                    let field = format!("{}.conversations[{}].messages[{index}].created_at", self.path, element.index);
                    self.report.reject(FieldViolation::new(field, LATE), 1);
                } else if *homes.entry(&record.key.id).or_insert(&element.record.id) == element.record.id {
                    rows.push((record.key.id.as_str(), message::row(&self.held, &conversation, record)));
                } else {
                    let field = format!("{}.conversations[{}].messages[{index}].id", self.path, element.index);
                    self.report.reject(FieldViolation::new(field, OTHER_CONVERSATION), 1);
                }
            }
        }
        let rows = latest_by_id(rows.into_iter());
        self.report.counts.add(Category::Messages, rows.len() as u32);
        message::upsert_all(self.transaction, rows).await
    }

    async fn detached_feedback(&mut self, feedback: &[At<Feedback>]) -> Result<(), Error> {
        self.feedback(feedback.iter().map(|feedback| (self.path.to_owned(), None, feedback)).collect()).await
    }

    async fn feedback(&mut self, feedback: Vec<(String, Option<RecordKey>, &At<Feedback>)>) -> Result<(), Error> {
        let sent: Vec<&str> = feedback.iter().map(|(_, _, at)| at.record.key.id.as_str()).collect();
        let held =
            self.held_records::<feedback_rows::Entity, _>(&sent, &[feedback_rows::Column::Id, feedback_rows::Column::DeletedAt]).await?;
        let held = marks(held);
        let mut rows = Vec::with_capacity(feedback.len());
        for (path, conversation, At { index, record }) in &feedback {
            let is_live = record.deleted_at.is_none();
            let is_late = self.is_late_if(is_live, record.key.created_at, self.erased.feedback_erased_at);
            if let Some(complaint) = other_mark(held.get(&record.key.id).copied(), record.deleted_at) {
                self.report.reject(FieldViolation::new(format!("{path}.feedback[{index}].id"), complaint), 1);
            } else if is_late {
                self.report.reject(FieldViolation::new(format!("{path}.feedback[{index}].created_at"), LATE), 1);
            } else if record.notes.is_some() && self.is_late(record.updated_at, self.erased.texts_scrubbed_at) {
                self.report.reject(FieldViolation::new(format!("{path}.feedback[{index}].notes"), LATE_TEXT), 1);
            } else {
                rows.push((record.key.id.as_str(), feedback::row(&self.held, conversation.as_ref(), record)));
            }
        }
        let rows = latest_by_id(rows.into_iter());
        self.report.counts.add(Category::Feedback, rows.len() as u32);
        // Detached feedback that is known to be nested stays nested: an export shows it detached when its conversation is forgotten.
        let mut conflict = by_id::<feedback_rows::Entity>(&[
            feedback_rows::Column::DeletedAt,
            feedback_rows::Column::ConversationCreatedAt,
            feedback_rows::Column::ConversationId,
        ]);
        for column in ["conversation_created_at", "conversation_id"] {
            conflict.value(column, Expr::col(("excluded", column)).if_null(Expr::col(("feedback", column))));
        }
        upsert(self.transaction, rows, conflict).await
    }

    async fn memories(&mut self, batch: &ImportBatch) -> Result<(), Error> {
        let is_late =
            |memory: &Memory| self.is_late_if(memory.institution_id.is_none(), memory.key.created_at, self.erased.memory_erased_at);
        let (late, good): (Vec<_>, Vec<_>) = batch.memories.iter().partition(|at| is_late(&at.record));
        for At { index, .. } in late {
            self.report.reject(FieldViolation::new(format!("{}.memories[{index}].created_at", self.path), LATE), 1);
        }
        let rows = latest_by_id(good.into_iter().map(|at| (at.record.key.id.as_str(), memory::row(&self.held, &at.record))));
        self.report.counts.add(Category::Memories, rows.len() as u32);
        upsert(self.transaction, rows, by_id::<memories::Entity>(&[])).await
    }

    async fn sessions(&mut self, batch: &ImportBatch) -> Result<(), Error> {
        let is_late = |session: &Session| self.is_late(session.key.created_at, self.erased.sessions_erased_at);
        let (late, good): (Vec<_>, Vec<_>) = batch.sessions.iter().partition(|at| is_late(&at.record));
        for At { index, .. } in late {
            self.report.reject(FieldViolation::new(format!("{}.sessions[{index}].created_at", self.path), LATE), 1);
        }
        let rows = latest_by_id(good.into_iter().map(|at| (at.record.key.id.as_str(), session::row(&self.held, &at.record))));
        self.report.counts.add(Category::Sessions, rows.len() as u32);
        upsert(self.transaction, rows, by_id::<sessions::Entity>(&[])).await
    }

    async fn compaction_cache(&mut self, batch: &ImportBatch) -> Result<(), Error> {
        let known = self.known_conversations(batch.compaction_cache.iter().map(|at| at.record.conversation_id.as_str())).await?;
        let mut rows = Vec::with_capacity(batch.compaction_cache.len());
        for At { index, record } in &batch.compaction_cache {
            // Derived from messages: gone with them, and with what is forgotten.
            let complaint = match known.get(&record.conversation_id) {
                None => Some(("conversation_id", UNKNOWN_CONVERSATION)),
                Some(Known { forgotten: true, .. }) => Some(("conversation_id", FORGOTTEN)),
                Some(_) if self.is_late(record.key.created_at, self.erased.messages_erased_at) => Some(("created_at", LATE)),
                Some(_) => None,
            };
            match complaint {
                Some((field, complaint)) => {
                    let field = format!("{}.compaction_cache[{index}].{field}", self.path);
                    self.report.reject(FieldViolation::new(field, complaint), 1);
                }
                None => rows.push((record.key.id.as_str(), compaction_cache::row(&self.held, record))),
            }
        }
        let rows = latest_by_id(rows.into_iter());
        self.report.counts.add(Category::CompactionCache, rows.len() as u32);
        upsert(self.transaction, rows, by_id::<cache::Entity>(&[])).await
    }
}

/// By their ids, whether records are marked as erased.
fn marks(held: Vec<(String, Option<i64>)>) -> HashMap<String, bool> {
    held.into_iter().map(|(id, deleted_at)| (id, deleted_at.is_some())).collect()
}

/// What is wrong with a record whose mark is not that of the one that is held, which is `erased` or not.
fn other_mark(erased: Option<bool>, deleted_at: Option<Timestamp>) -> Option<Complaint> {
    match (erased, deleted_at) {
        (Some(true), None) => Some(ERASED),
        (Some(false), Some(_)) => Some(NOT_ERASED),
        _ => None,
    }
}
