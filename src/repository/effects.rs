//! What an erasure does to rows, in two trips to the database: effects that do not depend on each other, and what the report is told of
//! each; then the look at what is left, together with what the first trip has given to be kept.
//!
//! On PostgreSQL a trip is one statement, so that all of it sees the rows as they were before. SQLite knows no such statement: there a trip
//! is a text of several, of which the first counts what the others will change. To have each tell what it has changed would make a result
//! of each, and there every result wakes the caller's thread, which takes longer than to count.

use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait, Statement,
    sea_query::{
        Alias, Asterisk, CommonTableExpression, Condition, DynIden, Expr, ExprTrait, Func, InsertStatement, IntoIden, PostgresQueryBuilder,
        Query, SelectStatement, SqliteQueryBuilder, SubQueryStatement, TableRef, Value, Values, WithClause,
    },
};

use super::{Error, Held, erasure::Erasure};

/// Rows of a table.
#[derive(Clone)]
pub(super) struct Rows {
    table: TableRef,
    which: Condition,
}

impl Rows {
    /// Those that fulfil a condition.
    pub(super) fn of<E: EntityTrait>(which: Expr) -> Self {
        Self { table: E::default().table_ref(), which: Condition::all().add(which) }
    }

    /// Those of the subject.
    pub(super) fn held<E: EntityTrait>(held: &Held) -> Self {
        Self::of::<E>(Expr::col("subject_id").eq(held.subject_id))
    }

    /// Those of them that also fulfil a condition.
    pub(super) fn filter(mut self, condition: impl Into<Condition>) -> Self {
        self.which = self.which.add(condition.into());
        self
    }

    pub(super) fn delete(self) -> Change {
        Change::Delete(self)
    }

    pub(super) fn update<C: IntoIden>(self, values: impl IntoIterator<Item = (C, Expr)>) -> Change {
        Change::Update(self, values.into_iter().map(|(column, value)| (column.into_iden(), value)).collect())
    }

    fn select(&self) -> SelectStatement {
        Query::select().from(self.table.clone()).cond_where(self.which.clone()).to_owned()
    }
}

/// What is done to rows.
pub(super) enum Change {
    Delete(Rows),
    Update(Rows, Vec<(DynIden, Expr)>),
}

impl Change {
    fn rows(&self) -> &Rows {
        match self {
            Self::Delete(rows) | Self::Update(rows, _) => rows,
        }
    }

    /// The statement that also gives something of every row it has changed.
    fn returning(&self, what: Expr) -> SubQueryStatement {
        let Rows { table, which } = self.rows().clone();
        let what = Query::returning().expr(what);
        match self {
            Self::Delete(_) => Query::delete().from_table(table).cond_where(which).returning(what).to_owned().into(),
            Self::Update(_, values) => {
                Query::update().table(table).values(values.clone()).cond_where(which).returning(what).to_owned().into()
            }
        }
    }

    fn build(&self) -> (String, Values) {
        let Rows { table, which } = self.rows().clone();
        match self {
            Self::Delete(_) => Query::delete().from_table(table).cond_where(which).build(SqliteQueryBuilder),
            Self::Update(_, values) => Query::update().table(table).values(values.clone()).cond_where(which).build(SqliteQueryBuilder),
        }
    }
}

/// Effects that do not depend on each other: no two change the same row, and none minds what another has changed, save the checks, which
/// look at what all have changed.
pub(super) struct Effects<R> {
    changes: Vec<Effect<R>>,
    /// Counts of what is there before them.
    counts: Vec<(Rows, Tell<R>)>,
    /// Counts of what is there after them.
    checks: Vec<(Rows, Tell<R>)>,
}

/// A change, and what is told of the rows it changes.
type Effect<R> = (Change, Option<Tell<R>>);

/// What a report `R` is told of rows.
enum Tell<R> {
    /// How many there are.
    Count(fn(&mut R, u64)),
    /// And the sum of a column.
    Sum(DynIden, fn(&mut R, u64, i64)),
}

impl<R> Effects<R> {
    pub(super) fn none() -> Self {
        Self { changes: Vec::new(), counts: Vec::new(), checks: Vec::new() }
    }

    /// Adds a change of which the report is told nothing.
    pub(super) fn add_untold(&mut self, change: Change) {
        self.changes.push((change, None));
    }

