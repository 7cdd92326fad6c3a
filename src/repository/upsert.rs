//! Inserting rows, or replacing those with the same ids.

use std::collections::HashMap;

use sea_orm::{
    ActiveModelBehavior, ActiveModelTrait, DatabaseTransaction, EntityTrait, IdenStatic, IntoActiveModel, Iterable, sea_query::OnConflict,
};

use super::Error;

/// No statement has more parameters: SQLite takes 32,766, PostgreSQL 65,535.
const MAX_PARAMETERS: usize = 30_000;

/// Inserts the rows, by as few statements as may be. No two rows may conflict with each other.
pub(super) async fn upsert<M>(transaction: &DatabaseTransaction, rows: Vec<M>, conflict: OnConflict) -> Result<(), Error>
where
    M: IntoActiveModel<<M::Entity as EntityTrait>::ActiveModel> + sea_orm::ModelTrait,
    <M::Entity as EntityTrait>::ActiveModel: ActiveModelBehavior + Send,
    <M::Entity as EntityTrait>::Column: Iterable,
{
    let columns = <M::Entity as EntityTrait>::Column::iter().count();
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        let some = rows.by_ref().take(MAX_PARAMETERS / columns).map(IntoActiveModel::into_active_model);
        <<<M::Entity as EntityTrait>::ActiveModel as ActiveModelTrait>::Entity as EntityTrait>::insert_many(some)
            .on_conflict(conflict.clone())
            .exec_without_returning(transaction)
            .await?;
    }
    Ok(())
}

/// On a record with the same id: replace everything but the columns in `kept`.
pub(super) fn by_id<E>(kept: &[E::Column]) -> OnConflict
where
    E: EntityTrait,
    E::Column: Iterable + Copy,
{
    let kept =
        |column: &E::Column| ["subject_id", "id"].contains(&column.as_str()) || kept.iter().any(|kept| kept.as_str() == column.as_str());
    OnConflict::columns(["subject_id", "id"]).update_columns(E::Column::iter().filter(|column| !kept(column))).to_owned()
}

/// Of rows with the same id only the last: one statement may not touch a row twice.
pub(super) fn latest_by_id<'a, M>(rows: impl Iterator<Item = (&'a str, M)>) -> Vec<M> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut latest = Vec::new();
    for (id, row) in rows {
        match places.get(id) {
            Some(place) => latest[*place] = row,
            None => {
                places.insert(id, latest.len());
                latest.push(row);
            }
        }
    }
    latest
}
