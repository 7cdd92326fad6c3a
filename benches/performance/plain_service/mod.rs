//! The plain version of the service: what a good engineer would write in a day, to be measured beside the real one. One column for each
//! field, parts as JSON; an export finds all rows of a user, converts them row by row, and sends them in responses of about 256 KiB. It
//! knows nothing of credentials, erasures that overlap, resuming, or limits.

mod entity;
pub(crate) mod layout;
mod part;

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use prost::Message as _;
use prost_types::Timestamp;
use sea_orm::{ColumnTrait, ConnectionTrait, Database, DatabaseConnection, EntityTrait, QueryFilter, QueryOrder, Schema};
use tokio_stream::Iter;
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::http,
    server::{Grpc, NamedService, ServerStreamingService},
};
use tonic_prost::ProstCodec;
use tower::Service;
use userdata::{
    domain::digest::{ExportDigest, RecordDigest},
    grpc::proto::{Conversation, ExportSummary, ExportUserDataRequest, ExportUserDataResponse, Message, RecordCounts},
};

use entity::{conversation, message, user};

const RESPONSE_BYTES: usize = 256 * 1024;

/// Makes the tables in an empty database.
pub(crate) async fn create_tables(database_url: &str) -> anyhow::Result<()> {
    let url = if database_url.starts_with("sqlite") { format!("{database_url}?mode=rwc") } else { database_url.to_owned() };
    let connection = Database::connect(url).await?;
    let (backend, schema) = (connection.get_database_backend(), Schema::new(connection.get_database_backend()));
    connection.execute(&schema.create_table_from_entity(user::Entity)).await?;
    connection.execute(&schema.create_table_from_entity(conversation::Entity)).await?;
    connection.execute(&schema.create_table_from_entity(message::Entity)).await?;
    let _ = backend;
    let indexes = [schema.create_index_from_entity(conversation::Entity), schema.create_index_from_entity(message::Entity)];
    for index in indexes.into_iter().flatten() {
        connection.execute(&index).await?;
    }
    Ok(connection.close().await?)
}

pub(crate) async fn serve(database_url: &str, with_digests: bool) -> anyhow::Result<()> {
    let mut options = sea_orm::ConnectOptions::new(database_url);
    options.sqlx_logging(false);
    super::listen(PlainService(Arc::new(Plain { connection: Database::connect(options).await?, with_digests }))).await
}

struct Plain {
    connection: DatabaseConnection,
    with_digests: bool,
}

impl Plain {
    async fn export(&self, user_token: &str) -> anyhow::Result<Vec<ExportUserDataResponse>> {
        let mut responses = Responses::new(self.with_digests);
        let Some(user) = user::Entity::find().filter(user::Column::UserToken.eq(user_token)).one(&self.connection).await? else {
            return Ok(responses.finish());
        };
        let conversations = conversation::Entity::find()
            .filter(conversation::Column::UserId.eq(user.id))
            .order_by_asc(conversation::Column::CreatedAt)
            .order_by_asc(conversation::Column::Id)
            .all(&self.connection)
            .await?;
        let messages = message::Entity::find()
            .filter(message::Column::UserId.eq(user.id))
            .order_by_asc(message::Column::CreatedAt)
            .order_by_asc(message::Column::Id)
            .all(&self.connection)
            .await?;
        let mut by_conversation: HashMap<String, Vec<message::Model>> = HashMap::new();
        for message in messages {
            by_conversation.entry(message.conversation_id.clone()).or_default().push(message);
        }
        for row in conversations {
            let messages = by_conversation.remove(&row.id).unwrap_or_default();
            let messages: anyhow::Result<_> = messages.into_iter().map(to_message).collect();
            responses.add(Conversation { messages: messages?, ..to_conversation(row) });
        }
        Ok(responses.finish())
    }
}