    /// Adds a change; `tell` is given how many rows it changed.
    pub(super) fn add(&mut self, change: Change, tell: fn(&mut R, u64)) {
        self.changes.push((change, Some(Tell::Count(tell))));
    }

    /// The same; `tell` is also given the sum of a column of these rows, or the most an `i64` can be if it is more.
    pub(super) fn add_summing(&mut self, change: Change, column: impl IntoIden, tell: fn(&mut R, u64, i64)) {
        self.changes.push((change, Some(Tell::Sum(column.into_iden(), tell))));
    }

    /// Adds a count; `tell` is given how many rows there are before any change takes place.
    pub(super) fn count(&mut self, rows: Rows, tell: fn(&mut R, u64)) {
        self.counts.push((rows, Tell::Count(tell)));
    }

    /// Adds a count; `tell` is given how many rows there are when all changes have taken place.
    pub(super) fn check(&mut self, rows: Rows, tell: fn(&mut R, u64)) {
        self.checks.push((rows, Tell::Count(tell)));
    }

    /// Writes their text. With `kept`, a statement like it becomes the first of the checks.
    pub(super) fn write(self, backend: DbBackend, kept: Option<InsertStatement>) -> Written<R> {
        let Self { changes, counts, checks } = self;
        let mut after = Told::nothing();
        for (rows, tell) in checks {
            after.of(&rows.select(), tell);
        }
        let mut before = Told::nothing();
        for (rows, tell) in counts {
            before.of(&rows.select(), tell);
        }
        match backend {
            DbBackend::Sqlite => one_after_the_other(before, changes, kept, after),
            _ => all_in_one(before, changes, kept, after),
        }
    }
}

/// Effects whose text is written, for [`Erasure::STAND_IN`].
pub(super) struct Written<R> {
    /// What changes.
    pub(super) changes: Trip<R>,
    /// What is looked at afterwards.
    pub(super) checks: Trip<R>,
}

impl<R> Written<R> {
    /// Has them take place for an erasure, and tells the report.
    pub(super) async fn take_place(&self, transaction: &DatabaseTransaction, erasure: &Erasure, report: &mut R) -> Result<(), Error> {
        self.changes.take_place(transaction, erasure, Vec::new(), report).await?;
        self.checks.take_place(transaction, erasure, Vec::new(), report).await
    }
}

/// A text, its values, and what is told of each row of numbers that it gives.
///
/// Without a text it is not made.
pub(super) struct Trip<R> {
    sql: String,
    values: Vec<Value>,
    rows: Vec<Vec<Tell<R>>>,
}

impl<R> Trip<R> {
    fn none() -> Self {
        Self { sql: String::new(), values: Vec::new(), rows: Vec::new() }
    }

    fn of(statements: impl IntoIterator<Item = (String, Values)>, rows: impl Into<Vec<Vec<Tell<R>>>>) -> Self {
        let mut trip = Self { rows: rows.into(), ..Self::none() };
        for (nth, (sql, values)) in statements.into_iter().enumerate() {
            trip.sql.push_str(if nth == 0 { "" } else { "; " });
            trip.sql.push_str(&sql);
            trip.values.extend(values.0);
        }
        trip
    }

    /// The text, and the values it was written with.
    #[cfg(test)]
    pub(super) fn statement(&self) -> (&str, &[Value]) {
        (&self.sql, &self.values)
    }

    /// Has it take place with the values of an erasure, but for the first, which are `first`; and tells the report.
    pub(super) async fn take_place(
        &self,
        transaction: &DatabaseTransaction,
        erasure: &Erasure,
        first: Vec<Value>,
        report: &mut R,
    ) -> Result<(), Error> {
        if self.sql.is_empty() {
            return Ok(());
        }
        let mut values = first;
        values.extend(self.values.iter().skip(values.len()).map(|value| erasure.fill(value)));
        let statement = Statement::from_sql_and_values(transaction.get_database_backend(), &self.sql, values);
        let found = transaction.query_all_raw(statement).await?;
        if found.len() != self.rows.len() {
            return Err(Error::Corrupt("effects that tell more or less than was asked"));
        }
        for (row, tells) in found.iter().zip(&self.rows) {
            let mut column = 0;
            let mut number = || {
                column += 1;
                row.try_get_by_index::<i64>(column - 1)
            };
            for tell in tells {
                let rows = number()?.unsigned_abs();
                match tell {
                    Tell::Count(tell) => tell(report, rows),
                    Tell::Sum(_, tell) => tell(report, rows, number()?.saturating_mul(HALF).saturating_add(number()?)),
                }
            }
        }
        Ok(())
    }
}

