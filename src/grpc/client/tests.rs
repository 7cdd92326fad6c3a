//! The client against servers whose streams break and lie, as a real one does only by accident.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
    vec,
};

use prost::Message as _;
use tokio::net::TcpListener;
use tokio_stream::{Iter, wrappers::TcpListenerStream};
use tonic::{Code, Request, Response, Status, transport::Server};
use tonic_types::{ErrorDetails, StatusExt};

use super::*;
use crate::{
    domain::{
        digest::{ExportDigest, RecordDigest},
        violation::{Complaint, FieldViolation},
    },
    grpc::{
        document::{Item, items},
        export_frame::ExportFrame,
        proto::{
            DeleteUserMessagesRequest, DeleteUserMessagesResponse, ExportSummary, ExportUserDataRequest, ExportUserDataResponse,
            GetErasureStatusRequest, GetErasureStatusResponse, Memory, RecordCounts, ScopedDeleteRequest, ScopedDeleteResponse,
            server::user_data_service_server::{UserDataService, UserDataServiceServer},
        },
        status::{deadline_exceeded, invalid},
    },
};

type Answer = Result<ExportUserDataResponse, Status>;

/// Answers each export with the next stream of its script.
struct Scripted {
    streams: Mutex<VecDeque<Vec<Answer>>>,
    resume_tokens: Mutex<Vec<String>>,
}

#[tonic::async_trait]
impl UserDataService for Scripted {
    type ExportUserDataStream = Iter<vec::IntoIter<Result<ExportFrame, Status>>>;

    async fn export_user_data(&self, request: Request<ExportUserDataRequest>) -> Result<Response<Self::ExportUserDataStream>, Status> {
        self.resume_tokens.lock().unwrap().push(request.into_inner().resume_token);
        let stream = self.streams.lock().unwrap().pop_front().unwrap();
        let frames: Vec<_> = stream.into_iter().map(|answer| answer.map(|response| ExportFrame(response.encode_to_vec().into()))).collect();
        Ok(Response::new(tokio_stream::iter(frames)))
    }

    async fn delete_user_messages(&self, _: Request<DeleteUserMessagesRequest>) -> Result<Response<DeleteUserMessagesResponse>, Status> {
        Err(Status::unimplemented("not in the script"))
    }

    async fn scoped_delete(&self, _: Request<ScopedDeleteRequest>) -> Result<Response<ScopedDeleteResponse>, Status> {
        Err(Status::unimplemented("not in the script"))
    }
    async fn get_erasure_status(&self, _: Request<GetErasureStatusRequest>) -> Result<Response<GetErasureStatusResponse>, Status> {
        Err(Status::unimplemented("not in the script"))
    }
}

/// What an export of these streams comes to, and the resume tokens it asked with.
async fn export(streams: Vec<Vec<Answer>>) -> (Result<Vec<Item>, ClientError>, Vec<String>) {
    let scripted = Arc::new(Scripted { streams: Mutex::new(streams.into()), resume_tokens: Mutex::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = UserDataServiceServer::from_arc(Arc::clone(&scripted));
    let server = tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));

    let client =
        Client::connect(&format!("http://{address}"), ClientTls::default(), Credential::access_token("jwt").unwrap()).await.unwrap();
    let mut export = client.export(ExportUserDataRequest { user_token: "u".to_owned(), ..ExportUserDataRequest::default() });
    let mut items = Vec::new();
    let result = loop {
        match export.next().await {
            Ok(Some(more)) => items.extend(more),
            Ok(None) => break Ok(items),
            Err(error) => break Err(error),
        }
    };
    server.abort();
    let tokens = scripted.resume_tokens.lock().unwrap().clone();
    (result, tokens)
}

fn memory(id: &str) -> ExportUserDataResponse {
    let memory = Memory { object_id: Some(id.to_owned()), ..Memory::default() };
    ExportUserDataResponse { memories: vec![memory], resume_token: format!("after {id}"), ..ExportUserDataResponse::default() }
}

/// The last response of an export that held these.
fn last(all: &[ExportUserDataResponse]) -> ExportUserDataResponse {
    let mut digest = ExportDigest::default();
    for item in all.iter().cloned().flat_map(items) {
        let encoded = item.encode();
        digest.take(item.field_number(), &RecordDigest::of(&[&encoded]), encoded.len());
    }
    let counts = RecordCounts { memories: i32::try_from(all.len()).unwrap(), ..RecordCounts::default() };
    let bytes = i64::try_from(digest.bytes()).unwrap();
    let summary = ExportSummary { counts: Some(counts), bytes, sha256: digest.hex(), as_of: None };
    ExportUserDataResponse { summary: Some(summary), ..ExportUserDataResponse::default() }
}