fn to_conversation(row: conversation::Model) -> Conversation {
    Conversation {
        id: row.id,
        agent_id: row.agent_id,
        title: row.title,
        created_at: Some(time(row.created_at)),
        updated_at: Some(time(row.updated_at)),
        last_activity_at: row.last_activity_at.map(time),
        is_from_dashboard: row.is_from_dashboard,
        message_count: row.message_count,
        total_input_tokens: row.total_input_tokens,
        total_output_tokens: row.total_output_tokens,
        total_tokens: row.total_tokens,
        ..Conversation::default()
    }
}

fn to_message(row: message::Model) -> anyhow::Result<Message> {
    Ok(Message {
        id: row.id,
        conversation_id: row.conversation_id,
        created_at: Some(time(row.created_at)),
        role: row.role,
        parts: part::from_json(&row.parts)?,
        updated_at: Some(time(row.updated_at)),
        model: row.model,
        input_tokens: row.input_tokens,
        output_tokens: row.output_tokens,
        turn_context: None,
    })
}

fn time(nanos: i64) -> Timestamp {
    let seconds = nanos.div_euclid(1_000_000_000);
    Timestamp { seconds, nanos: i32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or(0) }
}

/// Gathers conversations into responses, and the summary.
struct Responses {
    done: Vec<ExportUserDataResponse>,
    current: ExportUserDataResponse,
    bytes: usize,
    counts: RecordCounts,
    digest: Option<ExportDigest>,
}

impl Responses {
    fn new(with_digests: bool) -> Self {
        let (done, current) = (Vec::new(), ExportUserDataResponse::default());
        Self { done, current, bytes: 0, counts: RecordCounts::default(), digest: with_digests.then(ExportDigest::default) }
    }

    fn add(&mut self, mut conversation: Conversation) {
        self.counts.conversations += 1;
        self.counts.messages += i32::try_from(conversation.messages.len()).unwrap_or(i32::MAX);
        if let Some(digest) = &mut self.digest {
            let messages = std::mem::take(&mut conversation.messages);
            let encoded = conversation.encode_to_vec();
            digest.take(1, &RecordDigest::of(&[&encoded]), encoded.len());
            for message in &messages {
                let encoded = message.encode_to_vec();
                digest.take(15, &RecordDigest::of(&[&encoded]), encoded.len());
            }
            conversation.messages = messages;
        }
        self.bytes += conversation.encoded_len();
        self.current.conversations.push(conversation);
        if self.bytes >= RESPONSE_BYTES {
            self.bytes = 0;
            self.done.push(std::mem::take(&mut self.current));
        }
    }

    fn finish(mut self) -> Vec<ExportUserDataResponse> {
        let digest = self.digest.unwrap_or_default();
        let bytes = i64::try_from(digest.bytes()).unwrap_or(i64::MAX);
        self.current.summary = Some(ExportSummary { counts: Some(self.counts), bytes, sha256: digest.hex(), as_of: None });
        self.done.push(self.current);
        self.done
    }
}

/// The generated server answers with frames; this one, as others' servers do, with messages.
#[derive(Clone)]
struct PlainService(Arc<Plain>);

impl NamedService for PlainService {
    const NAME: &'static str = "userdata.v1.UserDataService";
}

impl Service<http::Request<Body>> for PlainService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(Grpc::new(ProstCodec::default()).server_streaming(service, request).await) })
    }
}

impl ServerStreamingService<ExportUserDataRequest> for PlainService {
    type Response = ExportUserDataResponse;
    type ResponseStream = Iter<std::vec::IntoIter<Result<ExportUserDataResponse, Status>>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<ExportUserDataRequest>) -> Self::Future {
        let plain = Arc::clone(&self.0);
        Box::pin(async move {
            let exported = plain.export(&request.into_inner().user_token).await;
            let responses = exported.map_err(|error| Status::internal(error.to_string()))?;
            Ok(Response::new(tokio_stream::iter(responses.into_iter().map(Ok).collect::<Vec<_>>())))
        })
    }
}
