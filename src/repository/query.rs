//! Queries whose text is written once. sea-query takes longer to write a SELECT than SQLite to find a small user's rows by it.

use std::sync::OnceLock;

use sea_orm::{
    DbBackend, StatementBuilder,
    sea_query::{Expr, ExprTrait, SelectStatement, Value},
};

/// A SELECT with parameters, where [`integer`] and [`text`] stand for them.
pub(super) struct Query {
    select: fn(bool) -> SelectStatement,
    /// What `select` is told.
    continues: bool,
    sqlite: OnceLock<Text>,
    postgres: OnceLock<Text>,
}

/// As an engine reads it.
pub(super) struct Text {
    pub(super) sql: String,
    /// How many parameters it has.
    pub(super) parameters: usize,
}

/// The value of a parameter. They are given in the order in which they stand in the text.
#[derive(Clone, Copy)]
pub(super) enum Parameter<'a> {
    Integer(i64),
    Text(&'a str),
}

/// Stands for an integer that is given with each use of a query.
pub(super) fn integer() -> Expr {
    Expr::val(0_i64)
}

/// Stands for a text that is given with each use of a query.
pub(super) fn text() -> Expr {
    Expr::val("")
}

/// A zero that is part of the text.
pub(super) fn zero() -> Expr {
    Expr::Constant(Value::Int(Some(0)))
}

/// Whether a SELECT of one row at most finds it. It is asked for each row by itself: of IN or EXISTS PostgreSQL makes a join, and may compare
/// each row of one table with each of the other, as long as it knows nothing of them.
pub(super) fn finds(one: SelectStatement) -> Expr {
    Expr::SubQuery(None, Box::new(one.into())).is_not_null()
}

impl Query {
    /// A query that stands alone.
    pub(super) const fn new(select: fn(bool) -> SelectStatement) -> Self {
        Self::variant(select, false)
    }

    const fn variant(select: fn(bool) -> SelectStatement, continues: bool) -> Self {
        Self { select, continues, sqlite: OnceLock::new(), postgres: OnceLock::new() }
    }

    pub(super) fn text(&'static self, backend: DbBackend) -> &'static Text {
        let text = if backend == DbBackend::Sqlite { &self.sqlite } else { &self.postgres };
        text.get_or_init(|| {
            let statement = StatementBuilder::build(&(self.select)(self.continues), &backend);
            Text { sql: statement.sql, parameters: statement.values.map_or(0, |values| values.0.len()) }
        })
    }
}

/// The two queries that read a table page by page: from the beginning, and after a record. `select` is told whether it continues.
pub(super) struct Pages {
    pub(super) first: Query,
    pub(super) next: Query,
}

impl Pages {
    pub(super) const fn new(select: fn(bool) -> SelectStatement) -> Self {
        Self { first: Query::variant(select, false), next: Query::variant(select, true) }
    }
}
