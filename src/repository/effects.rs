//! What an erasure does to rows, in two trips to the database: effects that do not depend on each other, and what the report is told of
//! each; then the look at what is left, together with what the first trip has given to be kept.
//!
//! On PostgreSQL a trip is one statement, so that all of it sees the rows as they were before. SQLite knows no such statement, and runs them
//! one after the other.

use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, Statement,
    sea_query::{
        Alias, Asterisk, CommonTableExpression, DeleteStatement, DynIden, Expr, Func, InsertStatement, IntoIden, Query, ReturningClause,
        SelectStatement, SqliteQueryBuilder, SubQueryStatement, UnionType, UpdateStatement, Value, Values, WithClause, WithQuery,
    },
};

use super::Error;

/// How many effects make one trip: each names up to 512 ids, and PostgreSQL takes 65,535 parameters.
const AT_ONCE: usize = 64;

/// Effects that do not depend on each other: no two change the same row, and none minds what another has changed, save the checks, which
/// look at what all have changed.
pub(super) struct Effects<R> {
    changes: Vec<Effect<R>>,
    /// Counts of what is there after them.
    checks: Vec<Effect<R>>,
}

struct Effect<R> {
    change: Change,
    tell: Tell<R>,
}

/// A statement that changes rows, or finds those to be counted.
pub(super) enum Change {
    Count(SelectStatement),
    Insert(InsertStatement),
    Update(UpdateStatement),
    Delete(DeleteStatement),
}

impl From<SelectStatement> for Change {
    fn from(statement: SelectStatement) -> Self {
        Self::Count(statement)
    }
}

impl From<InsertStatement> for Change {
    fn from(statement: InsertStatement) -> Self {
        Self::Insert(statement)
    }
}

impl From<UpdateStatement> for Change {
    fn from(statement: UpdateStatement) -> Self {
        Self::Update(statement)
    }
}

impl From<DeleteStatement> for Change {
    fn from(statement: DeleteStatement) -> Self {
        Self::Delete(statement)
    }
}

impl Change {
    fn returning(&self, what: ReturningClause) -> Self {
        match self {
            Self::Count(statement) => Self::Count(statement.clone()),
            Self::Insert(statement) => Self::Insert(statement.clone().returning(what).to_owned()),
            Self::Update(statement) => Self::Update(statement.clone().returning(what).to_owned()),
            Self::Delete(statement) => Self::Delete(statement.clone().returning(what).to_owned()),
        }
    }

    fn build(&self) -> (String, Values) {
        match self {
            Self::Count(statement) => statement.build(SqliteQueryBuilder),
            Self::Insert(statement) => statement.build(SqliteQueryBuilder),
            Self::Update(statement) => statement.build(SqliteQueryBuilder),
            Self::Delete(statement) => statement.build(SqliteQueryBuilder),
        }
    }
}

impl From<Change> for SubQueryStatement {
    fn from(change: Change) -> Self {
        match change {
            Change::Count(statement) => statement.into(),
            Change::Insert(statement) => statement.into(),
            Change::Update(statement) => statement.into(),
            Change::Delete(statement) => statement.into(),
        }
    }
}

/// What a report `R` is told.
enum Tell<R> {
    /// How many rows changed.
    Rows(fn(&mut R, u64)),
    /// Of every changed row, the number in a column.
    Each(DynIden, fn(&mut R, i64)),
}

impl<R> Effects<R> {
    pub(super) fn none() -> Self {
        Self { changes: Vec::new(), checks: Vec::new() }
    }

    /// Adds an effect; `tell` is given how many rows it changed.
    pub(super) fn add(&mut self, change: impl Into<Change>, tell: fn(&mut R, u64)) {
        self.changes.push(Effect { change: change.into(), tell: Tell::Rows(tell) });
    }

    /// Adds a count; `tell` is given how many rows `select` finds when all effects have taken place.
    pub(super) fn check(&mut self, select: SelectStatement, tell: fn(&mut R, u64)) {
        self.checks.push(Effect { change: Change::Count(select), tell: Tell::Rows(tell) });
    }

    /// Adds an effect; `tell` is given the number in `column` of every row it changed.
    pub(super) fn add_each(&mut self, change: impl Into<Change>, column: impl IntoIden, tell: fn(&mut R, i64)) {
        self.changes.push(Effect { change: change.into(), tell: Tell::Each(column.into_iden(), tell) });
    }

    /// Has them take place, and tells the report.
    pub(super) async fn take_place(self, transaction: &DatabaseTransaction, report: &mut R) -> Result<(), Error> {
        let Written { changes, checks } = self.write(transaction.get_database_backend(), None);
        changes.take_place(transaction, report, Vec::new(), Clone::clone).await?;
        checks.take_place(transaction, report, Vec::new(), Clone::clone).await
    }

