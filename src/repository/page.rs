//! Reading by key, in pages bounded by rows and bytes: no page holds a connection longer than it takes to read, and no reader more memory
//! than a page.

use futures::TryStreamExt;
use sea_orm::{
    DatabaseConnection, EntityTrait, Order, QueryFilter, QueryOrder, QuerySelect, Select,
    sea_query::{Expr, ExprTrait},
};

use super::{Error, Held};
use crate::domain::record::RecordKey;

/// Rows of one page, at the most.
const PAGE_ROWS: u64 = 500;

/// A page ends with the record that brings it over this size.
const PAGE_BYTES: usize = 256 * 1024;

/// Some records in order, and whether they were the last.
pub struct Page<T> {
    /// The records.
    pub records: Vec<T>,
    /// Nothing comes after them.
    pub is_last: bool,
}

/// Reads one page of what `select` finds; `record` makes a record of a row and tells about how many bytes it holds.
pub(super) async fn read_page<E, T>(
    connection: &DatabaseConnection,
    select: Select<E>,
    record: impl Fn(E::Model) -> Result<(T, usize), Error>,
) -> Result<Page<T>, Error>
where
    E: EntityTrait,
{
    let mut rows = select.limit(PAGE_ROWS).stream(connection).await?;
    let mut records = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.try_next().await? {
        let (record, size) = record(row)?;
        records.push(record);
        bytes += size;
        if bytes >= PAGE_BYTES {
            return Ok(Page { records, is_last: false });
        }
    }
    let is_last = (records.len() as u64) < PAGE_ROWS;
    Ok(Page { records, is_last })
}

/// The subject's rows of a table that come after `after`, in order of creation time and id.
pub(super) fn in_order<E: EntityTrait>(held: &Held, after: Option<&RecordKey>) -> Select<E> {
    let mut select = E::find().filter(Expr::col("subject_id").eq(held.subject_id));
    if let Some(key) = after {
        select = select.filter(columns(["created_at", "id"]).gt(key_values(key)));
    }
    select.order_by(Expr::col("created_at"), Order::Asc).order_by(Expr::col("id"), Order::Asc)
}

/// Several columns, to be compared as one key.
pub(super) fn columns<const N: usize>(names: [&'static str; N]) -> Expr {
    Expr::tuple(names.map(Expr::col))
}

/// The values of a key, to be compared with two columns.
pub(super) fn key_values(key: &RecordKey) -> Expr {
    Expr::tuple([Expr::val(key.created_at.0), Expr::val(key.id.as_str())])
}
