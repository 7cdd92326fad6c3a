//! Which records of a request are held already.

use sea_orm::{
    ConnectionTrait, DbBackend, EntityTrait, ExprTrait, JoinType, TryGetableMany,
    sea_query::{Asterisk, Condition, Expr, Func, Query},
};

use super::Import;
use crate::repository::Error;

/// How many values are looked for at once.
const VALUES: usize = 1_000;

impl Import<'_> {
    /// These columns of the records with these ids that are held: a subject has one of an id at most.
    pub(super) async fn held_records<E: EntityTrait, T: TryGetableMany>(
        &self,
        ids: &[&str],
        columns: &[E::Column],
    ) -> Result<Vec<T>, Error> {
        self.held_by::<E, T>("id", Condition::all(), ids, columns).await
    }

    /// The same by the values of another column, of which a subject has one at most among those that fulfil a condition.
    pub(super) async fn held_by<E: EntityTrait, T: TryGetableMany>(
        &self,
        key: &'static str,
        which: Condition,
        values: &[&str],
        columns: &[E::Column],
    ) -> Result<Vec<T>, Error> {
        let of_subject = Query::select()
            .columns(columns.iter().copied())
            .from(E::default().table_ref())
            .and_where(Expr::col("subject_id").eq(self.held.subject_id))
            .cond_where(which)
            .to_owned();
        let mut held = Vec::new();
        for values in values.chunks(VALUES) {
            let mut select = of_subject.clone();
            if self.transaction.get_database_backend() == DbBackend::Postgres {
                // Each value by itself: of all at once PostgreSQL may compare every row of the subject with each of them, as long as it knows
                // nothing of the table. The limit keeps it from making one of the two.
                let of_value = select.and_where(Expr::col(key).eq(Expr::col("sent"))).limit(1).to_owned();
                let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
                select = Query::select()
                    .column(("held", Asterisk))
                    .from_function(Func::cust("unnest").arg(Expr::val(values)), "sent")
                    .join_lateral(JoinType::InnerJoin, of_value, "held", Expr::cust("true"))
                    .to_owned();
            } else {
                select.and_where(Expr::col(key).is_in(values.iter().copied()));
            }
            for row in self.transaction.query_all(&select).await? {
                held.push(T::try_get_many_by_index(&row).map_err(sea_orm::DbErr::from)?);
            }
        }
        Ok(held)
    }
}
