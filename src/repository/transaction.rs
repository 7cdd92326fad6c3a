//! Transactions that write, tried again when others were in the way.

use std::sync::Arc;

use sea_orm::{DatabaseConnection, DatabaseTransaction, SqliteTransactionMode, TransactionOptions, TransactionTrait};
use tokio::time::{Instant, sleep, timeout};

use super::{
    Error, Repository, RowSecurity,
    connect::{LAST_STATEMENT, SQLITE_BUSY},
    in_own_task,
    row_security::Reach,
    share::Share,
};
use crate::{domain::subject::Subject, fault::planted};

/// How often a transaction is tried.
const TRIES: u32 = 5;

/// Runs `$work` on data of `$subject` in a transaction of its own, again if others were in the way; gives what `$work` gives once that is
/// committed. Before each other try `$before` may find that it has been done already. If so, a commit of which nobody knows whether it
/// happened is tried again too. A part of the application's share is held meanwhile: the one that comes `with` it, or one that is waited for.
/// A macro, because no closure can yet lend a transaction to a future that must be `Send`.
macro_rules! in_transaction {
    (with $share:expr; $repository:expr, $subject:expr, $name:literal, $can_find:expr, $before:expr, $transaction:ident => $work:expr) => {{
        let share: $crate::repository::share::Share = $share;
        let mut tries = $crate::repository::transaction::Tries::new($name);
        loop {
            if tries.others_were_made()
                && let Some(done) = $before
            {
                break Ok(done);
            }
            let begun = $repository.begin_sharing($subject, &share).await?;
            let outcome = {
                let $transaction = begun.transaction()?;
                async { $work }.await
            };
            match begun.end(outcome).await {
                Err($crate::repository::Error::Conflict(reason)) if tries.again(&reason) => {}
                Err($crate::repository::Error::CommitUnknown(reason)) if $can_find && tries.again(&reason) => {}
                // Somebody else may have done it, or oneself, before the database would take no more.
                outcome @ Err($crate::repository::Error::Conflict(_) | $crate::repository::Error::Unavailable(_)) if $can_find => {
                    break match $before {
                        Some(done) => Ok(done),
                        None => outcome,
                    };
                }
                outcome => break outcome,
            }
        }
    }};
    ($repository:expr, $subject:expr, $name:literal, $transaction:ident => $work:expr) => {
        $crate::repository::transaction::in_transaction!($repository, $subject, $name, false, None, $transaction => $work)
    };
    ($repository:expr, $subject:expr, $name:literal, $can_find:expr, $before:expr, $transaction:ident => $work:expr) => {{
        let share = $repository.write_shares.take($subject.application()).await?;
        $crate::repository::transaction::in_transaction!(with share; $repository, $subject, $name, $can_find, $before, $transaction => $work)
    }};
}
pub(super) use in_transaction;

/// How often a transaction was tried.
pub(super) struct Tries {
    name: &'static str,
    made: u32,
}

impl Tries {
    /// One try has begun.
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, made: 1 }
    }

    /// Whether this is not the first try.
    pub(super) fn others_were_made(&self) -> bool {
        self.made > 1
    }

    /// Whether to try again after a conflict.
    pub(super) fn again(&mut self, reason: &str) -> bool {
        tracing::debug!(transaction = self.name, tries = self.made, reason, "conflict");
        self.made += 1;
        self.made <= TRIES
    }
}

/// A transaction that has begun, and the part of a share that its connection takes. Where a call is dropped, both are given back together.
pub(super) struct Begun {
    /// `None` only while it ends.
    transaction: Option<DatabaseTransaction>,
    share: Share,
}

impl Begun {
    pub(super) fn transaction(&self) -> Result<&DatabaseTransaction, Error> {
        self.transaction.as_ref().ok_or_else(|| Error::Refused("a transaction was used after its end".to_owned()))
    }

    /// Commits what went well, and rolls back what did not.
    pub(super) async fn end<T>(mut self, outcome: Result<T, Error>) -> Result<T, Error> {
        let Some(transaction) = self.transaction.take() else { return outcome };
        let share = Arc::clone(&self.share);
        let is_good = outcome.is_ok() && !planted("bug.acknowledged-before-commit");
        // In a task of its own: a caller that leaves meanwhile would leave the connection busy.
        let ended = in_own_task(async move {
            let ended = if is_good { transaction.commit().await } else { transaction.rollback().await };
            drop(share);
            ended
        });
        match (outcome, ended.await.map_err(Error::from)) {
            (Ok(_), Err(Error::Unavailable(reason))) if is_good => Err(Error::CommitUnknown(reason)),
            (Ok(_), Err(error)) if is_good => Err(error),
            // One that cannot be rolled back has ended already, or ends with its connection, which the pool then closes.
            (outcome, _) => outcome,
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let Some(transaction) = self.transaction.take() else { return };
        let share = Arc::clone(&self.share);
        tokio::spawn(async move {
            // This waits for the statement that the call was waiting for. The pool waits for it once more, and then closes the connection.
            if timeout(LAST_STATEMENT, transaction.rollback()).await.is_err() {
                sleep(LAST_STATEMENT).await;
            }
            drop(share);
        });
    }
}

impl Repository {
    /// Begins a transaction that writes what is held about `subject`, on a connection that takes this part of a share.
    pub(super) async fn begin_sharing(&self, subject: &Subject, share: &Share) -> Result<Begun, Error> {
        let (connections, share) = (self.write().clone(), Arc::clone(share));
        let begun = in_own_task(async move {
            let transaction = Some(begin_on(&connections).await?);
            Ok::<_, Error>(Begun { transaction, share })
        });
        let begun = begun.await?;
        self.reach(subject, begun.transaction()?).await?;
        Ok(begun)
    }

    /// The same, of nobody's share.
    pub(super) async fn begin_about(&self, subject: &Subject) -> Result<DatabaseTransaction, Error> {
        let transaction = self.begin().await?;
        self.reach(subject, &transaction).await?;
        Ok(transaction)
    }

    async fn reach(&self, subject: &Subject, transaction: &DatabaseTransaction) -> Result<(), Error> {
        match self.row_security {
            RowSecurity::Binding => Reach::Subject(subject).set_within(transaction).await,
            _ => Ok(()),
        }
    }

    /// Begins a transaction that may write.
    pub(super) async fn begin(&self) -> Result<DatabaseTransaction, Error> {
        let connections = self.write().clone();
        in_own_task(async move { begin_on(&connections).await }).await
    }
}

/// Begins a transaction that may write; on SQLite it has the one write lock from the start. Whoever left this while PostgreSQL answers BEGIN
/// would leave an open transaction on a connection of the pool, for sqlx rolls back only what it has seen begun. So it has a task of its own:
/// the answer is always waited for, and a transaction that nobody takes then is rolled back.
async fn begin_on(connections: &DatabaseConnection) -> Result<DatabaseTransaction, Error> {
    let patience = Instant::now() + SQLITE_BUSY;
    loop {
        let immediate = TransactionOptions { sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate), ..Default::default() };
        match connections.begin_with_options(immediate).await.map_err(Error::from) {
            // Another process writes to the file.
            Err(Error::Conflict(_)) if Instant::now() < patience => {}
            outcome => break outcome,
        }
    }
}
