//! Reading by key, in pages bounded by rows and bytes: no page holds a connection longer than it takes to read, and no reader more memory
//! than a page.

use std::ops::ControlFlow;

use sea_orm::{
    EntityTrait, Order, QueryFilter, QueryOrder, QuerySelect, QueryTrait, Select,
    sea_query::{Expr, ExprTrait, SelectStatement},
};

use super::{
    Error, Held,
    query::{Pages, Parameter, Query, integer, text},
    reader::Reading,
    row::Row,
};
use crate::domain::record::RecordKey;

/// Rows of one page, at the most.
const MAX_ROWS: u64 = 500;

/// Rows of the first page: nobody knows yet how large they are.
const FIRST_ROWS: u64 = 32;

/// About how many bytes the first page holds, if its rows are as large as most messages.
const FIRST_BYTES: usize = 16 * 1024;

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
    /// How many rows the next page asks for, and about how many bytes they take.
    pub(super) fn expected(self) -> (usize, usize) {
        (self.0 as usize, if self.0 == FIRST_ROWS { FIRST_BYTES } else { PAGE_BYTES })
    }

    fn learn(&mut self, rows: u64, bytes: usize) {
        if let Some(mean) = bytes.checked_div(rows as usize) {
            self.0 = ((PAGE_BYTES / mean.max(1)) as u64).clamp(1, MAX_ROWS);
        }
    }
}

/// Gives the rows of one page to `take`, which tells about how many bytes each is; gives whether they were the last.
pub(super) async fn scan(
    reading: &mut Reading,
    query: &'static Query,
    parameters: &[Parameter<'_>],
    size: &mut PageSize,
    mut take: impl FnMut(Row<'_>) -> Result<usize, Error>,
) -> Result<bool, Error> {
    let (asked, mut rows, mut bytes) = (size.0, 0, 0);
    let parameters = [parameters, &[Parameter::Integer(asked as i64)]].concat();
    let count = |row: Row<'_>| {
        bytes += take(row)?;
        rows += 1;
        Ok(if bytes < 4 * PAGE_BYTES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    };
    reading.rows(query, &parameters, count).await?;
    size.learn(rows, bytes);
    Ok(bytes < 4 * PAGE_BYTES && rows < asked)
}

/// Reads one page of what `query` finds; `record` makes a record of a row, `bytes_of` tells about how many bytes it takes.
pub(super) async fn read_page<T>(
    reading: &mut Reading,
    query: &'static Query,
    parameters: &[Parameter<'_>],
    size: &mut PageSize,
    mut record: impl FnMut(Row<'_>) -> Result<T, Error>,
    bytes_of: impl Fn(&T) -> usize,
) -> Result<Page<T>, Error> {
    let mut records = Vec::new();
    let is_last = scan(reading, query, parameters, size, |row| {
        let record = record(row)?;
        let bytes = bytes_of(&record);
        records.push(record);
        Ok(bytes)
    });
    let is_last = is_last.await?;
    Ok(Page { records, is_last })
}

/// Reads one page of the subject's records in a table, after `after`, by queries made with [`in_order`].
pub(super) async fn read_in_order<T>(
    reading: &mut Reading,
    pages: &'static Pages,
    (held, after): (&Held, Option<&RecordKey>),
    size: &mut PageSize,
    record: impl FnMut(Row<'_>) -> Result<T, Error>,
    bytes_of: impl Fn(&T) -> usize,
) -> Result<Page<T>, Error> {
    let subject = Parameter::Integer(held.subject_id);
    match after {
        None => read_page(reading, &pages.first, &[subject], size, record, bytes_of).await,
        Some(after) => {
            let [created_at, id] = key_parameters(after);
            read_page(reading, &pages.next, &[subject, created_at, id], size, record, bytes_of).await
        }
    }
}

/// The subject's rows of a table in order of creation time and id; those after a key if it `continues`.
pub(super) fn in_order<E: EntityTrait>(continues: bool) -> Select<E> {
    let mut select = E::find().filter(Expr::col("subject_id").eq(integer()));
    if continues {
        select = select.filter(columns(["created_at", "id"]).gt(key()));
    }
    select.order_by(Expr::col("created_at"), Order::Asc).order_by(Expr::col("id"), Order::Asc)
}

/// A page of what `select` finds: its size is the last parameter.
pub(super) fn paged<E: EntityTrait>(select: Select<E>) -> SelectStatement {
    select.limit(0).into_query()
}

/// Several columns, to be compared as one key.
pub(super) fn columns<const N: usize>(names: [&'static str; N]) -> Expr {
    Expr::tuple(names.map(Expr::col))
}

/// A key that is given with each use of a query, to be compared with two columns.
pub(super) fn key() -> Expr {
    Expr::tuple([integer(), text()])
}

/// The parameters that are a key.
pub(super) fn key_parameters(key: &RecordKey) -> [Parameter<'_>; 2] {
    [Parameter::Integer(key.created_at.0), Parameter::Text(&key.id)]
}
