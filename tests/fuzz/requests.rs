//! Requests, as bytes that the real services decode and answer, on a database and an object store of their own.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, LazyLock, Mutex},
    time::Instant,
};

use bytes::{BufMut, Bytes, BytesMut};
use clap::Parser;
use http_body_util::{BodyExt, Full};
use prost::{Message, encoding::encode_varint};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Extensions, Request, Status, body::Body, service::Interceptor};
use tower::{Layer, Service, ServiceExt};
use userdata::{
    config::{auth::AuthConfig, limits::LimitsConfig},
    domain::{
        api_key::{ApiKey, RANDOM_BYTES},
        limits::{MAX_CALL_BYTES, MAX_REQUEST_BYTES},
        principal::Permission,
        secret::Secret,
        subject::ApplicationId,
        timestamp::{Clock, Timestamp},
    },
    grpc::{
        Services,
        auth::{AuthInterceptor, Issuers, KeyRing},
        document::UserDocument,
        methods::methods,
        proto::{
            DeleteUserMessagesRequest, ExportUserDataRequest, GetErasureStatusRequest, ScopedDeleteRequest,
            server::{import_service_server::ImportServiceServer, user_data_service_server::UserDataServiceServer},
        },
        status,
    },
    operations::Stores,
    repository::Repository,
    telemetry::CallLogLayer,
    vault::Vault,
};

use crate::{
    bounded::{bounded, fuzz},
    mutant,
};

const METHODS: [&str; 5] = [
    "ImportService/ImportUserData",
    "UserDataService/ExportUserData",
    "UserDataService/DeleteUserMessages",
    "UserDataService/ScopedDelete",
    "UserDataService/GetErasureStatus",
];

#[test]
fn a_request_is_answered_or_refused() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let services = runtime.block_on(services(folder.path(), &runtime));
    // Else no input comes far.
    for (nth, seed) in seeds().iter().enumerate() {
        let answered = METHODS.iter().any(|method| runtime.block_on(call(&services, method, seed)) == Code::Ok);
        assert!(answered, "seed {nth} is refused by every method");
    }
    let target = AssertUnwindSafe((runtime, services));
    fuzz(&seeds(), move |way, message| {
        let (runtime, services) = &*target;
        let code = runtime.block_on(call(services, METHODS[usize::from(way) % METHODS.len()], message));
        let expected = [Code::Ok, Code::InvalidArgument, Code::Aborted, Code::FailedPrecondition, Code::ResourceExhausted];
        assert!(expected.contains(&code), "a request was answered with {code:?}");
    });
}

#[test]
fn a_request_of_nothing_but_empty_elements_is_refused_before_they_are_made() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let services = runtime.block_on(services(folder.path(), &runtime));
    // Empty conversations, memories, sessions; messages of a conversation; parts of its message.
    let nested = |tags: &[u8], inner: Vec<u8>| {
        tags.iter().rev().fold(inner, |inner, tag| {
            let mut outer = vec![*tag];
            encode_varint(inner.len() as u64, &mut outer);
            [outer, inner].concat()
        })
    };
    for (outer, element) in [(&[][..], 0x12), (&[], 0x22), (&[], 0x42), (&[0x12], 0x7a), (&[0x12, 0x7a], 0x2a)] {
        let message = nested(outer, [element, 0].repeat(MAX_REQUEST_BYTES / 2 - 8));
        let seen = Mutex::new(None);
        bounded(|| *seen.lock().unwrap() = Some(runtime.block_on(call(&services, METHODS[0], &message))));
        assert_eq!(*seen.lock().unwrap(), Some(Code::InvalidArgument), "{outer:?} {element:x}");
    }
}

async fn services(folder: &std::path::Path, runtime: &Runtime) -> Services {
    let url = format!("sqlite://{}", folder.join("userdata.db").display()).parse().unwrap();
    let repository = Repository::open(&url, 2, Clock::default()).await.unwrap();
    repository.require_schema(true).await.unwrap();
    let vault = Vault::open(&"memory://".parse().unwrap()).unwrap();
    Services::new(
        Stores::new(repository, vault),
        runtime.handle().clone(),
        Clock::default(),
        CancellationToken::new(),
        &Settings::parse_from(["fuzz"]).limits,
    )
}

