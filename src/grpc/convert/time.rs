//! Moments, going out.

use crate::domain::timestamp::Timestamp;

/// The contract's form of a moment.
pub(crate) fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    let (seconds, nanos) = time.parts();
    prost_types::Timestamp { seconds, nanos }
}
