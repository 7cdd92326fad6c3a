//! What can be called, by the descriptors: the log of calls names these, and of a path that is none of them nothing, for it may hold anything.

use std::{collections::HashSet, sync::Arc};

use prost::Message;
use prost_types::FileDescriptorSet;

use super::proto::DESCRIPTORS;

/// The paths of all methods that are served: of the contract, of health, of reflection.
pub fn methods() -> Arc<HashSet<String>> {
    let served = [
        DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    // All were generated with the program: they can be read.
    let files = served.into_iter().filter_map(|set| FileDescriptorSet::decode(set).ok()).flat_map(|set| set.file);
    let mut paths = HashSet::new();
    for file in files {
        for service in &file.service {
            paths.extend(service.method.iter().map(|method| format!("/{}.{}/{}", file.package(), service.name(), method.name())));
        }
    }
    Arc::new(paths)
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
