//! Why a credential is not accepted. Only the log sees it, at debug level; the caller gets one answer for all.

use tonic::Status;

use crate::grpc::status;

/// Why a credential is not accepted. Holds nothing of the credential.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("there is none")]
    Absent,
    #[error("a header is there more than once")]
    RepeatedHeader,
    #[error("a header is not text")]
    NotText,
    #[error("`authorization` is not `Bearer`")]
    NotBearer,
    #[error("two credentials disagree")]
    Disagreement,
    #[error("an API key comes without its application id")]
    NoApplication,
    #[error("the application id is not that of the credential")]
    WrongApplication,
    #[error("it has not the form of an API key")]
    KeyForm,
    #[error("the API key is unknown, wrong, revoked or expired")]
    KeyNotLive,
    #[error("the JWT is longer than the limit")]
    TokenTooLong,
    #[error("it has not the form of a JWT")]
    TokenForm,
    #[error("the JWT has critical header fields")]
    CriticalHeader,
    #[error("the JWT's `typ` is that of something else")]
    WrongType,
    #[error("the JWT's issuer is not configured")]
    UnknownIssuer,
    #[error("the JWT is not signed with its issuer's algorithm")]
    WrongAlgorithm,
    #[error("the JWT names no key of its issuer")]
    UnknownKey,
    #[error("the JWT's signature, `exp`, `nbf`, `aud` or `sub` is not accepted")]
    TokenNotValid,
    #[error("the JWT lives longer than `--jwt-max-life`, or is issued in the future")]
    LifeTooLong,
    #[error("the JWT's `sub` is no user token")]
    NoUserToken,
    /// Says nothing about the credential, so it is the one with an answer of its own.
    #[error("the API keys in memory are too old to be trusted")]
    KeysTooOld,
}

impl Refusal {
    /// What the caller hears of it, once the log has heard why.
    pub(super) fn status(self) -> Status {
        tracing::debug!(refusal = %self, "credential refused");
        if self == Self::KeysTooOld { status::database_unavailable() } else { status::unauthenticated() }
    }
}
