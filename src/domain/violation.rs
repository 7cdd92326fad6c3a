//! What can be wrong with a field, in words for the person who must mend it. Never quotes the field's content.

use std::fmt;

/// What is wrong with one value.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Complaint {
    /// A value that must be there is not.
    #[error("is missing; set it")]
    Missing,
    /// More bytes than the limit.
    #[error("is {bytes} bytes long; the limit is {limit}")]
    TooLong {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// A control character in a name.
    #[error("holds a control character; remove it")]
    ControlCharacter,
    /// A NUL in a text; PostgreSQL cannot store it.
    #[error("holds a NUL character; remove it")]
    Nul,
    /// A number below zero.
    #[error("is negative; it must be 0 or more")]
    Negative,
    /// A time that cannot be stored.
    #[error("is not a time between the years 1678 and 2262")]
    TimeOutOfRange,
    /// An enum value that is not in the contract, or its zero.
    #[error("is not one of the known values; choose one of {known}")]
    UnknownValue {
        /// The values to choose from.
        known: &'static str,
    },
    /// Text that must be JSON and is not, or is nested too deep.
    #[error("is not valid JSON: {problem}")]
    Json {
        /// What is wrong with it, without its content.
        problem: String,
    },
    /// More elements than one request may hold.
    #[error("holds more than {limit} elements in its lists; send its records in several requests")]
    TooManyElements {
        /// How many it may hold.
        limit: usize,
    },
    /// Any other rule.
    #[error("{0}")]
    Rule(&'static str),
}

/// A complaint, and the full path of the field it is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FieldViolation {
    /// `conversations[0].messages[4].role`
    pub field: String,
    /// What is wrong with it.
    pub complaint: Complaint,
}

impl FieldViolation {
    /// Says what is wrong with a field.
    pub fn new(field: impl Into<String>, complaint: Complaint) -> Self {
        Self { field: field.into(), complaint }
    }
}

impl fmt::Display for FieldViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field, self.complaint)
    }
}
