//! Which records of a request are held already.

use sea_orm::{
    ConnectionTrait, DbBackend, EntityTrait, ExprTrait, JoinType, TryGetableMany,
    sea_query::{Asterisk, Expr, Func, Query},
};

use super::Import;
use crate::repository::Error;

/// How many ids are looked for at once.
const IDS: usize = 1_000;

impl Import<'_> {
    /// These columns of the records with these ids that are held: a subject has one of an id at most.
    pub(super) async fn held_records<E: EntityTrait, T: TryGetableMany>(
        &self,
        ids: &[&str],
        columns: &[E::Column],
    ) -> Result<Vec<T>, Error> {
        let of_subject = Query::select()
            .columns(columns.iter().copied())
            .from(E::default().table_ref())
            .and_where(Expr::col("subject_id").eq(self.held.subject_id))
            .to_owned();
        let mut held = Vec::new();
        for ids in ids.chunks(IDS) {
            let mut select = of_subject.clone();
            if self.transaction.get_database_backend() == DbBackend::Postgres {
                // Each id by itself: of all at once PostgreSQL may compare every row of the subject with each of them, as long as it knows
                // nothing of the table. The limit keeps it from making one of the two.
                let of_id = select.and_where(Expr::col("id").eq(Expr::col("sent"))).limit(1).to_owned();
                let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
                select = Query::select()
                    .column(("held", Asterisk))
                    .from_function(Func::cust("unnest").arg(Expr::val(ids)), "sent")
                    .join_lateral(JoinType::InnerJoin, of_id, "held", Expr::cust("true"))
                    .to_owned();
            } else {
                select.and_where(Expr::col("id").is_in(ids.iter().copied()));
            }
            for row in self.transaction.query_all(&select).await? {
                held.push(T::try_get_many_by_index(&row).map_err(sea_orm::DbErr::from)?);
            }
        }
        Ok(held)
    }
}
