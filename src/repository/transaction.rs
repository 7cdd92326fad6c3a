//! Transactions that write, tried again when others were in the way.

use sea_orm::{DatabaseTransaction, SqliteTransactionMode, TransactionOptions, TransactionTrait};

use super::{Error, Repository, RowSecurity, in_own_task, row_security::Reach};
use crate::{domain::subject::Subject, fault::planted};

/// How often a transaction is tried.
const TRIES: u32 = 5;

/// Runs `$work` on data of `$subject` in a transaction of its own, again if others were in the way; gives what `$work` gives once that is
/// committed. Before each other try `$before` may find that it has been done already. If so, a commit of which nobody knows whether it
/// happened is tried again too. A part of the application's share is held meanwhile: the one that comes `with` it, or one that is waited for.
/// A macro, because no closure can yet lend a transaction to a future that must be `Send`.
macro_rules! in_transaction {
    (with $share:expr; $repository:expr, $subject:expr, $name:literal, $can_find:expr, $before:expr, $transaction:ident => $work:expr) => {{
        let _share: $crate::repository::share::Share = $share;
        let mut tries = $crate::repository::transaction::Tries::new($name);
        loop {
            if tries.others_were_made()
                && let Some(done) = $before
            {
                break Ok(done);
            }
            let begun = $repository.begin_about($subject).await?;
            let outcome = {
                let $transaction = &begun;
                async { $work }.await
            };
            match $crate::repository::transaction::end(begun, outcome).await {
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

impl Repository {
    /// Begins a transaction that writes what is held about `subject`.
    pub(super) async fn begin_about(&self, subject: &Subject) -> Result<DatabaseTransaction, Error> {
        let transaction = self.begin().await?;
        if self.row_security == RowSecurity::Binding {
            Reach::Subject(subject).set_within(&transaction).await?;
        }
        Ok(transaction)
    }

    /// Begins a transaction that may write. On SQLite it has the one write lock from the start.
    pub(super) async fn begin(&self) -> Result<DatabaseTransaction, Error> {
        let immediate = TransactionOptions { sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate), ..Default::default() };
        let connections = self.write().clone();
        // A caller that leaves while PostgreSQL answers BEGIN would leave an open transaction on a connection of the pool: sqlx rolls back
        // only what it has seen begun. So the answer is always waited for, and a transaction that nobody takes then is rolled back.
        Ok(in_own_task(async move { connections.begin_with_options(immediate).await }).await?)
    }
}

/// Commits what went well, and rolls back what did not.
pub(super) async fn end<T>(transaction: DatabaseTransaction, outcome: Result<T, Error>) -> Result<T, Error> {
    match outcome {
        Ok(_) if planted("bug.acknowledged-before-commit") => outcome,
        Ok(value) => match transaction.commit().await.map_err(Error::from) {
            Ok(()) => Ok(value),
            Err(Error::Unavailable(reason)) => Err(Error::CommitUnknown(reason)),
            Err(error) => Err(error),
        },
        Err(error) => {
            // A transaction that cannot be rolled back is one whose connection is gone, and so is the transaction.
            let _ = transaction.rollback().await;
            Err(error)
        }
    }
}
