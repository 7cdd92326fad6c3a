//! Subjects: finding them, and the lock that ingest and erasure take.

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, DbBackend, DeleteMany, EntityTrait, ExprTrait, QueryFilter, QuerySelect,
    QueryTrait, Select, UpdateMany,
    sea_query::{self, CaseStatement, Expr, LockType, OnConflict, SelectStatement},
};

use super::{
    Error, Repository,
    accepted_request::{is_accepted, repeated},
    effects::{Change, Rows},
    entity::subject,
    query::{Parameter, Query, integer, text},
    reader::Reading,
    row::Row,
};
use crate::{
    domain::{
        category::{Categories, Category},
        erasure::Once,
        subject::Subject,
    },
    fault::{crash_at, planted},
};

/// A subject that was imported for or erased: its number, and its epoch when it was looked up. Every erasure raises the epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    pub(super) subject_id: i64,
    epoch: i64,
}

impl Held {
    /// A subject by its number, for those who mind no epoch.
    pub(super) const fn of(subject_id: i64) -> Self {
        Self { subject_id, epoch: 0 }
    }

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

static HELD: Query = Query::new(|_| find(text(), text()).select_only().columns([subject::Column::Id, subject::Column::Epoch]).into_query());
static HELD_WITH_CATEGORIES: Query = Query::new(|_| {
    let mut select = find(text(), text()).select_only().columns([subject::Column::Id, subject::Column::Epoch]);
    for category in Category::ALL {
        let of_subject = sea_query::Query::select()
            .column((category.name(), "subject_id"))
            .from(category.name())
            .and_where(Expr::col((category.name(), "subject_id")).eq(Expr::col((subject::Entity, subject::Column::Id))))
            .to_owned();
        select = select.expr(Expr::exists(of_subject));
    }
    select.into_query()
});
static EPOCH: Query = Query::new(|_| {
    subject::Entity::find().select_only().column(subject::Column::Epoch).filter(Expr::col(subject::Column::Id).eq(integer())).into_query()
});

impl Reading {
    /// Looks the subject up; `None` if nobody has seen it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn find(&mut self, subject: &Subject) -> Result<Option<Held>, Error> {
        self.one(&HELD, &names(subject), |row| Ok(Held { subject_id: row.get(0)?, epoch: row.get(1)? })).await
    }

    /// The same, with the categories of which anything is held, forgotten or deleted or not.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn find_with_categories(&mut self, subject: &Subject) -> Result<Option<(Held, Categories)>, Error> {
        self.one(&HELD_WITH_CATEGORIES, &names(subject), |row| {
            let held = Held { subject_id: row.get(0)?, epoch: row.get(1)? };
            let mut categories = Vec::new();
            for (index, category) in Category::ALL.into_iter().enumerate() {
                if row.get(2 + index)? {
                    categories.push(category);
                }
            }
            Ok((held, categories.into_iter().collect()))
        })
        .await
    }

    /// Confirms that the subject was not erased since it was looked up.
    ///
    /// # Errors
    /// [`Error::ErasedMeanwhile`] when it was; others when the database does not answer.
    pub async fn confirm_not_erased(&mut self, held: &Held) -> Result<(), Error> {
        let epoch = self.one(&EPOCH, &[Parameter::Integer(held.subject_id)], |row| row.get::<i64>(0)).await?;
        if epoch == Some(held.epoch) || planted("bug.epoch-not-checked") { Ok(()) } else { Err(Error::ErasedMeanwhile) }
    }
}

/// The number of the subject that is named by [`names`].
pub(super) fn id_of_named() -> SelectStatement {
    find(text(), text()).select_only().column(subject::Column::Id).into_query()
}

/// The parameters that name a subject.
pub(super) fn names(subject: &Subject) -> [Parameter<'_>; 2] {
    [Parameter::Text(subject.application().as_str()), Parameter::Text(subject.user_token().as_str())]
}

