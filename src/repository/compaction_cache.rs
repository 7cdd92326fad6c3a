//! The compaction cache: rows and records, and reading them in order.

use super::{
    Error, Held,
    entity::compaction_cache::{Entity, Model},
    page::{Page, PageSize, in_order, paged, read_in_order},
    query::Pages,
    reader::Reading,
    row::FromRow,
};
use crate::domain::{
    record::{CompactionCacheEntry, RecordKey},
    timestamp::Timestamp,
};

static PAGES: Pages = Pages::new(|continues| paged(in_order::<Entity>(continues)));

impl Reading {
    /// A page of the subject's compaction cache after `after`.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn compaction_cache(
        &mut self,
        held: &Held,
        after: Option<&RecordKey>,
        size: &mut PageSize,
    ) -> Result<Page<CompactionCacheEntry>, Error> {
        read_in_order(self, &PAGES, (held, after), size, |row| Ok(record(Model::from_row(row)?)), CompactionCacheEntry::bytes).await
    }
}

fn record(row: Model) -> CompactionCacheEntry {
    let key = RecordKey { created_at: Timestamp(row.created_at), id: row.id };
    CompactionCacheEntry { key, conversation_id: row.conversation_id, text: row.text }
}

pub(super) fn row(held: &Held, record: &CompactionCacheEntry) -> Model {
    Model {
        subject_id: held.subject_id,
        created_at: record.key.created_at.0,
        id: record.key.id.clone(),
        conversation_id: record.conversation_id.clone(),
        text: record.text.clone(),
    }
}