    /// Writes their text. With `kept`, a statement like it becomes the first of the checks.
    pub(super) fn write(self, backend: DbBackend, kept: Option<InsertStatement>) -> Written<R> {
        let Self { mut changes, mut checks } = self;
        match kept {
            Some(kept) => checks.insert(0, Effect { change: kept.into(), tell: Tell::Rows(|_, _| {}) }),
            // One after the other as they are, they need no trip of their own.
            None if backend == DbBackend::Sqlite => changes.append(&mut checks),
            None => {}
        }
        Written { changes: Trips::write(changes, backend), checks: Trips::write(checks, backend) }
    }
}

/// Effects whose text is written.
pub(super) struct Written<R> {
    /// What changes.
    pub(super) changes: Trips<R>,
    /// What is looked at afterwards.
    pub(super) checks: Trips<R>,
}

/// Statements, and what is told of each.
pub(super) struct Trips<R>(Vec<Trip<R>>);

struct Trip<R> {
    sql: String,
    values: Vec<Value>,
    tells: Vec<Tell<R>>,
}

impl<R> Trips<R> {
    fn write(mut effects: Vec<Effect<R>>, backend: DbBackend) -> Self {
        let mut trips = Vec::new();
        while !effects.is_empty() {
            let trip: Vec<_> = effects.drain(..effects.len().min(AT_ONCE)).collect();
            let Statement { sql, values, .. } = match backend {
                DbBackend::Sqlite => one_after_the_other(&trip),
                backend => backend.build(&all_in_one(&trip)),
            };
            let tells = trip.into_iter().map(|effect| effect.tell).collect();
            trips.push(Trip { sql, values: values.map_or_else(Vec::new, |values| values.0), tells });
        }
        Self(trips)
    }

    /// The statements and the values they were written with.
    #[cfg(test)]
    pub(super) fn statements(&self) -> impl Iterator<Item = (&str, &[Value])> {
        self.0.iter().map(|trip| (trip.sql.as_str(), trip.values.as_slice()))
    }

    /// Has them take place with the values that `fill` makes of those they were written with, but for the first, which are `first`.
    pub(super) async fn take_place(
        &self,
        transaction: &DatabaseTransaction,
        report: &mut R,
        mut first: Vec<Value>,
        fill: impl Fn(&Value) -> Value,
    ) -> Result<(), Error> {
        for Trip { sql, values, tells } in &self.0 {
            let mut filled = std::mem::take(&mut first);
            filled.extend(values.iter().skip(filled.len()).map(&fill));
            let statement = Statement::from_sql_and_values(transaction.get_database_backend(), sql, filled);
            // Of each row that is found, which effect it is about comes first.
            for row in transaction.query_all_raw(statement).await? {
                let (nth, number): (i32, i64) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
                match usize::try_from(nth).ok().and_then(|nth| tells.get(nth)) {
                    Some(Tell::Rows(tell)) => tell(report, number.unsigned_abs()),
                    Some(Tell::Each(_, tell)) => tell(report, number),
                    None => return Err(Error::Corrupt("an effect that nobody asked for")),
                }
            }
        }
        Ok(())
    }
}

fn number(nth: usize) -> Expr {
    Expr::Constant(Value::BigUnsigned(Some(nth as u64)))
}

/// `WITH "e0" AS (UPDATE … RETURNING 1), … SELECT 0, COUNT(*) FROM "e0" UNION ALL …`
fn all_in_one<R>(effects: &[Effect<R>]) -> WithQuery {
    let mut with = WithClause::new();
    let mut told: Option<SelectStatement> = None;
    for (nth, Effect { change, tell }) in effects.iter().enumerate() {
        let name = Alias::new(format!("e{nth}"));
        let (returned, number_told) = match tell {
            Tell::Rows(_) => (number(1), Func::count(Expr::col(Asterisk)).into()),
            Tell::Each(column, _) => (Expr::col(column.clone()), Expr::col(column.clone())),
        };
        let change = change.returning(Query::returning().expr(returned));
        with.cte(CommonTableExpression::new().query(change).table_name(name.clone()).to_owned());
        let select = Query::select().expr(number(nth)).expr(number_told).from(name).to_owned();
        told = Some(match told {
            None => select,
            Some(mut told) => told.union(UnionType::All, select).to_owned(),
        });
    }
    told.unwrap_or_default().with(with)
}

/// `UPDATE …; SELECT 0, changes(); …`
fn one_after_the_other<R>(effects: &[Effect<R>]) -> Statement {
    let (mut sql, mut values) = (String::new(), Vec::new());
    for (nth, Effect { change, tell }) in effects.iter().enumerate() {
        let (text, parameters) = match tell {
            Tell::Rows(_) => {
                let (text, parameters) = change.build();
                let told = match change {
                    Change::Count(_) => format!("SELECT {nth}, COUNT(*) FROM ({text}); "),
                    _ => format!("{text}; SELECT {nth}, changes(); "),
                };
                (told, parameters)
            }
            Tell::Each(column, _) => {
                let returned = Query::returning().exprs([number(nth), Expr::col(column.clone())]);
                let (text, parameters) = change.returning(returned).build();
                (format!("{text}; "), parameters)
            }
        };
        sql.push_str(&text);
        values.extend(parameters.0);
    }
    Statement::from_sql_and_values(DbBackend::Sqlite, sql, values)
}
