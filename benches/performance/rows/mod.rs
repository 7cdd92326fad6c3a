//! The rows of the table of goals.

pub(crate) mod calls;
pub(crate) mod delete;
pub(crate) mod export;
