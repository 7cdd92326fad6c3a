//! Reading by key, in pages bounded by rows and bytes: no page holds a connection longer than it takes to read, and no reader more memory
//! than a page.

use std::ops::ControlFlow;

use sea_orm::{
    EntityTrait, Order, QueryFilter, QueryOrder, QuerySelect, Select,
    sea_query::{Expr, ExprTrait},
};

use super::{Error, Held, reader::Reading, row::Row};
use crate::domain::record::RecordKey;

/// Rows of one page, at the most.
const MAX_ROWS: u64 = 500;

/// Rows of the first page: nobody knows yet how large they are.
const FIRST_ROWS: u64 = 32;

/// About how many bytes a page holds. One that reaches four times as many ends there.
const PAGE_BYTES: usize = 256 * 1024;

/// Some records in order, and whether they were the last.
pub struct Page<T> {
    /// The records.
    pub records: Vec<T>,
    /// Nothing comes after them.
    pub is_last: bool,
}

/// How many rows the next page of a scan asks for: as many as fill a page if they are as large as those before. What is asked for and not
/// taken is read by the database all the same.
#[derive(Clone, Copy, Debug)]
pub struct PageSize(u64);

impl Default for PageSize {
    fn default() -> Self {
        Self(FIRST_ROWS)
    }
}

impl PageSize {
    /// About how many bytes the next page has; 0 where nobody knows.
    pub(super) fn expected_bytes(self) -> usize {
        if self.0 == FIRST_ROWS { 0 } else { PAGE_BYTES }
    }

    fn learn(&mut self, rows: usize, bytes: usize) {
        if let Some(mean) = bytes.checked_div(rows) {
            self.0 = ((PAGE_BYTES / mean.max(1)) as u64).clamp(1, MAX_ROWS);
        }
    }
}

/// Reads one page of what `select` finds; `record` makes a record of a row, `bytes_of` tells about how many bytes it takes.
pub(super) async fn read_page<E, T>(
    reading: &mut Reading,
    select: Select<E>,
    size: &mut PageSize,
    mut record: impl FnMut(Row<'_>) -> Result<T, Error>,
    bytes_of: impl Fn(&T) -> usize,
) -> Result<Page<T>, Error>
where
    E: EntityTrait,
{
    let asked = size.0;
    let mut records = Vec::new();
    let mut bytes = 0;
    let take = |row: Row<'_>| {
        let record = record(row)?;
        bytes += bytes_of(&record);
        records.push(record);
        Ok(if bytes < 4 * PAGE_BYTES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    };
    reading.rows(select.limit(asked), take).await?;
    size.learn(records.len(), bytes);
    let is_last = bytes < 4 * PAGE_BYTES && (records.len() as u64) < asked;
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
