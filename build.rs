//! Compiles the contract without a `protoc`: messages and clients once, servers a second time around a response type of our own. No text of
//! a message is in its `Debug`.

use std::{env, error::Error, fs, path::PathBuf};

use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet, field_descriptor_proto::Type};

const PROTO_ROOT: &str = "proto";
const PACKAGE: &str = "userdata.v1";
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

    fs::write(out.join("debug.rs"), with_texts(&descriptors).map(debug).collect::<Result<String, _>>()?)?;
    let without_debug: Vec<String> = with_texts(&descriptors).map(|message| format!(".{PACKAGE}.{}", message.name())).collect();
    let messages_and_clients = tonic_prost_build::configure().build_server(false).btree_map(".").skip_debug(without_debug);
    messages_and_clients.compile_fds(descriptors.clone())?;

    // An export leaves in the form in which its messages are stored. The server therefore answers with bytes that are already encoded,
    // where the generated type would have them decoded and encoded again.
    let servers = out.join("servers");
    fs::create_dir_all(&servers)?;
    tonic_prost_build::configure()
        .build_client(false)
        .out_dir(servers)
        .codec_path("crate::grpc::codec::BoundedCodec")
        .extern_path(".userdata.v1.ExportUserDataResponse", "crate::grpc::export_frame::ExportFrame")
        .extern_path(".userdata.v1", "crate::grpc::proto")
        .compile_fds(descriptors)?;
    Ok(())
}

/// Holds the service's words alone.
const SHOWN: &str = "RecordRejection";

/// The messages of the contract that hold texts, bytes or maps of others.
fn with_texts(descriptors: &FileDescriptorSet) -> impl Iterator<Item = &DescriptorProto> {
    let messages = descriptors.file.iter().filter(|file| file.package() == PACKAGE).flat_map(|file| &file.message_type);
    messages.filter(|message| message.name() != SHOWN && message.field.iter().any(|field| is_text(message, field)))
}

fn is_text(message: &DescriptorProto, field: &FieldDescriptorProto) -> bool {
    let is_map = message.nested_type.iter().any(|entry| field.type_name() == format!(".{PACKAGE}.{}.{}", message.name(), entry.name()));
    is_map || matches!(field.r#type(), Type::String | Type::Bytes)
}

/// A `Debug` of a message that shows its numbers and what is nested in it, and nothing of its texts. prost's own shows all: one `{:?}` would
/// put a user's words into the log.
fn debug(message: &DescriptorProto) -> Result<String, String> {
    let name = message.name();
    let shown: Vec<&FieldDescriptorProto> = message.field.iter().filter(|field| !is_text(message, field)).collect();
    if message.field.iter().any(|field| field.oneof_index.is_some() && !field.proto3_optional()) {
        return Err(format!("{name} holds texts and a oneof: give the oneof a message of its own"));
    }
    let fields: String = shown.iter().map(|field| format!(".field({0:?}, &self.r#{0})", field.name())).collect();
    Ok(format!(
        "impl ::core::fmt::Debug for {name} {{ fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {{
            f.debug_struct({name:?}){fields}.finish_non_exhaustive()
        }} }}\n"
    ))
}