/// What is not told otherwise.
#[derive(clap::Parser)]
struct Settings {
    #[command(flatten)]
    limits: LimitsConfig,
}

/// Requests of all kinds.
fn seeds() -> Vec<Vec<u8>> {
    let documents = mutant::files("documents");
    let imports = documents.iter().flat_map(|json| UserDocument::parse(json).unwrap().into_requests());
    let mut seeds: Vec<Vec<u8>> = imports.map(|request| request.encode_to_vec()).collect();
    let (user_token, request_id) = ("u".to_owned(), "6f1c9b52-8a2c-4b17-9d4e-3a5c7e8f9012".to_owned());
    let export = ExportUserDataRequest {
        user_token: user_token.clone(),
        categories: vec![1, 2, 5],
        resume_token: "AAAA".to_owned(),
        ..Default::default()
    };
    let whole =
        ExportUserDataRequest { user_token: user_token.clone(), include_upload_content: true, include_deleted: true, ..Default::default() };
    let delete = DeleteUserMessagesRequest { user_token: user_token.clone(), scrub_residue: true, ..Default::default() };
    let scoped = ScopedDeleteRequest {
        user_token: user_token.clone(),
        request_id,
        vault: true,
        dialogues: true,
        memory: true,
        ..Default::default()
    };
    let status = GetErasureStatusRequest { user_token };
    seeds.extend([export.encode_to_vec(), whole.encode_to_vec(), delete.encode_to_vec(), scoped.encode_to_vec(), status.encode_to_vec()]);
    seeds
}

/// What is known of a caller who may do everything.
fn believed() -> Extensions {
    static KEY: LazyLock<(ApiKey, Secret)> = LazyLock::new(|| {
        let application = ApplicationId::parse("ACME").unwrap();
        ApiKey::mint(&[7; RANDOM_BYTES], application, Permission::ALL.into_iter().collect(), Timestamp(0), None)
    });
    static KEYS: LazyLock<Arc<KeyRing>> = LazyLock::new(Arc::default);
    let (key, text) = &*KEY;
    // It is believed for as long as it was read lately.
    KEYS.refresh([key.clone()], Instant::now());
    let issuers = Arc::new(Issuers::new(&AuthConfig::default()).unwrap());
    let mut request = Request::new(());
    request.metadata_mut().insert("x-application-id", key.application.as_str().parse().unwrap());
    request.metadata_mut().insert("x-api-key", text.expose().parse().unwrap());
    AuthInterceptor::new(Arc::clone(&KEYS), issuers, Clock::default()).call(request).unwrap().into_parts().1
}

/// Calls a method with this message, and reads its answer to the end.
async fn call(services: &Services, method: &str, message: &[u8]) -> Code {
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(u32::try_from(message.len()).unwrap());
    body.put_slice(message);
    let mut request = http::Request::post(format!("/userdata.v1.{method}"))
        .header("content-type", "application/grpc")
        .body(Body::new(Full::new(body.freeze()).map_err(|never| match never {})))
        .unwrap();
    request.extensions_mut().extend(believed());
    let log = CallLogLayer::new(Arc::clone(&methods()));
    if method.starts_with("Import") {
        let imports = ImportServiceServer::new(services.clone()).max_decoding_message_size(MAX_REQUEST_BYTES);
        answer((log, services.admit_imports()).layer(imports), request).await
    } else {
        let users = UserDataServiceServer::new(services.clone()).max_decoding_message_size(MAX_CALL_BYTES);
        answer((log, services.admit()).layer(users), request).await
    }
}

async fn answer<S, B>(service: S, request: http::Request<Body>) -> Code
where
    S: Service<http::Request<Body>, Response = http::Response<B>, Error = std::convert::Infallible>,
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let Ok(response) = service.oneshot(request).await;
    let response = status::with_reasons(response);
    let at_once = Status::from_header_map(response.headers());
    let read = response.into_body().collect().await.unwrap_or_else(|error| panic!("a body ended in the midst: {error:?}"));
    let in_the_end = read.trailers().and_then(Status::from_header_map);
    at_once.or(in_the_end).map(|status| status.code()).expect("an answer has a status")
}
