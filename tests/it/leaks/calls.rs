//! The calls: of every RPC, good and bad, each with planted texts wherever there is room for one.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::uri::PathAndQuery;
use tonic::{
    Code, Status,
    client::Grpc,
    metadata::{MetadataMap, MetadataValue},
    transport::Channel,
};
use tonic_prost::ProstCodec;
use userdata::grpc::proto::{
    DeleteUserMessagesRequest, ExportUserDataRequest, ExportUserDataResponse, GetErasureStatusRequest, ScopedDeleteRequest,
    import_service_client::ImportServiceClient, user_data_service_client::UserDataServiceClient,
};

use super::planted::{WORD, bad_request, plant, request, user};
use crate::{
    credentials::{claims, hs256, key_headers},
    rpc::with,
    world::ACME,
};

/// What some calls must end with, or the test did not try what it says.
pub(super) const EXPECTED: [Code; 9] = [
    Code::InvalidArgument,
    Code::Unauthenticated,
    Code::PermissionDenied,
    Code::Aborted,
    Code::FailedPrecondition,
    Code::Unimplemented,
    Code::Unavailable,
    Code::Internal,
    Code::ResourceExhausted,
];

/// How many kinds of calls there are.
const KINDS: usize = 17;

/// A message that is none of the contract's: its first field is no text.
#[derive(Clone, PartialEq, prost::Message)]
struct Garbage {
    #[prost(bytes = "vec", tag = "1")]
    bytes: Vec<u8>,
}

/// Who calls, and what came of it.
pub(super) struct Caller {
    channel: Channel,
    key: MetadataMap,
    weak: MetadataMap,
    jwt: MetadataMap,
    key_text: String,
    /// How calls ended that did not end well.
    pub(super) statuses: Vec<Status>,
    /// What exports could go on with.
    pub(super) resume_tokens: Vec<String>,
}

impl Caller {
    pub(super) fn new(channel: Channel, key: &str, weak: &str, token: &str) -> Self {
        let mut jwt = MetadataMap::new();
        jwt.insert("authorization", format!("Bearer {token}").parse().unwrap());
        let mut caller = Self {
            channel,
            key: key_headers(ACME, key),
            weak: key_headers(ACME, weak),
            jwt,
            key_text: key.to_owned(),
            statuses: Vec::new(),
            resume_tokens: Vec::new(),
        };
        for headers in [&mut caller.key, &mut caller.weak, &mut caller.jwt] {
            headers.insert("x-planted", plant("header", 0).parse().unwrap());
            headers.insert_bin("x-planted-bin", MetadataValue::from_bytes(WORD.as_bytes()));
        }
        caller
    }

    /// Makes one call; its kind follows from its number.
    pub(super) async fn call(&mut self, nth: usize) {
        let token = user(nth / KINDS % 5);
        let outcome = match nth % KINDS {
            0 => self.import(vec![request(&token, nth)]).await,
            1 => self.import(vec![request(&token, nth - 1), bad_request(&token, nth), request(&user(nth), nth)]).await,
            2 => self.export(&self.key.clone(), &token, String::new()).await,
            3 => self.export(&self.jwt.clone(), &user(0), String::new()).await,
            4 => self.export(&self.key.clone(), &token, plant("resume", nth)).await,
            5 => self.delete_messages(&token, nth).await,
            6 => self.export(&self.key.clone(), &token, self.resume_tokens.first().cloned().unwrap_or_default()).await,
            7 => self.scoped_delete(&token, nth).await,
            8 => self.bad_erasures(nth).await,
            9 => self.bad_credential(nth).await,
            10 => self.not_permitted(nth).await,
            11 => self.bad_bytes(nth).await,
            12 => self.unknown_path(nth).await,
            13 => self.late(&token).await,
            14 => self.leave(&token, nth).await,
            15 => self.reuse_request_id(&token, nth).await,
            _ => self.too_much(&token).await,
        };
        self.statuses.extend(outcome.err());
    }