/// A SELECT of numbers in one row, and whom they are told.
struct Told<R> {
    select: SelectStatement,
    tells: Vec<Tell<R>>,
}

/// The sum of a column is that of its halves, each of which an engine can count whatever the numbers are.
const HALF: i64 = 1 << 32;

impl<R> Told<R> {
    fn nothing() -> Self {
        Self { select: Query::select(), tells: Vec::new() }
    }

    /// Adds the numbers of the rows that a SELECT finds, which has columns of their names.
    fn of(&mut self, rows: &SelectStatement, tell: Tell<R>) {
        let mut number = |number: Expr| {
            let select = rows.clone().expr(number.cast_as(Alias::new("bigint"))).to_owned();
            self.select.expr(Expr::SubQuery(None, Box::new(select.into())));
        };
        number(Func::count(Expr::col(Asterisk)).into());
        if let Tell::Sum(column, _) = &tell {
            for half in [Expr::col(column.clone()).div(constant(HALF)), Expr::col(column.clone()).modulo(constant(HALF))] {
                number(Func::coalesce([Func::sum(half).into(), constant(0)]).into());
            }
        }
        self.tells.push(tell);
    }

    /// The SELECT, which has a column even if nothing is told.
    fn select(mut self) -> (SelectStatement, Vec<Tell<R>>) {
        if self.tells.is_empty() {
            self.select.expr(constant(0));
        }
        (self.select, self.tells)
    }
}

fn constant(number: i64) -> Expr {
    Expr::Constant(Value::BigInt(Some(number)))
}

/// `WITH "e0" AS (UPDATE … RETURNING 1), … SELECT (SELECT COUNT(*) FROM "e0"), …`
fn all_in_one<R>(mut before: Told<R>, changes: Vec<Effect<R>>, kept: Option<InsertStatement>, after: Told<R>) -> Written<R> {
    let (changes_nothing, checks_nothing) = (changes.is_empty() && before.tells.is_empty(), after.tells.is_empty());
    let mut with = WithClause::new();
    for (nth, (change, tell)) in changes.into_iter().enumerate() {
        let name = Alias::new(format!("e{nth}"));
        let returned = match &tell {
            Some(Tell::Sum(column, _)) => Expr::col(column.clone()),
            _ => constant(1),
        };
        with.cte(part(name.clone(), change.returning(returned)));
        if let Some(tell) = tell {
            before.of(Query::select().from(name), tell);
        }
    }
    let (before, told_before) = before.select();
    let (after, told_after) = after.select();
    let changes = if changes_nothing { Trip::none() } else { Trip::of([before.with(with).build(PostgresQueryBuilder)], [told_before]) };
    let checks = match kept {
        Some(mut kept) => {
            let kept = kept.returning(Query::returning().expr(constant(1))).to_owned();
            Trip::of([after.with(part(Alias::new("kept"), kept.into()).into()).build(PostgresQueryBuilder)], [told_after])
        }
        None if checks_nothing => Trip::none(),
        None => Trip::of([after.build(PostgresQueryBuilder)], [told_after]),
    };
    Written { changes, checks }
}

fn part(name: Alias, statement: SubQueryStatement) -> CommonTableExpression {
    CommonTableExpression::new().query(statement).table_name(name).to_owned()
}

/// `SELECT (SELECT COUNT(*) FROM …), …; UPDATE …; …`
fn one_after_the_other<R>(mut before: Told<R>, changes: Vec<Effect<R>>, kept: Option<InsertStatement>, after: Told<R>) -> Written<R> {
    let mut statements = Vec::new();
    for (change, tell) in changes {
        statements.push(change.build());
        if let Some(tell) = tell {
            before.of(&change.rows().select(), tell);
        }
    }
    let (before, told_before) = before.select();
    let (after, told_after) = after.select();
    statements.insert(0, before.build(SqliteQueryBuilder));
    let after = after.build(SqliteQueryBuilder);
    match kept {
        Some(kept) => {
            let checks = Trip::of([kept.build(SqliteQueryBuilder), after], [told_after]);
            Written { changes: Trip::of(statements, [told_before]), checks }
        }
        // As they are one after the other, the checks need no trip of their own.
        None => {
            statements.push(after);
            Written { changes: Trip::of(statements, [told_before, told_after]), checks: Trip::none() }
        }
    }
}
