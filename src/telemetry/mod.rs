//! Logs: one line per call, and no user token, content or credential in any.

mod call_log;
mod subscriber;

pub use call_log::{Call, CallLogLayer};
pub use subscriber::{LogError, start};
