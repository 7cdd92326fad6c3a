//! Moments, as the database keeps them.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since the Unix epoch: the years 1678 to 2262, and every digit a protobuf timestamp can have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(pub i64);

const NANOS_PER_SECOND: i64 = 1_000_000_000;

impl Timestamp {
    /// A moment from seconds and nanoseconds; `None` outside the range, or if `nanos` is not below a second.
    pub fn from_parts(seconds: i64, nanos: i32) -> Option<Self> {
        let nanos = i64::from(nanos);
        (0..NANOS_PER_SECOND).contains(&nanos).then(|| seconds.checked_mul(NANOS_PER_SECOND)?.checked_add(nanos).map(Self)).flatten()
    }

    /// Whole seconds, and the nanoseconds above them.
    pub fn parts(self) -> (i64, i32) {
        let nanos = self.0.rem_euclid(NANOS_PER_SECOND);
        (self.0.div_euclid(NANOS_PER_SECOND), i32::try_from(nanos).unwrap_or_default())
    }
}

/// Where the service reads the time; tests set it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    fixed: Option<Timestamp>,
}

impl Clock {
    /// A clock that stands still, for tests.
    pub fn fixed(at: Timestamp) -> Self {
        Self { fixed: Some(at) }
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        self.fixed.unwrap_or_else(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
        })
    }
}
