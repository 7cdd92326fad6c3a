//! All that knows tonic and prost. Absent on purpose: SQL, and what an operation does.

pub mod admission;
pub mod arrival;
pub mod auth;
pub mod caught;
pub mod client;
mod codec;
mod convert;
pub mod deadline;
mod delete_user_messages;
pub mod document;
pub mod export_frame;
mod export_user_data;
mod frame_packer;
mod frame_stream;
mod get_erasure_status;
mod heavy_work;
mod import_user_data;
mod load;
pub mod methods;
pub mod pace;
pub mod proto;
mod scoped_delete;
mod service;
pub mod status;
mod unread;
mod weighed;

pub use service::Services;
