//! An export as the client sees it: taken up again where its stream broke, and compared with its summary.

use std::{error::Error, time::Duration};

use tonic::{Code, Status, Streaming, service::interceptor::InterceptedService, transport::Channel};
use tonic_types::StatusExt;

use super::{ClientError, Credential, describe, root_cause};
use crate::{
    domain::{
        counts::RecordCounts,
        digest::{ExportDigest, RecordDigest},
    },
    grpc::{
        document::{Item, items},
        proto::{ExportSummary, ExportUserDataRequest, ExportUserDataResponse, user_data_service_client::UserDataServiceClient},
    },
};

/// How often in a row a stream that brings nothing is taken up again.
const MAX_RESUMES: u32 = 3;
const FIRST_DELAY: Duration = Duration::from_secs(1);
const MAX_DELAY: Duration = Duration::from_secs(30);

/// A running export.
pub struct Export {
    server: String,
    client: UserDataServiceClient<InterceptedService<Channel, Credential>>,
    request: ExportUserDataRequest,
    stream: Option<Streaming<ExportUserDataResponse>>,
    /// Since the export last got on.
    resumes: u32,
    counts: RecordCounts,
    digest: ExportDigest,
    summary: Option<ExportSummary>,
}

impl Export {
    pub(super) fn new(
        server: String,
        client: UserDataServiceClient<InterceptedService<Channel, Credential>>,
        request: ExportUserDataRequest,
    ) -> Self {
        let (counts, digest) = (RecordCounts::default(), ExportDigest::default());
        Self { server, client, request, stream: None, resumes: 0, counts, digest, summary: None }
    }

    /// The items of the next response; `None` after the last one. By then the summary has arrived and agrees with all that came.
    ///
    /// # Errors
    /// The server's status; a connection that broke again and again without bringing anything; a summary that does not agree.
    pub async fn next(&mut self) -> Result<Option<Vec<Item>>, ClientError> {
        while self.summary.is_none() {
            match self.response().await {
                Ok(Some(response)) => return self.take(response).map(Some),
                Ok(None) => self.broken(Status::unavailable("the export ended without its summary and is incomplete")).await?,
                Err(status) => self.broken(status).await?,
            }
        }
        Ok(None)
    }

    /// What the whole export held, once it has come to its end.
    pub fn summary(&self) -> Option<&ExportSummary> {
        self.summary.as_ref()
    }

    /// The records that came so far.
    pub fn counts(&self) -> &RecordCounts {
        &self.counts
    }

    /// The bytes of the records that came so far.
    pub fn bytes(&self) -> u64 {
        self.digest.bytes()
    }

    async fn response(&mut self) -> Result<Option<ExportUserDataResponse>, Status> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => none.insert(self.client.export_user_data(self.request.clone()).await?.into_inner()),
        };
        stream.message().await
    }

    fn take(&mut self, mut response: ExportUserDataResponse) -> Result<Vec<Item>, ClientError> {
        let before = std::mem::replace(&mut self.request.resume_token, std::mem::take(&mut response.resume_token));
        if self.request.resume_token != before {
            self.resumes = 0;
        }
        let summary = response.summary.take();
        let items: Vec<Item> = items(response).collect();
        for item in &items {
            if let Some(category) = item.category() {
                self.counts.add(category, 1);
            }
            let encoded = item.encode();
            self.digest.take(item.field_number(), &RecordDigest::of(&[&encoded]), encoded.len());
        }
        if let Some(summary) = summary {
            self.check(&summary)?;
            self.summary = Some(summary);
        }
        Ok(items)
    }

    fn check(&self, summary: &ExportSummary) -> Result<(), ClientError> {
        if summary.counts.unwrap_or_default() != self.counts.into() {
            return Err(ClientError::NotWhole("counts"));
        }
        if u64::try_from(summary.bytes) != Ok(self.digest.bytes()) {
            return Err(ClientError::NotWhole("bytes"));
        }
        if summary.sha256 != self.digest.hex() {
            return Err(ClientError::NotWhole("contents"));
        }
        Ok(())
    }

    /// Waits before the stream is taken up again, if that makes sense.
    async fn broken(&mut self, status: Status) -> Result<(), ClientError> {
        self.stream = None;
        // The server gives every error of its own an ErrorInfo; one without was made by a connection that broke.
        let connection =
            matches!(status.code(), Code::Unknown | Code::Internal | Code::Cancelled) && status.get_details_error_info().is_none();
        let wished = status.get_details_retry_info().and_then(|info| info.retry_delay);
        // The call has no deadline of its own: it is the server that lets none run longer.
        let goes_on = matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded);
        if !(connection || wished.is_some() || goes_on) {
            return Err(status.into());
        }
        if self.resumes == MAX_RESUMES {
            let cause = if status.source().is_some() { root_cause(&status) } else { describe(&status) };
            return Err(ClientError::BrokenOff { server: self.server.clone(), cause });
        }
        tokio::time::sleep(wished.unwrap_or(FIRST_DELAY * 2_u32.pow(self.resumes)).min(MAX_DELAY)).await;
        self.resumes += 1;
        Ok(())
    }
}
