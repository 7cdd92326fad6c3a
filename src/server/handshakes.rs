//! How many TLS handshakes run at once: in all, and of one peer, so that one that is slow does not keep the others out.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Semaphore;

use crate::{config::listen::ListenConfig, grpc::auth::network};

/// Of all handshakes, one of so many may be of one peer.
const SHARE: usize = 4;

/// The share of each peer, and how many handshakes run within it or wait for it.
type Peers = HashMap<IpAddr, (Arc<Semaphore>, usize)>;

/// The handshakes that run, and those that wait.
pub(super) struct Handshakes {
    all: Semaphore,
    each: usize,
    /// Peers without a handshake are not in it.
    of: Mutex<Peers>,
}

impl Handshakes {
    pub(super) fn within(config: &ListenConfig) -> Self {
        let all = config.max_handshakes as usize;
        // Behind a proxy, all are of one peer.
        let each = if config.max_connections_per_peer == 0 { all } else { all.div_ceil(SHARE) };
        Self { all: Semaphore::new(all), each, of: Mutex::default() }
    }

    /// Runs a handshake with somebody there once there is room for it.
    pub(super) async fn run<T>(&self, address: IpAddr, handshake: impl Future<Output = T>) -> T {
        let own = self.of(network(address));
        // Who waits for the own share is not in the way of others. Neither is ever closed.
        let _own = own.share.acquire().await;
        let _all = self.all.acquire().await;
        handshake.await
    }

    fn of(&self, peer: IpAddr) -> Own<'_> {
        let mut peers = self.peers();
        let (share, handshakes) = peers.entry(peer).or_insert_with(|| (Arc::new(Semaphore::new(self.each)), 0));
        *handshakes += 1;
        Own { handshakes: self, peer, share: Arc::clone(share) }
    }

    fn peers(&self) -> MutexGuard<'_, Peers> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The share of one peer, forgotten with the last of its handshakes.
struct Own<'a> {
    handshakes: &'a Handshakes,
    peer: IpAddr,
    share: Arc<Semaphore>,
}

impl Drop for Own<'_> {
    fn drop(&mut self) {
        let mut peers = self.handshakes.peers();
        if let Entry::Occupied(mut of_peer) = peers.entry(self.peer) {
            of_peer.get_mut().1 -= 1;
            if of_peer.get().1 == 0 {
                of_peer.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        pin::pin,
    };

    use futures::poll;

    use super::*;

    #[tokio::test]
    async fn a_peer_has_its_share_and_is_forgotten_with_its_last_handshake() {
        let handshakes = Handshakes { all: Semaphore::new(4), each: 1, of: Mutex::default() };
        let (one, other) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        {
            let (mut slow, mut next) = (pin!(handshakes.run(one, pending::<()>())), pin!(handshakes.run(one, ready(()))));
            assert!(poll!(&mut slow).is_pending() && poll!(&mut next).is_pending());
            assert!(poll!(pin!(handshakes.run(other, ready(())))).is_ready());
            assert_eq!(handshakes.peers().len(), 1);
        }
        assert!(handshakes.peers().is_empty());
    }
}
