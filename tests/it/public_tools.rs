//! What public tools ask: reflection in both versions, and health by name.

use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::{v1, v1alpha};

use crate::{
    on_both_engines,
    world::{World, eventually},
};

on_both_engines!(reflection_describes_every_service_in_both_versions, health_answers_for_the_server_and_each_service_by_name);

const SERVICES: [&str; 4] =
    ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "userdata.v1.ImportService", "userdata.v1.UserDataService"];

/// Lists the services and asks for each RPC's file, by one version of the protocol.
macro_rules! reflect {
    ($channel:expr, $version:ident, $own:literal) => {{
        use $version::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient, server_reflection_request::MessageRequest,
            server_reflection_response::MessageResponse,
        };
        let mut client = ServerReflectionClient::new($channel);
        let ask = |request| ServerReflectionRequest { host: String::new(), message_request: Some(request) };
        let questions = [
            MessageRequest::ListServices(String::new()),
            MessageRequest::FileContainingSymbol("userdata.v1.UserDataService".into()),
            MessageRequest::FileContainingSymbol("userdata.v1.ImportService.ImportUserData".into()),
            MessageRequest::FileByFilename("google/protobuf/timestamp.proto".into()),
            MessageRequest::FileContainingSymbol("userdata.v1.Nothing".into()),
        ];
        let stream = tokio_stream::iter(questions.map(ask));
        let mut answers = client.server_reflection_info(stream).await.unwrap().into_inner();
        let mut found = Vec::new();
        for _ in 0..4 {
            found.push(answers.message().await.unwrap().unwrap().message_response.unwrap());
        }
        let MessageResponse::ListServicesResponse(list) = found.remove(0) else { panic!("no list") };
        let mut names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
        names.sort();
        let expected = SERVICES.map(|name| name.replace("grpc.reflection.v1.ServerReflection", $own));
        assert_eq!(names, expected);
        for file in found {
            let MessageResponse::FileDescriptorResponse(file) = file else { panic!("no file") };
            assert!(!file.file_descriptor_proto.is_empty());
        }
        // An unknown symbol ends the stream, or is answered by an error.
        match answers.message().await {
            Err(status) => assert_eq!(status.code(), Code::NotFound),
            Ok(answer) => assert!(matches!(answer.unwrap().message_response, Some(MessageResponse::ErrorResponse(_)))),
        }
    }};
}

async fn reflection_describes_every_service_in_both_versions(world: World) {
    reflect!(world.channel().await, v1, "grpc.reflection.v1.ServerReflection");
    reflect!(world.channel().await, v1alpha, "grpc.reflection.v1alpha.ServerReflection");
}

async fn health_answers_for_the_server_and_each_service_by_name(world: World) {
    let mut health = HealthClient::new(world.channel().await);
    for service in ["", "userdata.v1.UserDataService", "userdata.v1.ImportService"] {
        let request = || HealthCheckRequest { service: service.to_owned() };
        eventually("it serves", async || health.check(request()).await.unwrap().get_ref().status() == ServingStatus::Serving).await;
        let mut watch = health.watch(request()).await.unwrap().into_inner();
        assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    }
    let unknown = health.check(HealthCheckRequest { service: "userdata.v1.Nobody".into() }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}
