//! Taking connections, and handing each to one of the threads that serve them.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{net::TcpListener, sync::mpsc};

use super::slots::{Full, Slot, Slots};

/// How long no connection is taken after one could not be: out of descriptors, the next cannot either.
const PAUSE: Duration = Duration::from_millis(100);

/// How often the log tells the same trouble.
const BETWEEN_COMPLAINTS: Duration = Duration::from_secs(10);

/// A connection that no runtime knows yet.
pub(super) struct Accepted {
    pub(super) socket: std::net::TcpStream,
    pub(super) peer: SocketAddr,
    /// Held for as long as the connection is open.
    pub(super) slot: Slot,
}

/// Hands connections to `threads` in turn, for as long as it is asked to. Those for which there is no place are closed: their clients know
/// at once that they must go elsewhere.
pub(super) async fn accept(listener: TcpListener, slots: Arc<Slots>, threads: Vec<mpsc::UnboundedSender<Accepted>>) {
    let mut complaints = Complaints::default();
    for thread in threads.iter().cycle() {
        let accepted = loop {
            match listener.accept().await {
                Ok((socket, peer)) => match slots.take(peer.ip()) {
                    // A connection that is gone already needs nobody to hear of it.
                    Ok(slot) => match socket.set_nodelay(true).and_then(|()| socket.into_std()) {
                        Ok(socket) => break Accepted { socket, peer, slot },
                        Err(error) => tracing::debug!(%peer, %error, "a connection has ended before it began"),
                    },
                    Err(Full::InAll) => complaints.about("a connection was closed: there are --max-connections"),
                    Err(Full::OfPeer) => complaints.about("a connection was closed: its peer has --max-connections-per-peer"),
                },
                Err(error) if is_of_one_connection(error.kind()) => tracing::debug!(%error, "a connection has ended before it began"),
                Err(error) => {
                    complaints.about(&format!("a connection could not be taken: {error}"));
                    tokio::time::sleep(PAUSE).await;
                }
            }
        };
        // A thread that serves no more is one of a server that stops.
        let _ = thread.send(accepted);
    }
}

fn is_of_one_connection(error: ErrorKind) -> bool {
    matches!(error, ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted)
}

/// Says that something is wrong, and not a thousand times a second.
#[derive(Default)]
struct Complaints {
    last: Option<Instant>,
    unsaid: u64,
}

impl Complaints {
    fn about(&mut self, what: &str) {
        if self.last.is_some_and(|last| last.elapsed() < BETWEEN_COMPLAINTS) {
            self.unsaid += 1;
        } else {
            tracing::warn!(others_before = self.unsaid, "{what}");
            *self = Self { last: Some(Instant::now()), unsaid: 0 };
        }
    }
}
