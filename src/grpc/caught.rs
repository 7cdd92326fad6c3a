//! A panic is unforeseen like any other fault: the caller gets INTERNAL instead of a stream that breaks or, worse, ends well. Its place is in
//! the log (`telemetry`), its text nowhere.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;
use http::{Request, Response};
use tonic::{Status, body::Body};
use tower::{Service, ServiceExt};

use super::{status, unread::Unread};
use crate::telemetry::Call;

/// What `work` gives, unless it panics. What it worked on is dropped then, so nobody sees it half done.
pub(super) fn caught<T>(call: &Call, work: impl Future<Output = T>) -> impl Future<Output = Result<T, Status>> {
    AssertUnwindSafe(work).catch_unwind().map(|outcome| {
        outcome.map_err(|_| {
            tracing::error!(request_id = call.request_id(), "a call panicked");
            status::unforeseen(call)
        })
    })
}

/// The answer of `routes`, whatever happens.
///
/// # Errors
/// Those of `routes`.
pub async fn answer<S>(routes: S, request: Request<Body>) -> Result<Response<Body>, S::Error>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    let Some(call) = request.extensions().get::<Arc<Call>>().cloned() else { return routes.oneshot(request).await };
    let (request, unread) = Unread::of(request);
    let response = caught(&call, routes.oneshot(request)).await.unwrap_or_else(|status| Ok(status.into_http()))?;
    unread.read_before(response.headers().contains_key(Status::GRPC_STATUS)).await;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::Ready};

    use tonic::Code;
    use tonic_types::StatusExt;
    use tower::service_fn;

    use super::*;

    #[tokio::test]
    async fn a_handler_that_panics_gives_internal_with_its_request_id() {
        gives_internal(service_fn(async |_| -> Result<Response<Body>, Infallible> { panic!("hunter2") })).await;
        gives_internal(service_fn(|_| -> Ready<Result<Response<Body>, Infallible>> { panic!("hunter2") })).await;
    }

    async fn gives_internal(routes: impl Service<Request<Body>, Response = Response<Body>, Error = Infallible>) {
        let mut request = Request::new(Body::empty());
        let call = Arc::new(Call::new(None, "/method"));
        request.extensions_mut().insert(Arc::clone(&call));
        let response = answer(routes, request).await.unwrap();
        let status = Status::from_header_map(response.headers()).unwrap();
        let info = status.get_details_error_info().unwrap();
        assert_eq!((status.code(), info.reason.as_str()), (Code::Internal, "ERROR_REASON_INTERNAL"));
        assert_eq!(info.metadata["request_id"], call.request_id());
        assert!(!format!("{status:?}").contains("hunter2"));
    }
}
