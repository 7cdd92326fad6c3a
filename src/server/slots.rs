//! How many connections are open, or calls of strangers run: in all, and of one peer.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::grpc::auth::network;

/// Places of the listener for calls that need `admin`: its own, so that nobody at the other one takes them.
pub(super) const ADMIN_CONNECTIONS: u32 = 100;

/// The places that they take.
pub(super) struct Slots {
    max: usize,
    max_per_peer: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    total: usize,
    /// Peers without a place are not in it.
    by_peer: HashMap<IpAddr, usize>,
}

/// Which bound is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Full {
    /// That of all together.
    InAll,
    /// That of one peer.
    OfPeer,
}

/// The place of one of them, free again when this is dropped.
pub(super) struct Slot {
    slots: Arc<Slots>,
    peer: IpAddr,
}

impl Slots {
    /// So many, and so many for one peer; 0 is no bound for that.
    pub(super) fn new(max: usize, max_per_peer: usize) -> Arc<Self> {
        let max_per_peer = if max_per_peer == 0 { max } else { max_per_peer };
        Arc::new(Self { max, max_per_peer, taken: Mutex::default() })
    }

    /// A place for somebody from there, if there is one.
    ///
    /// # Errors
    /// Which bound is reached.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Slot, Full> {
        let peer = network(address);
        let mut taken = self.taken();
        if taken.total >= self.max {
            return Err(Full::InAll);
        }
        let of_peer = taken.by_peer.entry(peer).or_default();
        if *of_peer >= self.max_per_peer {
            return Err(Full::OfPeer);
        }
        *of_peer += 1;
        taken.total += 1;
        Ok(Slot { slots: Arc::clone(self), peer })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken();
        taken.total -= 1;
        if let Entry::Occupied(mut of_peer) = taken.by_peer.entry(self.peer) {
            *of_peer.get_mut() -= 1;
            if *of_peer.get() == 0 {
                of_peer.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_its_share_and_all_together_theirs() {
        let slots = Slots::new(3, 2);
        let take = |address: &str| slots.take(address.parse().unwrap());
        let first = take("10.0.0.1").ok().unwrap();
        let _second = take("::ffff:10.0.0.1").ok().unwrap();
        assert_eq!(take("10.0.0.1").err(), Some(Full::OfPeer));
        let _third = take("2001:db8::1").ok().unwrap();
        assert_eq!(take("2001:db8::2").err(), Some(Full::InAll));
        drop(first);
        let _again = take("2001:db8::ffff:1").ok().unwrap();
        drop(_again);
        take("10.0.0.1").ok().unwrap();
        assert_eq!(slots.taken().by_peer.len(), 2);
    }

    #[test]
    fn the_machines_of_an_ipv6_network_are_one_peer_and_without_a_share_peers_are_not_counted() {
        let slots = Slots::new(3, 1);
        let _first = slots.take("2001:db8::1".parse().unwrap()).ok().unwrap();
        assert!(slots.take("2001:db8::2".parse().unwrap()).is_err());
        assert!(slots.take("2001:db8:0:1::1".parse().unwrap()).is_ok());

        let slots = Slots::new(3, 0);
        let _taken: Vec<_> = (0..3).map(|_| slots.take("10.0.0.1".parse().unwrap()).ok().unwrap()).collect();
        assert!(slots.take("10.0.0.1".parse().unwrap()).is_err());
    }
}
