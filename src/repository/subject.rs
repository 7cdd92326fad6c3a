//! Subjects: finding them, and the lock that ingest and erasure take.

use std::ops::ControlFlow;

use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, ExprTrait, QueryFilter, QuerySelect,
    sea_query::{Expr, OnConflict, Query},
};

use super::{Error, Repository, entity::subject, reader::Reading};
use crate::domain::{
    category::{Categories, Category},
    subject::Subject,
};

/// A subject about whom something is held: its number, and its epoch when it was looked up. Every erasure raises the epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    pub(super) subject_id: i64,
    epoch: i64,
}

impl Held {
    /// The epoch when it was looked up.
    pub fn epoch(&self) -> i64 {
        self.epoch
    }
}

impl From<subject::Model> for Held {
    fn from(row: subject::Model) -> Self {
        Self { subject_id: row.id, epoch: row.epoch }
    }
}

impl Reading {
    /// Looks the subject up; `None` if nothing was ever held about it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn find(&mut self, subject: &Subject) -> Result<Option<Held>, Error> {
        Ok(self.one(find(subject)).await?.map(Held::from))
    }

    /// The same, with the categories of which anything is held, forgotten or deleted or not.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn find_with_categories(&mut self, subject: &Subject) -> Result<Option<(Held, Categories)>, Error> {
        let mut select = find(subject).select_only().columns([subject::Column::Id, subject::Column::Epoch]);
        for category in Category::ALL {
            let held = Query::select()
                .expr(Expr::val(1))
                .from(category.name())
                .and_where(Expr::col((category.name(), "subject_id")).eq(Expr::col((subject::Entity, subject::Column::Id))))
                .to_owned();
            select = select.expr(Expr::exists(held));
        }
        let mut found = None;
        self.rows(select, |row| {
            let held = Held { subject_id: row.get(0)?, epoch: row.get(1)? };
            let mut categories = Vec::new();
            for (index, category) in Category::ALL.into_iter().enumerate() {
                if row.get(2 + index)? {
                    categories.push(category);
                }
            }
            found = Some((held, categories.into_iter().collect()));
            Ok(ControlFlow::Break(()))
        })
        .await?;
        Ok(found)
    }

    /// Confirms that the subject was not erased since it was looked up.
    ///
    /// # Errors
    /// [`Error::ErasedMeanwhile`] when it was; others when the database does not answer.
    pub async fn confirm_not_erased(&mut self, held: &Held) -> Result<(), Error> {
        let row = self.one(subject::Entity::find_by_id(held.subject_id)).await?;
        if row.is_some_and(|row| row.epoch == held.epoch) { Ok(()) } else { Err(Error::ErasedMeanwhile) }
    }
}

impl Repository {
    /// Locks the subject for an import until the transaction ends; makes it if there is none.
    pub(super) async fn lock_for_import(&self, transaction: &DatabaseTransaction, subject: &Subject) -> Result<Held, Error> {
        if let Some(row) = find(subject).lock_exclusive().one(transaction).await? {
            return Ok(row.into());
        }
        let row = subject::ActiveModel {
            id: NotSet,
            application_id: Set(subject.application().as_str().to_owned()),
            user_token: Set(subject.user_token().as_str().to_owned()),
            epoch: Set(0),
            created_at: Set(self.clock.now().0),
        };
        // Another import may be making it: wait for its row, and lock that.
        let unique = OnConflict::columns([subject::Column::ApplicationId, subject::Column::UserToken])
            .value(subject::Column::Epoch, Expr::col((subject::Entity, subject::Column::Epoch)))
            .to_owned();
        Ok(subject::Entity::insert(row).on_conflict(unique).exec_with_returning(transaction).await?.into())
    }
}

/// Locks the subject for an erasure until the transaction ends, and raises its epoch; `None` if nothing was ever held about it.
pub(super) async fn lock_for_erasure(transaction: &DatabaseTransaction, subject: &Subject) -> Result<Option<Held>, Error> {
    let rows = subject::Entity::update_many()
        .col_expr(subject::Column::Epoch, Expr::col(subject::Column::Epoch).add(1))
        .filter(subject::Column::ApplicationId.eq(subject.application().as_str()))
        .filter(subject::Column::UserToken.eq(subject.user_token().as_str()))
        .exec_with_returning(transaction)
        .await?;
    Ok(rows.into_iter().next().map(Held::from))
}

fn find(subject: &Subject) -> sea_orm::Select<subject::Entity> {
    subject::Entity::find()
        .filter(subject::Column::ApplicationId.eq(subject.application().as_str()))
        .filter(subject::Column::UserToken.eq(subject.user_token().as_str()))
}

/// Deletes the subject's rows of a table that also meet `more`; tells how many.
pub(super) async fn delete_rows<E, C>(connection: &C, held: &Held, more: sea_orm::Condition) -> Result<u64, Error>
where
    E: EntityTrait,
    C: ConnectionTrait,
{
    let deleted = E::delete_many().filter(Expr::col("subject_id").eq(held.subject_id)).filter(more).exec(connection).await?;
    Ok(deleted.rows_affected)
}
