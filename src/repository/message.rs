//! Messages: reading them in order, over many conversations in one scan.

use std::{mem, sync::Arc};

use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait, Order, QueryFilter, QueryOrder, Select, Statement, Value,
    sea_query::{Expr, ExprTrait},
};

use super::{
    Error, Held,
    entity::message::{Entity, Model},
    page::{Page, PageSize, columns, key, key_parameters, paged, scan},
    query::{Pages, Parameter, Query, integer, text},
    reader::Reading,
    upsert::{by_id, upsert},
};
use crate::domain::{
    digest::RecordDigest,
    message_run::{MessagePage, MessageRun},
    record::{Message, RecordKey},
    timestamp::Timestamp,
};

static PAGES: Pages = Pages::new(|continues| paged(stretch_of::<Entity>(continues)));

/// A stretch of conversations, in order, and how far into the first of them one has come.
#[derive(Clone)]
pub struct Stretch {
    /// The first conversation.
    pub first: RecordKey,
    /// Up to this record of the first conversation all is known; `None` for nothing.
    pub after: Option<RecordKey>,
    /// The last conversation.
    pub last: RecordKey,
}

impl Reading {
    /// A page of the messages of a stretch of conversations, as runs of one conversation each, by conversation and then in order.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn messages(
        &mut self,
        held: &Held,
        stretch: &Stretch,
        size: &mut PageSize,
    ) -> Result<Page<(Arc<RecordKey>, MessageRun)>, Error> {
        let (query, parameters) = stretch.query(&PAGES, held);
        let (rows, bytes) = size.expected();
        let mut page = MessagePage::with_capacity(rows, bytes);
        // Each conversation, and where its messages begin in the page.
        let mut conversations: Vec<(Arc<RecordKey>, usize)> = Vec::new();
        let is_last = scan(self, query, &parameters, size, |row| {
            // In the order of the table: subject_id, conversation_created_at, conversation_id, created_at, id, body, digest.
            let conversation = row.text(2)?;
            if conversations.last().is_none_or(|(last, _)| last.id != conversation) {
                let key = RecordKey { created_at: Timestamp(row.get(1)?), id: conversation.to_owned() };
                conversations.push((Arc::new(key), page.len()));
            }
            let digest = row.bytes(6)?.try_into().map_err(|_| Error::Corrupt("messages.digest: not 32 bytes"))?;
            Ok(page.push(Timestamp(row.get(3)?), row.text(4)?, row.bytes(5)?, RecordDigest::from_bytes(digest)))
        });
        let is_last = is_last.await?;
        let page = Arc::new(page);
        let mut end = page.len();
        // From the last on, for a run ends where the next begins.
        let mut records: Vec<_> = conversations
            .into_iter()
            .rev()
            .map(|(conversation, start)| {
                let rows = start..mem::replace(&mut end, start);
                (conversation, MessageRun::new(Arc::clone(&page), rows))
            })
            .collect();
        records.reverse();
        Ok(Page { records, is_last })
    }
}

impl Stretch {
    /// The query of `pages`, made with [`stretch_of`], that finds this stretch.
    pub(super) fn query<'a>(&'a self, pages: &'static Pages, held: &Held) -> (&'static Query, Vec<Parameter<'a>>) {
        let mut parameters = vec![Parameter::Integer(held.subject_id)];
        parameters.extend(key_parameters(&self.first));
        parameters.extend(self.after.iter().flat_map(key_parameters));
        parameters.extend(key_parameters(&self.last));
        (if self.after.is_some() { &pages.next } else { &pages.first }, parameters)
    }
}

/// What a stretch of conversations holds in a table that is keyed by conversation.
pub(super) fn stretch_of<E: EntityTrait>(continues: bool) -> Select<E> {
    const CONVERSATION: [&str; 2] = ["conversation_created_at", "conversation_id"];
    const RECORD: [&str; 4] = ["conversation_created_at", "conversation_id", "created_at", "id"];
    let from =
        if continues { columns(RECORD).gt(Expr::tuple([integer(), text(), integer(), text()])) } else { columns(CONVERSATION).gte(key()) };
    let mut select = E::find().filter(Expr::col("subject_id").eq(integer())).filter(from).filter(columns(CONVERSATION).lte(key()));
    for column in RECORD {
        select = select.order_by(Expr::col(column), Order::Asc);
    }
    select
}

pub(super) fn row(held: &Held, conversation: &RecordKey, message: &Message) -> Model {
    Model {
        subject_id: held.subject_id,
        conversation_created_at: conversation.created_at.0,
        conversation_id: conversation.id.clone(),
        created_at: message.key.created_at.0,
        id: message.key.id.clone(),
        body: message.body.to_vec(),
        digest: message.digest.as_bytes().to_vec(),
    }
}

/// Inserts messages, or replaces those with the same ids.
pub(super) async fn upsert_all(transaction: &DatabaseTransaction, rows: Vec<Model>) -> Result<(), Error> {
    // As columns and not as thousands of parameters: one statement for any number of rows, which PostgreSQL plans once.
    const ARRAYS: &str = "\
        INSERT INTO messages (subject_id, conversation_created_at, conversation_id, created_at, id, body, digest) \
        SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::bytea[], $7::bytea[]) \
        ON CONFLICT (subject_id, id) DO UPDATE SET \
        conversation_created_at = excluded.conversation_created_at, conversation_id = excluded.conversation_id, \
        created_at = excluded.created_at, body = excluded.body, digest = excluded.digest";
    if transaction.get_database_backend() != DbBackend::Postgres {
        return upsert(transaction, rows, by_id::<Entity>(&[])).await;
    }
    if rows.is_empty() {
        return Ok(());
    }
    let mut columns = Columns::default();
    for row in rows {
        columns.subject_id.push(row.subject_id);
        columns.conversation_created_at.push(row.conversation_created_at);
        columns.conversation_id.push(row.conversation_id);
        columns.created_at.push(row.created_at);
        columns.id.push(row.id);
        columns.body.push(row.body);
        columns.digest.push(row.digest);
    }
    let Columns { subject_id, conversation_created_at, conversation_id, created_at, id, body, digest } = columns;
    let values: [Value; 7] = [
        subject_id.into(),
        conversation_created_at.into(),
        conversation_id.into(),
        created_at.into(),
        id.into(),
        body.into(),
        digest.into(),
    ];
    transaction.execute_raw(Statement::from_sql_and_values(DbBackend::Postgres, ARRAYS, values)).await?;
    Ok(())
}

/// The columns of many messages.
#[derive(Default)]
struct Columns {
    subject_id: Vec<i64>,
    conversation_created_at: Vec<i64>,
    conversation_id: Vec<String>,
    created_at: Vec<i64>,
    id: Vec<String>,
    body: Vec<Vec<u8>>,
    digest: Vec<Vec<u8>>,
}