impl Repository {
    /// Locks the subject for an import until the transaction ends, and raises its revision; makes it if there is none.
    pub(super) async fn lock_for_import(&self, transaction: &DatabaseTransaction, subject: &Subject) -> Result<subject::Model, Error> {
        let (application, user_token) = (subject.application().as_str(), subject.user_token().as_str());
        let raised = Expr::col((subject::Entity, subject::Column::Revision)).add(1);
        if planted("bug.import-takes-no-lock")
            && let Some(row) = find(Expr::val(application), Expr::val(user_token)).one(transaction).await?
        {
            return Ok(row);
        }
        let raise = subject::Entity::update_many()
            .col_expr(subject::Column::Revision, raised.clone())
            .filter(subject::Column::ApplicationId.eq(application))
            .filter(subject::Column::UserToken.eq(user_token));
        if let Some(row) = raise.exec_with_returning(transaction).await?.pop() {
            return Ok(row);
        }
        let row = subject::ActiveModel { epoch: Set(0), revision: Set(1), ..new(subject, self.clock.now().0) };
        let unique = by_name().value(subject::Column::Revision, raised).to_owned();
        Ok(subject::Entity::insert(row).on_conflict(unique).exec_with_returning(transaction).await?)
    }
}

/// A subject that is locked for an erasure.
pub(super) struct Locked {
    pub(super) held: Held,
    /// Of its data, before the erasure.
    pub(super) revision: i64,
    /// When its vault was erased last.
    pub(super) vault_erased_at: Option<i64>,
}

impl Locked {
    /// When an erasure of the vault happens `now`: after the last one.
    pub(super) fn vault_erased_from(&self, now: i64) -> i64 {
        self.vault_erased_at.map_or(now, |last| Ord::max(now, last.saturating_add(1)))
    }
}

const LOCKED_COLUMNS: [subject::Column; 4] =
    [subject::Column::Id, subject::Column::Epoch, subject::Column::Revision, subject::Column::VaultErasedAt];

static LOCKED: Query = Query::new(|_| find(text(), text()).select_only().columns(LOCKED_COLUMNS).into_query());

impl Repository {
    /// Locks the subject for an erasure until the transaction ends; makes it if there is none, for what a late job brings of a user who was
    /// erased before is refused too. Raising its epoch is the erasure's: [`note_erasures`] or [`raise_epoch`].
    ///
    /// # Errors
    /// [`Error::Conflict`] when its request was accepted before; others when the database does not answer.
    pub(super) async fn lock(&self, transaction: &DatabaseTransaction, subject: &Subject, once: Option<&Once>) -> Result<Locked, Error> {
        crash_at("erasure.before_lock");
        let found = match transaction.get_database_backend() {
            DbBackend::Sqlite => self.locked_by_sqlite(subject, once).await?,
            _ => locked_by_postgres(transaction, subject, once).await?,
        };
        if let Some(locked) = found {
            return Ok(locked);
        }
        let row = subject::ActiveModel { epoch: Set(0), revision: Set(0), ..new(subject, self.clock.now().0) };
        // Another call may be making it: wait for it, and lock that.
        let locked = by_name().update_column(subject::Column::ApplicationId).to_owned();
        let row = subject::Entity::insert(row).on_conflict(locked).exec_with_returning(transaction).await?;
        Ok(Locked { revision: row.revision, vault_erased_at: row.vault_erased_at, held: row.into() })
    }

    /// A transaction that writes has SQLite's one lock: what is read beside it, without a call to its thread, stays so until it ends.
    async fn locked_by_sqlite(&self, subject: &Subject, once: Option<&Once>) -> Result<Option<Locked>, Error> {
        let mut reading = self.reading(subject).await?;
        if let Some(once) = once
            && reading.is_accepted(subject.application(), once).await?
        {
            return Err(repeated());
        }
        let locked = |row: Row<'_>| {
            let held = Held { subject_id: row.get(0)?, epoch: row.get(1)? };
            Ok(Locked { held, revision: row.get(2)?, vault_erased_at: row.get(3)? })
        };
        reading.one(&LOCKED, &names(subject), locked).await
    }
}

