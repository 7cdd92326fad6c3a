//! What a client asks for, in the words of the model; where the answer is to try again, it does.

use std::time::{Duration, Instant};

use tonic::{Code, Status};
use tonic_types::StatusExt;
use userdata::grpc::proto::{Category, ExportUserDataRequest, ExportUserDataResponse, ImportUserDataRequest, ImportUserDataResponse};

use crate::{
    held::{Answer, Erasure, Shown, shown_by},
    person::FILES_WITHIN,
    program::Client,
};

/// A call that takes longer never ends.
const ENDLESS: Duration = Duration::from_secs(90);

impl Client {
    /// Erases.
    pub(crate) async fn erase(&mut self, erasure: &Erasure) -> Result<Answer, Status> {
        within(async {
            Ok(match erasure {
                Erasure::Messages(request) => Answer::Messages(self.users.delete_user_messages(request.clone()).await?.into_inner()),
                Erasure::Scopes(request) => Answer::Scopes(self.users.scoped_delete(request.clone()).await?.into_inner()),
            })
        })
        .await
    }

    /// The same, again and again while the answer is to try again.
    pub(crate) async fn erase_patiently(&mut self, erasure: &Erasure) -> Result<Answer, Status> {
        patiently(async || self.erase(erasure).await).await
    }

    /// Imports one request.
    pub(crate) async fn import(&mut self, request: &ImportUserDataRequest) -> Result<ImportUserDataResponse, Status> {
        let requests = tokio_stream::iter([request.clone()]);
        within(async { Ok(self.imports.import_user_data(requests).await?.into_inner()) }).await
    }

    /// The same, again and again while the answer is to try again.
    pub(crate) async fn import_patiently(&mut self, request: &ImportUserDataRequest) -> Result<ImportUserDataResponse, Status> {
        patiently(async || self.import(request).await).await
    }

    /// What an export of everything, with content, shows. A file that goes meanwhile has it begin again.
    pub(crate) async fn shown(&mut self, user_token: &str) -> Result<Shown, Status> {
        let request = ExportUserDataRequest { user_token: user_token.to_owned(), include_upload_content: true, ..Default::default() };
        Ok(shown_by(&self.export(request).await?))
    }

    /// How many messages are held, those of forgotten conversations too.
    pub(crate) async fn messages(&mut self, user_token: &str) -> Result<usize, Status> {
        let categories = vec![Category::Messages.into()];
        let request = ExportUserDataRequest { user_token: user_token.to_owned(), categories, include_deleted: true, ..Default::default() };
        let conversations = self.export(request).await?.into_iter().flat_map(|response| response.conversations);
        Ok(conversations.map(|conversation| conversation.messages.len()).sum())
    }

    async fn export(&mut self, request: ExportUserDataRequest) -> Result<Vec<ExportUserDataResponse>, Status> {
        patiently(async || {
            within(async {
                let mut stream = self.users.export_user_data(request.clone()).await?.into_inner();
                let mut responses = Vec::new();
                while let Some(response) = stream.message().await? {
                    responses.push(response);
                }
                match responses.last() {
                    Some(last) if last.summary.is_some() => Ok(responses),
                    _ => Err(Status::data_loss("an export without its summary ended with OK")),
                }
            })
            .await
        })
        .await
    }
}

/// Whether the server said this, and not the transport.
pub(crate) fn is_of_server(status: &Status) -> bool {
    status.get_details_error_info().is_some()
}

/// Whether the server says that another try may succeed.
pub(crate) fn may_try_again(status: &Status) -> bool {
    is_of_server(status) && matches!(status.code(), Code::Aborted | Code::Unavailable)
}

async fn patiently<T>(mut call: impl AsyncFnMut() -> Result<T, Status>) -> Result<T, Status> {
    let begun = Instant::now();
    loop {
        match call().await {
            Err(status) if may_try_again(&status) && begun.elapsed() < FILES_WITHIN => tokio::time::sleep(Duration::from_millis(50)).await,
            outcome => return outcome,
        }
    }
}

async fn within<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    tokio::time::timeout(ENDLESS, call).await.unwrap_or_else(|_| panic!("a call did not end within {ENDLESS:?}"))
}
