//! One log line per call, written when the call has ended: when its last byte is sent, or its client is gone.

use std::{
    collections::HashSet,
    fmt::Write,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Instant,
};

use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::domain::{counts::RecordCounts, principal::Principal};

const REQUEST_ID: &str = "x-request-id";
const UNKNOWN_METHOD: &str = "unknown";

/// What is known of a running call; in the extensions of its request. The handler adds what only it knows.
#[derive(Debug)]
pub struct Call {
    request_id: String,
    method: String,
    began: Instant,
    details: Mutex<Details>,
}

#[derive(Debug, Default)]
struct Details {
    application: String,
    key: String,
    counts: String,
    code: Option<i32>,
}

impl Call {
    pub(crate) fn new(request_id: Option<&HeaderValue>, method: &str) -> Self {
        let given = request_id.and_then(|id| id.to_str().ok()).filter(|id| is_request_id(id));
        let request_id = given.map_or_else(random_id, str::to_owned);
        Self { request_id, method: method.to_owned(), began: Instant::now(), details: Mutex::default() }
    }

    /// The id by which the caller can ask about the call: its own `x-request-id`, or a random one.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Notes who calls.
    pub fn by(&self, principal: &Principal) {
        let mut details = self.details();
        details.application = principal.application().as_str().to_owned();
        details.key = match principal {
            Principal::ApiKey { key_id, .. } => key_id.clone(),
            Principal::User { .. } => "jwt".to_owned(),
        };
    }

    /// Notes how many of something there were.
    pub fn count(&self, what: &str, count: u64) {
        let counts = &mut self.details().counts;
        let separator = if counts.is_empty() { "" } else { " " };
        // Writing to a string does not fail.
        let _ = write!(counts, "{separator}{what}={count}");
    }

    /// Notes how many records of each category there were, where there were any.
    pub fn count_records(&self, counts: &RecordCounts) {
        for category in crate::domain::category::Category::ALL {
            let count = counts.of(category);
            if count > 0 {
                self.count(category.name(), count.into());
            }
        }
    }

    fn ended_with(&self, headers: &HeaderMap) {
        let code = headers.get("grpc-status").and_then(|code| code.to_str().ok()).and_then(|code| code.parse().ok());
        if let Some(code) = code {
            self.details().code = Some(code);
        }
    }

    fn details(&self) -> std::sync::MutexGuard<'_, Details> {
        self.details.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self) {
        let details = self.details();
        // Without a status the client was gone before the end.
        let code = details.code.map_or("CANCELLED", code_name);
        let (request_id, method, application) = (&self.request_id, &self.method, &details.application);
        let (key, counts) = (&details.key, &details.counts);
        let duration_ms = self.began.elapsed().as_secs_f64() * 1e3;
        if method.starts_with("/userdata.") {
            tracing::info!(request_id, method, application, key, code, duration_ms, counts, "call");
        } else {
            tracing::debug!(request_id, method, code, duration_ms, "call");
        }
    }
}

/// The name of a gRPC status.
fn code_name(code: i32) -> &'static str {
    match code {
        0 => "OK",
        1 => "CANCELLED",
        3 => "INVALID_ARGUMENT",
        4 => "DEADLINE_EXCEEDED",
        5 => "NOT_FOUND",
        6 => "ALREADY_EXISTS",
        7 => "PERMISSION_DENIED",
        8 => "RESOURCE_EXHAUSTED",
        9 => "FAILED_PRECONDITION",
        10 => "ABORTED",
        11 => "OUT_OF_RANGE",
        12 => "UNIMPLEMENTED",
        13 => "INTERNAL",
        14 => "UNAVAILABLE",
        15 => "DATA_LOSS",
        16 => "UNAUTHENTICATED",
        _ => "UNKNOWN",
    }
}

/// A caller's id is kept if it cannot be mistaken for anything else in a log.
fn is_request_id(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn random_id() -> String {
    let mut bytes = [0; 16];
    // An id that is not random is a nuisance, not a danger.
    let _ = getrandom::fill(&mut bytes);
    hex::encode(bytes)
}

/// Puts a [`Call`] into every request, and logs it when it has ended.
#[derive(Clone, Debug)]
pub struct CallLogLayer {
    methods: Arc<HashSet<String>>,
}

impl CallLogLayer {
    /// A log that names these methods, and no other path: that may hold anything.
    pub fn new(methods: Arc<HashSet<String>>) -> Self {
        Self { methods }
    }
}

impl<S> Layer<S> for CallLogLayer {
    type Service = CallLog<S>;

    fn layer(&self, inner: S) -> CallLog<S> {
        CallLog { inner, methods: Arc::clone(&self.methods) }
    }
}

/// See [`CallLogLayer`].
#[derive(Clone, Debug)]
pub struct CallLog<S> {
    inner: S,
    methods: Arc<HashSet<String>>,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for CallLog<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = Response<LoggedBody<ResBody>>;
    type Error = S::Error;
    type Future = LoggedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let method = self.methods.get(request.uri().path()).map_or(UNKNOWN_METHOD, String::as_str);
        let call = Arc::new(Call::new(request.headers().get(REQUEST_ID), method));
        request.extensions_mut().insert(Arc::clone(&call));
        LoggedFuture { inner: self.inner.call(request), ending: Some(Ending(call)) }
    }
}

/// Logs the call when it is dropped.
#[derive(Debug)]
struct Ending(Arc<Call>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.log();
    }
}

pin_project! {
    /// The head of a logged response.
    pub struct LoggedFuture<F> {
        #[pin]
        inner: F,
        ending: Option<Ending>,
    }
}

impl<F, B, E> Future for LoggedFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<LoggedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx));
        let ending = this.ending.take();
        Poll::Ready(response.map(|mut response| {
            if let Some(Ending(call)) = &ending {
                call.ended_with(response.headers());
                if let Ok(id) = HeaderValue::from_str(call.request_id()) {
                    response.headers_mut().insert(REQUEST_ID, id);
                }
            }
            response.map(|inner| LoggedBody { inner, ending })
        }))
    }
}

pin_project! {
    /// The body of a logged response.
    pub struct LoggedBody<B> {
        #[pin]
        inner: B,
        ending: Option<Ending>,
    }
}

impl<B: Body> Body for LoggedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(cx));
        if let (Some(Ok(frame)), Some(Ending(call))) = (&frame, &this.ending)
            && let Some(trailers) = frame.trailers_ref()
        {
            call.ended_with(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
