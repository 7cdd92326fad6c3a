//! Assistants: rows and records, and reading them in order.

use sea_orm::{ColumnTrait, QueryFilter};

use super::{
    Error, Held,
    entity::assistant::{Column, Entity, Model},
    page::{Page, PageSize, in_order, paged, read_in_order},
    query::Pages,
    reader::Reading,
    row::FromRow,
};
use crate::domain::{
    record::{Assistant, RecordKey},
    timestamp::Timestamp,
};

static ALL: Pages = Pages::new(|continues| paged(in_order::<Entity>(continues)));
static LIVE: Pages = Pages::new(|continues| paged(in_order::<Entity>(continues).filter(Column::DeletedAt.is_null())));

impl Reading {
    /// A page of the subject's assistants after `after`.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn assistants(
        &mut self,
        held: &Held,
        after: Option<&RecordKey>,
        include_deleted: bool,
        size: &mut PageSize,
    ) -> Result<Page<Assistant>, Error> {
        let pages = if include_deleted { &ALL } else { &LIVE };
        read_in_order(self, pages, (held, after), size, |row| Ok(record(Model::from_row(row)?)), Assistant::bytes).await
    }
}

fn record(row: Model) -> Assistant {
    Assistant {
        key: RecordKey { created_at: Timestamp(row.created_at), id: row.id },
        name: row.name,
        description: row.description,
        instructions: row.instructions,
        status: row.status,
        institution_id: row.institution_id,
        updated_at: Timestamp(row.updated_at),
        deleted_at: row.deleted_at.map(Timestamp),
    }
}

pub(super) fn row(held: &Held, record: &Assistant) -> Model {
    Model {
        subject_id: held.subject_id,
        created_at: record.key.created_at.0,
        id: record.key.id.clone(),
        name: record.name.clone(),
        description: record.description.clone(),
        instructions: record.instructions.clone(),
        status: record.status.clone(),
        institution_id: record.institution_id.clone(),
        updated_at: record.updated_at.0,
        deleted_at: record.deleted_at.map(|at| at.0),
    }
}
