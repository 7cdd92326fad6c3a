//! Sessions: rows and records, and reading them in order.

use super::{
    Error, Held,
    entity::session::{Entity, Model},
    page::{Page, PageSize, in_order, paged, read_in_order},
    query::Pages,
    reader::Reading,
    row::FromRow,
};
use crate::domain::{
    record::{RecordKey, Session},
    timestamp::Timestamp,
};

static PAGES: Pages = Pages::new(|continues| paged(in_order::<Entity>(continues)));

impl Reading {
    /// A page of the subject's sessions after `after`.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn sessions(&mut self, held: &Held, after: Option<&RecordKey>, size: &mut PageSize) -> Result<Page<Session>, Error> {
        read_in_order(self, &PAGES, (held, after), size, |row| Ok(record(Model::from_row(row)?)), Session::bytes).await
    }
}

fn record(row: Model) -> Session {
    Session {
        key: RecordKey { created_at: Timestamp(row.created_at), id: row.id },
        ip_address: row.ip_address,
        user_agent: row.user_agent,
        device: row.device,
        last_active_at: row.last_active_at.map(Timestamp),
    }
}

pub(super) fn row(held: &Held, record: &Session) -> Model {
    Model {
        subject_id: held.subject_id,
        created_at: record.key.created_at.0,
        id: record.key.id.clone(),
        ip_address: record.ip_address.clone(),
        user_agent: record.user_agent.clone(),
        device: record.device.clone(),
        last_active_at: record.last_active_at.map(|at| at.0),
    }
}
