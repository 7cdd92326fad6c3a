//! Who is let in, and what a call holds until its answer is written.

use std::{
    any::Any,
    future::ready,
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::{Request, Response};
use tonic::{Status, body::Body, server::NamedService};
use tower::{Layer, Service};

/// The place of a call, in the extensions of its response: held until the answer is written, or its client is gone (`pace`).
#[derive(Clone)]
pub struct Held {
    _place: Arc<dyn Any + Send + Sync>,
}

impl Held {
    /// Holds a place.
    pub fn new(place: impl Send + Sync + 'static) -> Self {
        Self { _place: Arc::new(place) }
    }
}

/// Lets calls in, or answers in place of what would serve them.
#[derive(Clone)]
pub struct AdmitLayer<F>(F);

impl<F: Fn(&mut Request<Body>) -> Result<Held, Status>> AdmitLayer<F> {
    /// Calls come in for which `admit` has a place.
    pub fn new(admit: F) -> Self {
        Self(admit)
    }
}

impl<S, F: Clone> Layer<S> for AdmitLayer<F> {
    type Service = Admitting<S, F>;

    fn layer(&self, inner: S) -> Admitting<S, F> {
        Admitting { inner, admit: self.0.clone() }
    }
}

/// See [`AdmitLayer`].
#[derive(Clone)]
pub struct Admitting<S, F> {
    inner: S,
    admit: F,
}

impl<S: NamedService, F> NamedService for Admitting<S, F> {
    const NAME: &'static str = S::NAME;
}

impl<S, F> Service<Request<Body>> for Admitting<S, F>
where
    S: Service<Request<Body>, Response = Response<Body>, Error: Send + 'static, Future: Send + 'static>,
    F: Fn(&mut Request<Body>) -> Result<Held, Status>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let held = match (self.admit)(&mut request) {
            Ok(held) => held,
            Err(status) => return Box::pin(ready(Ok(status.into_http()))),
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut response = answer.await?;
            // An export has put it there itself, with its second place.
            response.extensions_mut().get_or_insert_with(|| held);
            Ok(response)
        })
    }
}
