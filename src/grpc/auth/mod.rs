//! Who calls. Everything here is in memory and synchronous: the keys are refreshed from outside, the issuers are fixed at start. What the
//! caller may do is decided later, by the domain.

mod belief;
mod credential;
mod failed_logins;
mod interceptor;
mod issuers;
mod key_ring;
mod refusal;
mod verifying_keys;

pub use belief::Belief;
pub use failed_logins::{Caller, FailedLogins, network, peer};
pub use interceptor::AuthInterceptor;
pub use issuers::Issuers;
pub use key_ring::KeyRing;
pub use verifying_keys::{IssuerError, KeyError};

#[cfg(test)]
mod tests;
