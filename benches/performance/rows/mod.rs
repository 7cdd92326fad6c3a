//! The rows of the table of goals.

pub(crate) mod calls;
pub(crate) mod delete;
pub(crate) mod export;
pub(crate) mod growth;
pub(crate) mod import;
pub(crate) mod memory;
pub(crate) mod neighbours;
pub(crate) mod scale;
pub(crate) mod scoped;

/// Erasures before any is timed: a server opens its connections in turn, and PostgreSQL plans on each what it will be asked again.
pub(crate) const WARMING: u32 = 10;
