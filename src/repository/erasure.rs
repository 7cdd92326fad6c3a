//! An erasure as far as its statements depend on it. But for the values of it their text is always the same, and to write that takes longer
//! than a trip to the database: so it is written once, for a stand-in, and filled with the values of each erasure.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use sea_orm::sea_query::Value;

use super::{Held, removal::after_lease};

/// Of whom, and when.
pub(super) struct Erasure {
    pub(super) held: Held,
    /// In nanoseconds of the Unix epoch.
    pub(super) now: i64,
    /// The same for the vault, but after its last erasure, whatever that one's clock had: which came first says whose a file is.
    pub(super) vault_at: i64,
}

impl Erasure {
    /// Stands for any erasure, by numbers that none has.
    pub(super) const STAND_IN: Self = Self { held: Held::of(i64::MIN), now: i64::MIN + 1, vault_at: i64::MIN + 2 };

    /// The value of this erasure for one of the stand-in.
    pub(super) fn fill(&self, value: &Value) -> Value {
        let stand_in = Self::STAND_IN;
        match value {
            Value::BigInt(Some(number)) if *number == stand_in.held.subject_id => self.held.subject_id.into(),
            Value::BigInt(Some(number)) if *number == stand_in.now => self.now.into(),
            Value::BigInt(Some(number)) if *number == stand_in.vault_at => self.vault_at.into(),
            Value::BigInt(Some(number)) if *number == after_lease(stand_in.now) => after_lease(self.now).into(),
            value => value.clone(),
        }
    }
}

/// What is written for the stand-in, by what it depends on besides.
pub(super) struct Texts<K, T>(LazyLock<Mutex<HashMap<K, Arc<T>>>>);

impl<K: Eq + Hash, T> Texts<K, T> {
    pub(super) const fn new() -> Self {
        Self(LazyLock::new(Mutex::default))
    }

    /// What was written for this, or is now.
    pub(super) fn of(&self, key: K, write: impl FnOnce() -> T) -> Arc<T> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(key).or_insert_with(|| Arc::new(write())))
    }
}
