//! Memories: rows and records, and reading them in order.

use super::{
    Error, Held,
    entity::{
        self, Texts,
        memory::{Entity, Model},
    },
    page::{Page, PageSize, in_order, paged, read_in_order},
    query::Pages,
    reader::Reading,
    row::FromRow,
};
use crate::domain::{
    record::{Episode, Memory, MemoryType, RecordKey},
    timestamp::Timestamp,
};

static PAGES: Pages = Pages::new(|continues| paged(in_order::<Entity>(continues)));

impl Reading {
    /// A page of the subject's memories after `after`.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn memories(&mut self, held: &Held, after: Option<&RecordKey>, size: &mut PageSize) -> Result<Page<Memory>, Error> {
        read_in_order(self, &PAGES, (held, after), size, |row| record(Model::from_row(row)?), Memory::bytes).await
    }
}

fn record(row: Model) -> Result<Memory, Error> {
    let memory_type = match row.memory_type.as_deref() {
        None => None,
        Some("semantic") => Some(MemoryType::Semantic),
        Some("episodic") => Some(MemoryType::Episodic),
        Some(_) => return Err(Error::Corrupt("memories.memory_type: neither semantic nor episodic")),
    };
    let episode =
        row.episode.map(|entity::Episode { observation, thoughts, action, result }| Episode { observation, thoughts, action, result });
    Ok(Memory {
        key: RecordKey { created_at: Timestamp(row.created_at), id: row.id },
        object_id: row.object_id,
        text: row.text,
        raw_extract: row.raw_extract,
        memory_type,
        episode,
        keywords: row.keywords.0,
        topics: row.topics.0,
        tags: row.tags.0,
        recall_triggers: row.recall_triggers.0,
        agent_ids: row.agent_ids.0,
        app_id: row.app_id,
        user_id: row.user_id,
        institution_id: row.institution_id,
        updated_at: Timestamp(row.updated_at),
    })
}

pub(super) fn row(held: &Held, record: &Memory) -> Model {
    Model {
        subject_id: held.subject_id,
        created_at: record.key.created_at.0,
        id: record.key.id.clone(),
        object_id: record.object_id.clone(),
        text: record.text.clone(),
        raw_extract: record.raw_extract.clone(),
        memory_type: record.memory_type.map(|kind| match kind {
            MemoryType::Semantic => "semantic".to_owned(),
            MemoryType::Episodic => "episodic".to_owned(),
        }),
        episode: record.episode.clone().map(|Episode { observation, thoughts, action, result }| entity::Episode {
            observation,
            thoughts,
            action,
            result,
        }),
        keywords: Texts(record.keywords.clone()),
        topics: Texts(record.topics.clone()),
        tags: Texts(record.tags.clone()),
        recall_triggers: Texts(record.recall_triggers.clone()),
        agent_ids: Texts(record.agent_ids.clone()),
        app_id: record.app_id.clone(),
        user_id: record.user_id.clone(),
        institution_id: record.institution_id.clone(),
        updated_at: record.updated_at.0,
    }
}