/// If there is such a subject, PostgreSQL plans from here to the end of the transaction each statement once for all subjects: to plan an
/// erasure's takes longer than to change a small user's rows. Set on the way, for a trip of its own would take as long.
async fn locked_by_postgres(transaction: &DatabaseTransaction, subject: &Subject, once: Option<&Once>) -> Result<Option<Locked>, Error> {
    let (application, user_token) = (subject.application().as_str(), subject.user_token().as_str());
    let is_repeated = once.map_or(Expr::val(false), |once| is_accepted(subject.application(), once));
    let columns = LOCKED_COLUMNS.map(Expr::col);
    let mut lock = find(Expr::val(application), Expr::val(user_token)).select_only().into_query();
    let plans_once = Expr::cust("set_config('plan_cache_mode', 'force_generic_plan', true)");
    lock.exprs(columns.into_iter().chain([is_repeated, plans_once])).lock(LockType::NoKeyUpdate);
    let Some(row) = transaction.query_one(&lock).await? else { return Ok(None) };
    if row.try_get_by_index(LOCKED_COLUMNS.len())? {
        return Err(repeated());
    }
    let held = Held { subject_id: row.try_get_by_index(0)?, epoch: row.try_get_by_index(1)? };
    Ok(Some(Locked { held, revision: row.try_get_by_index(2)?, vault_erased_at: row.try_get_by_index(3)? }))
}

fn raised_epoch() -> Expr {
    let by = if planted("bug.epoch-not-raised") { 0 } else { 1 };
    Expr::col((subject::Entity, subject::Column::Epoch)).add(by)
}

/// Raises the epoch of a subject that is locked.
pub(super) async fn raise_epoch(transaction: &DatabaseTransaction, held: &Held) -> Result<(), Error> {
    let raise =
        subject::Entity::update_many().col_expr(subject::Column::Epoch, raised_epoch()).filter(subject::Column::Id.eq(held.subject_id));
    raise.exec(transaction).await?;
    Ok(())
}

/// A row for a subject nobody has seen.
fn new(subject: &Subject, now: i64) -> subject::ActiveModel {
    subject::ActiveModel {
        application_id: Set(subject.application().as_str().to_owned()),
        user_token: Set(subject.user_token().as_str().to_owned()),
        created_at: Set(now),
        ..Default::default()
    }
}

fn by_name() -> OnConflict {
    OnConflict::columns([subject::Column::ApplicationId, subject::Column::UserToken])
}

pub(super) fn find(application_id: Expr, user_token: Expr) -> Select<subject::Entity> {
    subject::Entity::find()
        .filter(Expr::col(subject::Column::ApplicationId).eq(application_id))
        .filter(Expr::col(subject::Column::UserToken).eq(user_token))
}

/// Raises the epoch, and notes when erasures of these kinds happen: at a moment under the lock, for what came before it is erased with the
/// rest. The note never goes back, whatever the clocks of replicas say.
pub(super) fn note_erasures(held: &Held, kinds: impl Iterator<Item = (subject::Column, i64)>) -> Change {
    let latest = |(kind, at): (subject::Column, i64)| {
        let is_earlier = Condition::any().add(kind.is_null()).add(kind.lt(at));
        (kind, CaseStatement::new().case(is_earlier, at).finally(Expr::col(kind)).into())
    };
    Rows::of::<subject::Entity>(subject::Column::Id.eq(held.subject_id))
        .update(kinds.map(latest).chain([(subject::Column::Epoch, raised_epoch())]))
}

/// The deletion of the subject's rows of a table.
pub(super) fn delete_rows<E: EntityTrait>(held: &Held) -> DeleteMany<E> {
    E::delete_many().filter(Expr::col("subject_id").eq(held.subject_id))
}

/// A change to the subject's rows of a table.
pub(super) fn update_rows<E: EntityTrait>(held: &Held) -> UpdateMany<E> {
    E::update_many().filter(Expr::col("subject_id").eq(held.subject_id))
}
