//! What each RPC does, one file per RPC: the place where repository and vault meet. Absent on purpose: wire formats, SQL.

mod conversation_reader;
pub mod delete_user_messages;
mod error;
pub mod export_user_data;
pub mod get_erasure_status;
pub mod import_user_data;
pub mod remove_files;
pub mod scoped_delete;
mod stores;

pub use error::Error;
pub use stores::Stores;
