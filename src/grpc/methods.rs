//! What can be called, by the descriptors: the log of calls names these, and of a path that is none of them nothing, for it may hold anything.

use std::{collections::HashSet, sync::Arc};

use prost::Message;
use prost_types::{FileDescriptorSet, MethodDescriptorProto};

use super::proto::DESCRIPTORS;

/// The paths of all methods that are served, of the contract, of health, of reflection; and whether they are streams.
pub(super) fn served() -> impl Iterator<Item = (String, bool)> {
    let served = [
        DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    // All were generated with the program: they can be read.
    let files = served.into_iter().filter_map(|set| FileDescriptorSet::decode(set).ok()).flat_map(|set| set.file);
    files.flat_map(|file| {
        let package = file.package().to_owned();
        file.service.into_iter().flat_map(move |service| {
            let prefix = format!("/{package}.{}", service.name());
            let is_stream = |method: &MethodDescriptorProto| method.client_streaming() || method.server_streaming();
            service.method.into_iter().map(move |method| (format!("{prefix}/{}", method.name()), is_stream(&method)))
        })
    })
}

/// The paths.
pub fn methods() -> Arc<HashSet<String>> {
    Arc::new(served().map(|(path, _)| path).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_methods_that_are_served_are_known_by_their_paths() {
        let methods = methods();
        for path in [
            "/userdata.v1.UserDataService/ExportUserData",
            "/userdata.v1.ImportService/ImportUserData",
            "/grpc.health.v1.Health/Watch",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        ] {
            assert!(methods.contains(path), "{path} is not in {methods:?}");
        }
        assert_eq!(methods.len(), 9);
    }
}
