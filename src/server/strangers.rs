//! Calls that need no credential: health, and what the server tells about itself. Whoever reaches the port can make them, so there are
//! places for some, and others are refused at once.

use std::sync::Arc;

use http::Request;
use http_body_util::BodyExt;
use tonic::{Status, body::Body};

use super::slots::{Full, Slots};
use crate::{
    config::listen::ListenConfig,
    grpc::{
        admission::{AdmitLayer, Held},
        auth::peer,
        status,
    },
};

/// How many there may be at once, and how many of one peer: as many peers take them all as take all connections.
const AT_ONCE: usize = 1_000;
const OF_ONE_PEER: usize = 100;

/// The calls of strangers. Cheap to clone.
#[derive(Clone)]
pub(super) struct Strangers {
    /// Those of probes are their own: who watches, which may take for ever, is not in their way.
    checks: Arc<Slots>,
    streams: Arc<Slots>,
}

impl Strangers {
    pub(super) fn within(config: &ListenConfig) -> Self {
        // Behind a proxy, all are of one peer.
        let of_one_peer = if config.max_connections_per_peer == 0 { 0 } else { OF_ONE_PEER };
        let slots = || Slots::new(AT_ONCE, of_one_peer);
        Self { checks: slots(), streams: slots() }
    }

    /// What lets them in.
    pub(super) fn admit(self) -> AdmitLayer<impl Fn(&mut Request<Body>) -> Result<Held, Status> + Clone> {
        AdmitLayer::new(move |request| {
            let slots = if request.uri().path() == "/grpc.health.v1.Health/Check" { &self.checks } else { &self.streams };
            let slot = slots.take(peer(request)).map_err(|full| match full {
                Full::InAll => status::overloaded("calls without a credential"),
                Full::OfPeer => status::share_in_use("this peer has as many calls without a credential at once as it may"),
            })?;
            let held = Held::new(slot);
            // Reflection reads requests in a task of its own, which may outlive the answer.
            let (body, of_request) = (std::mem::take(request.body_mut()), held.clone());
            *request.body_mut() = Body::new(body.map_frame(move |frame| {
                let _held = &of_request;
                frame
            }));
            Ok(held)
        })
    }
}
