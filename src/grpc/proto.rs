//! The contract, generated from `proto/`: messages, clients, servers and their descriptors.

tonic::include_proto!("userdata.v1");

/// The servers, generated around [`ExportFrame`](super::export_frame::ExportFrame).
#[expect(clippy::allow_attributes, reason = "generated")]
pub mod server {
    include!(concat!(env!("OUT_DIR"), "/servers/userdata.v1.rs"));
}

/// The descriptor set of the contract and all it imports, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
