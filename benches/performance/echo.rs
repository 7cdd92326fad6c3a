//! A bare tonic server: it answers an export with one frame of zeros, and does nothing else. What it takes is what gRPC itself takes.

use bytes::Bytes;
use tokio_stream::{Once, once};
use tonic::{Request, Response, Status};
use userdata::grpc::{
    export_frame::ExportFrame,
    proto::{
        DeleteUserMessagesRequest, DeleteUserMessagesResponse, ExportUserDataRequest, ScopedDeleteRequest, ScopedDeleteResponse,
        server::user_data_service_server::{UserDataService, UserDataServiceServer},
    },
};

struct Echo {
    reply: Bytes,
}

#[tonic::async_trait]
impl UserDataService for Echo {
    type ExportUserDataStream = Once<Result<ExportFrame, Status>>;

    async fn export_user_data(&self, _: Request<ExportUserDataRequest>) -> Result<Response<Self::ExportUserDataStream>, Status> {
        Ok(Response::new(once(Ok(ExportFrame(self.reply.clone())))))
    }

    async fn delete_user_messages(&self, _: Request<DeleteUserMessagesRequest>) -> Result<Response<DeleteUserMessagesResponse>, Status> {
        Err(Status::unimplemented("an echo"))
    }

    async fn scoped_delete(&self, _: Request<ScopedDeleteRequest>) -> Result<Response<ScopedDeleteResponse>, Status> {
        Err(Status::unimplemented("an echo"))
    }
}

pub(crate) async fn serve(reply_bytes: usize) -> anyhow::Result<()> {
    super::listen(UserDataServiceServer::new(Echo { reply: vec![0; reply_bytes].into() })).await
}
