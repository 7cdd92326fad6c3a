//! All that knows tonic and prost. Absent on purpose: SQL, and what an operation does.

pub mod auth;
pub mod client;
pub mod document;
pub mod export_frame;
pub mod proto;
pub mod status;
