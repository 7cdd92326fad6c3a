//! A bare tonic server: it answers an export with one frame of zeros, and does nothing else. What it takes is what gRPC itself takes. If it
//! reads as well, which it does through SQLite's own interface and for nothing, it takes what no service can do without. If it erases, it has
//! sea-orm do what is written by hand in one text, and looks at nothing: what no service can do without that writes through sea-orm.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use bytes::Bytes;
use rusqlite::{Connection, params};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, SqliteTransactionMode, TransactionOptions, TransactionTrait,
    sqlx::sqlite::SqliteSynchronous,
};
use tokio_stream::{Once, once};
use tonic::{Request, Response, Status};
use userdata::grpc::{
    export_frame::ExportFrame,
    proto::{
        DeleteUserMessagesRequest, DeleteUserMessagesResponse, ExportUserDataRequest, GetErasureStatusRequest, GetErasureStatusResponse,
        ScopedDeleteRequest, ScopedDeleteResponse,
        server::user_data_service_server::{UserDataService, UserDataServiceServer},
    },
};

use super::{
    database::{APPLICATION, Engine},
    layout,
};

#[derive(Default)]
struct Echo {
    reply: Bytes,
    reads: Option<Arc<Mutex<Connection>>>,
    erases: Option<DatabaseConnection>,
}

impl Echo {
    /// Reads all that is held about a user.
    fn read(&self, user_token: &str) -> rusqlite::Result<()> {
        let Some(reads) = &self.reads else { return Ok(()) };
        let connection = reads.lock().unwrap_or_else(PoisonError::into_inner);
        let moment = connection.unchecked_transaction()?;
        let subject: i64 = moment.prepare_cached(layout::FIND_SUBJECT)?.query_row(params![APPLICATION, user_token], |row| row.get(0))?;
        for query in layout::SELECT_EVERYTHING {
            let mut statement = moment.prepare_cached(query)?;
            let columns = statement.column_count();
            let mut rows = statement.query([subject])?;
            while let Some(row) = rows.next()? {
                for column in 0..columns {
                    std::hint::black_box(row.get_ref(column)?);
                }
            }
        }
        Ok(())
    }

    /// Erases everything of the subject whose number the user's token is.
    async fn erase(&self, request: &ScopedDeleteRequest) -> anyhow::Result<()> {
        let database = self.erases.as_ref().context("this one only reads")?;
        let (subject, keeps_request) = (request.user_token.parse()?, !request.request_id.is_empty());
        let engine = if database.get_database_backend() == DbBackend::Sqlite { Engine::Sqlite } else { Engine::Postgres };
        let immediate = TransactionOptions { sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate), ..Default::default() };
        let transaction = database.begin_with_options(immediate).await?;
        transaction.execute_unprepared(&layout::changes_of_everything(engine, subject, keeps_request)).await?;
        transaction.commit().await?;
        if engine == Engine::Sqlite {
            database.execute_unprepared(layout::EMPTY_LOG).await?;
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl UserDataService for Echo {
    type ExportUserDataStream = Once<Result<ExportFrame, Status>>;

    async fn export_user_data(&self, request: Request<ExportUserDataRequest>) -> Result<Response<Self::ExportUserDataStream>, Status> {
        self.read(&request.get_ref().user_token).map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(once(Ok(ExportFrame(self.reply.clone())))))
    }

    async fn delete_user_messages(&self, _: Request<DeleteUserMessagesRequest>) -> Result<Response<DeleteUserMessagesResponse>, Status> {
        Err(Status::unimplemented("an echo"))
    }

    async fn scoped_delete(&self, request: Request<ScopedDeleteRequest>) -> Result<Response<ScopedDeleteResponse>, Status> {
        self.erase(request.get_ref()).await.map_err(|error| Status::internal(format!("{error:#}")))?;
        Ok(Response::new(ScopedDeleteResponse::default()))
    }

    async fn get_erasure_status(&self, _: Request<GetErasureStatusRequest>) -> Result<Response<GetErasureStatusResponse>, Status> {
        Err(Status::unimplemented("an echo"))
    }
}

pub(crate) async fn serve(reply_bytes: usize, reads: Option<&Path>) -> anyhow::Result<()> {
    let reads = reads.map(Connection::open).transpose()?;
    if let Some(connection) = &reads {
        connection.set_prepared_statement_cache_capacity(layout::SELECT_EVERYTHING.len() + 1);
    }
    let reads = reads.map(|connection| Arc::new(Mutex::new(connection)));
    super::listen(UserDataServiceServer::new(Echo { reply: vec![0; reply_bytes].into(), reads, erases: None })).await
}

/// One that erases, in a database with the service's tables.
pub(crate) async fn serve_erasing(database_url: &str) -> anyhow::Result<()> {
    let mut options = ConnectOptions::new(database_url);
    // As the service writes: on SQLite with one connection.
    let connections = if database_url.starts_with("sqlite") { 1 } else { 8 };
    options.max_connections(connections).test_before_acquire(false).sqlx_logging(false);
    options.map_sqlx_sqlite_opts(|sqlite| sqlite.synchronous(SqliteSynchronous::Full).pragma("secure_delete", "ON"));
    let erases = Some(Database::connect(options).await?);
    super::listen(UserDataServiceServer::new(Echo { erases, ..Echo::default() })).await
}
