//! Compiles the contract without a `protoc`: messages and clients once, servers a second time around a response type of our own.

use std::{env, error::Error, fs, path::PathBuf};

const PROTO_ROOT: &str = "proto";
const PROTOS: [&str; 4] = [
    "userdata/v1/error_reason.proto",
    "userdata/v1/import_service.proto",
    "userdata/v1/records.proto",
    "userdata/v1/user_data_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={PROTO_ROOT}");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let descriptors = protox::compile(PROTOS, [PROTO_ROOT])?;
    fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&descriptors))?;

    tonic_prost_build::configure().build_server(false).btree_map(".").compile_fds(descriptors.clone())?;

    // An export leaves in the form in which its messages are stored. The server therefore answers with bytes that are already encoded,
    // where the generated type would have them decoded and encoded again.
    let servers = out.join("servers");
    fs::create_dir_all(&servers)?;
    tonic_prost_build::configure()
        .build_client(false)
        .out_dir(servers)
        .extern_path(".userdata.v1.ExportUserDataResponse", "crate::grpc::export_frame::ExportFrame")
        .extern_path(".userdata.v1", "crate::grpc::proto")
        .compile_fds(descriptors)?;
    Ok(())
}