    fn users(&self) -> UserDataServiceClient<Channel> {
        UserDataServiceClient::new(self.channel.clone())
    }

    async fn import(&self, requests: Vec<userdata::grpc::proto::ImportUserDataRequest>) -> Result<(), Status> {
        let requests = with(&self.key, tokio_stream::iter(requests));
        ImportServiceClient::new(self.channel.clone()).import_user_data(requests).await.map(drop)
    }

    async fn export(&mut self, who: &MetadataMap, user_token: &str, resume_token: String) -> Result<(), Status> {
        let request = ExportUserDataRequest {
            user_token: user_token.to_owned(),
            categories: Vec::new(),
            resume_token,
            include_deleted: false,
            include_upload_content: true,
        };
        let mut stream = self.users().export_user_data(with(who, request)).await?.into_inner();
        while let Some(response) = stream.message().await? {
            if !response.resume_token.is_empty() {
                self.resume_tokens.push(response.resume_token);
            }
        }
        Ok(())
    }

    async fn delete_messages(&self, user_token: &str, nth: usize) -> Result<(), Status> {
        let request = DeleteUserMessagesRequest {
            user_token: user_token.to_owned(),
            request_id: String::new(),
            validate_only: nth.is_multiple_of(2),
            plan_digest: String::new(),
            scrub_residue: true,
        };
        self.users().delete_user_messages(with(&self.key, request)).await.map(drop)
    }

    async fn scoped_delete(&self, user_token: &str, nth: usize) -> Result<(), Status> {
        let status = GetErasureStatusRequest { user_token: user_token.to_owned() };
        self.users().get_erasure_status(with(&self.key, status)).await?;
        let request = everything(user_token, "");
        let plan_digest = if nth.is_multiple_of(2) { "0".repeat(64) } else { String::new() };
        self.users().scoped_delete(with(&self.key, ScopedDeleteRequest { plan_digest, ..request })).await.map(drop)
    }

    async fn bad_erasures(&mut self, nth: usize) -> Result<(), Status> {
        let status = GetErasureStatusRequest { user_token: WORD.repeat(40) };
        self.statuses.extend(self.users().get_erasure_status(with(&self.key, status)).await.err());
        let request = DeleteUserMessagesRequest {
            user_token: format!("{}\n", user(nth)),
            request_id: plant("request", nth),
            plan_digest: plant("plan", nth),
            ..Default::default()
        };
        self.statuses.extend(self.users().delete_user_messages(with(&self.key, request)).await.err());
        let request = ScopedDeleteRequest {
            user_token: format!("{}\u{1}", user(nth)),
            request_id: plant("request", nth),
            plan_digest: plant("plan", nth),
            ..Default::default()
        };
        self.users().scoped_delete(with(&self.key, request)).await.map(drop)
    }

