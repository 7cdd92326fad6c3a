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
