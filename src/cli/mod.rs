//! .

pub mod client_args;
pub mod confirm;
pub mod delete_messages;
pub mod export;
pub mod generate;
pub mod import;
pub mod progress;
pub mod sample;
pub mod scoped_delete;