    async fn bad_credential(&mut self, nth: usize) -> Result<(), Status> {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let forged =
            [part(&format!(r#"{{"alg":"HS256","kid":"{WORD}"}}"#)), part(&format!(r#"{{"iss":"id","sub":"{WORD}"}}"#)), part(WORD)];
        let key = &self.key_text;
        let bad: [(&str, &'static str, String); 9] = [
            (ACME, "x-api-key", format!("udk_{WORD}_{nth}")),
            (ACME, "x-api-key", format!("{}{}", &key[..21], "0".repeat(64))),
            (WORD, "x-api-key", key.clone()),
            (ACME, "authorization", format!("Basic {}", part(WORD))),
            (ACME, "authorization", format!("Bearer {WORD}")),
            (ACME, "x-access-token", forged.join(".")),
            (ACME, "x-access-token", hs256(&claims(WORD, &user(nth)))),
            (WORD, "x-access-token", hs256(&claims("id", &user(nth)))),
            (ACME, "x-access-token", hs256(&claims("id", &format!("{WORD}\n")))),
        ];
        for (application, name, value) in bad {
            let mut headers = MetadataMap::new();
            headers.insert("x-application-id", application.parse().unwrap());
            headers.insert(name, value.parse().unwrap());
            let refused = self.export(&headers, &user(nth), String::new()).await.unwrap_err();
            self.statuses.push(refused);
        }
        Ok(())
    }

    async fn not_permitted(&mut self, nth: usize) -> Result<(), Status> {
        let refused = self.export(&self.jwt.clone(), &user(nth + 1), String::new()).await.unwrap_err();
        self.statuses.push(refused);
        let request = everything(&user(nth), "");
        self.users().scoped_delete(with(&self.weak, request)).await.map(drop)
    }

    /// Messages that cannot be read.
    async fn bad_bytes(&mut self, nth: usize) -> Result<(), Status> {
        let bytes = [&[0xff], user(nth).as_bytes()].concat();
        self.statuses.extend(self.raw("/userdata.v1.UserDataService/ScopedDelete", Garbage { bytes }).await.err());
        self.raw("/userdata.v1.ImportService/ImportUserData", Garbage { bytes: vec![0xff; 20] }).await
    }

    async fn unknown_path(&mut self, nth: usize) -> Result<(), Status> {
        let garbage = || Garbage { bytes: user(nth).into_bytes() };
        self.statuses.extend(self.raw(&format!("/{WORD}.v1.Service/{}", user(nth)), garbage()).await.err());
        self.raw(&format!("/userdata.v1.UserDataService/{}?user={WORD}", user(nth)), garbage()).await
    }

    async fn raw(&self, path: &str, message: Garbage) -> Result<(), Status> {
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.unwrap();
        let path = PathAndQuery::try_from(path).unwrap();
        grpc.unary(with(&self.key, message), path, ProstCodec::<Garbage, ExportUserDataResponse>::default()).await.map(drop)
    }

    /// A call whose deadline passes: its stream waits for more.
    async fn late(&self, user_token: &str) -> Result<(), Status> {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        sender.send(request(user_token, 0)).await.unwrap();
        let mut requests = with(&self.key, tokio_stream::wrappers::ReceiverStream::new(receiver));
        requests.set_timeout(Duration::from_millis(20));
        ImportServiceClient::new(self.channel.clone()).import_user_data(requests).await.map(drop)
    }

    /// A client that leaves in the midst of its import.
    async fn leave(&self, user_token: &str, nth: usize) -> Result<(), Status> {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let requests = with(&self.key, tokio_stream::wrappers::ReceiverStream::new(receiver));
        let mut client = ImportServiceClient::new(self.channel.clone());
        let import = tokio::spawn(async move { client.import_user_data(requests).await });
        for _ in 0..3 {
            if sender.send(request(user_token, nth)).await.is_err() {
                break;
            }
        }
        import.abort();
        Ok(())
    }

    async fn reuse_request_id(&mut self, user_token: &str, nth: usize) -> Result<(), Status> {
        let id = format!("6f1c9b52-8a2c-4b17-9d4e-{nth:012x}");
        let first = everything(user_token, &id);
        self.statuses.extend(self.users().scoped_delete(with(&self.key, first.clone())).await.err());
        let other = ScopedDeleteRequest { vault: false, ..first };
        self.users().scoped_delete(with(&self.key, other)).await.map(drop)
    }

    /// A request of an import that is larger than one may be.
    async fn too_much(&self, user_token: &str) -> Result<(), Status> {
        let mut request = request(user_token, 0);
        request.memories[0].text = WORD.repeat(9 * 1024 * 1024 / WORD.len());
        self.import(vec![request]).await
    }
}

fn everything(user_token: &str, request_id: &str) -> ScopedDeleteRequest {
    ScopedDeleteRequest {
        user_token: user_token.to_owned(),
        dialogues: true,
        vault: true,
        memory: true,
        assistants: true,
        feedback: true,
        sessions: true,
        request_id: request_id.to_owned(),
        validate_only: false,
        plan_digest: String::new(),
    }
}