fn unavailable() -> Status {
    Status::with_error_details(Code::Unavailable, "draining", ErrorDetails::with_retry_info(Some(Duration::from_millis(1))))
}

#[tokio::test]
async fn a_broken_export_is_taken_up_again_where_it_broke() {
    let (a, b) = (memory("a"), memory("b"));
    let end = last(&[a.clone(), b.clone()]);
    let (result, tokens) = export(vec![vec![Err(unavailable())], vec![Ok(a), Err(unavailable())], vec![Ok(b), Ok(end)]]).await;
    assert_eq!(result.unwrap().len(), 2);
    assert_eq!(tokens, ["", "", "after a"]);
}

#[tokio::test]
async fn an_export_that_keeps_breaking_is_given_up() {
    let (result, tokens) = export((0..9).map(|_| vec![Err(unavailable())]).collect()).await;
    let error = result.err().unwrap().to_string();
    assert!(error.contains("http://127.0.0.1:") && error.contains("incomplete") && error.contains("draining"), "{error}");
    assert_eq!(tokens.len(), 4);
}

#[tokio::test]
async fn an_export_that_gets_on_each_time_comes_to_its_end() {
    let all: Vec<_> = (0..6).map(|number| memory(&number.to_string())).collect();
    let mut streams: Vec<_> = all.iter().map(|response| vec![Ok(response.clone()), Err(unavailable())]).collect();
    // As a server ends a call that has run for long.
    streams[0][1] = Err(deadline_exceeded());
    streams.push(vec![Ok(last(&all))]);
    let (result, tokens) = export(streams).await;
    assert_eq!(result.unwrap().len(), 6);
    assert_eq!(tokens, ["", "after 0", "after 1", "after 2", "after 3", "after 4", "after 5"]);
}

#[tokio::test]
async fn an_erased_export_is_not_taken_up_again() {
    let (result, tokens) = export(vec![vec![Ok(memory("a")), Err(Status::aborted("erased meanwhile"))]]).await;
    assert!(matches!(result, Err(ClientError::Status(status)) if status.code() == Code::Aborted));
    assert_eq!(tokens.len(), 1);
}

#[tokio::test]
async fn a_stream_without_its_summary_is_not_taken_for_whole() {
    let (result, tokens) = export(vec![vec![Ok(memory("a"))], vec![Err(Status::aborted("erased meanwhile"))]]).await;
    assert!(result.is_err());
    assert_eq!(tokens, ["", "after a"]);
}

#[tokio::test]
async fn an_export_that_differs_from_its_summary_is_refused() {
    for (sent, promised, what) in [("a", vec!["b"], "contents"), ("a", vec!["longer"], "bytes"), ("a", vec!["a", "b"], "counts")] {
        let end = last(&promised.into_iter().map(memory).collect::<Vec<_>>());
        let (result, _) = export(vec![vec![Ok(memory(sent)), Ok(end)]]).await;
        assert!(matches!(result, Err(ClientError::NotWhole(found)) if found == what), "{what}");
    }
}

#[test]
fn a_status_is_told_in_one_line_with_paths_and_reason() {
    let mut details = ErrorDetails::with_error_info("INVALID_REQUEST", "userdata", HashMap::new());
    details.add_bad_request_violation("user_token", "is missing; set it").add_bad_request_violation("categories[1]", "is not\none");
    details.set_retry_info(Some(Duration::from_millis(1_500)));
    let status = Status::with_error_details(Code::InvalidArgument, "2 fields are wrong", details);
    assert_eq!(
        ClientError::from(status).to_string(),
        "2 fields are wrong; user_token is missing; set it; categories[1] is not one [INVALID_REQUEST]; try again in 2 s"
    );
    let violations = vec![FieldViolation::new("a", Complaint::Missing), FieldViolation::new("b", Complaint::Negative)];
    assert_eq!(
        ClientError::from(invalid(violations)).to_string(),
        "a is missing; set it; b is negative; it must be 0 or more [ERROR_REASON_INVALID_REQUEST]"
    );
}

#[tokio::test]
async fn addresses_that_are_none_are_refused() {
    for server in ["localhost:1", "ftp://localhost", "http://", ""] {
        let credential = Credential::access_token("x").unwrap();
        assert!(matches!(Client::connect(server, ClientTls::default(), credential).await, Err(ClientError::Address)), "{server}");
    }
}

#[test]
fn a_credential_is_not_printed() {
    let Credential(values) = Credential::api_key("A", "udk_secret").unwrap();
    assert!(!format!("{values:?}").contains("udk_secret"));
    assert!(matches!(Credential::api_key("A", "line\nbreak"), Err(ClientError::Credential)));
}
