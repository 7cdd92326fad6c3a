//! Slows peers whose credentials are refused again and again: they hear of further refusals late. A good credential is believed at once,
//! whoever else calls from the same address, for behind a proxy all callers are one peer.

use std::{
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use http::{Request, Response};
use tokio::{sync::Semaphore, time::sleep};
use tonic::{Status, transport::server::TcpConnectInfo};

use crate::grpc::deadline::Deadline;

/// [`tonic::Code::Unauthenticated`], as a response has it.
const UNAUTHENTICATED: &str = "16";

/// Within which refusals count together.
const WINDOW: Duration = Duration::from_secs(60);

/// How late a refusal comes at the most.
const LATEST: Duration = Duration::from_secs(5);

/// Who waits no longer than this for an answer is told of his deadline instead of the refusal.
const TOO_SOON: Duration = Duration::from_secs(1);

/// How many refusals wait at once, and how many of one peer, for each is a call that is kept: others come at once. Of a connection's calls
/// they are no more than this part, or one, so that one which many share is open to the others.
const WAITING: usize = 1_000;
const WAITING_OF_ONE_PEER: usize = 100;
const PART_OF_CONNECTION: u32 = 4;

/// Between two lines in the log at least.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// Peers share so many records, so that nobody can fill the memory. Two that share one slow each other's refusals, and nothing else.
const RECORDS: usize = 4096;

/// What is known of failures. All times are in milliseconds since the start.
pub struct FailedLogins {
    began: Instant,
    /// How far one refusal puts off the moment at which a peer's are all forgiven.
    each: u64,
    hasher: RandomState,
    records: Box<[Record]>,
    /// Refusals that no line in the log has told of.
    untold: AtomicU64,
    next_line: AtomicU64,
    waiting: Semaphore,
}

struct Record {
    forgiven_at: AtomicU64,
    waiting: Semaphore,
}

impl FailedLogins {
    /// Knows of none; so many a minute are answered at once. A connection has so many calls at a time.
    pub fn new(at_once: u32, calls_of_connection: u32) -> Arc<Self> {
        let of_one_peer = Ord::clamp((calls_of_connection / PART_OF_CONNECTION) as usize, 1, WAITING_OF_ONE_PEER);
        let record = || Record { forgiven_at: AtomicU64::default(), waiting: Semaphore::new(of_one_peer) };
        Arc::new(Self {
            began: Instant::now(),
            each: millis(WINDOW) / u64::from(at_once.max(1)),
            hasher: RandomState::new(),
            records: std::iter::repeat_with(record).take(RECORDS).collect(),
            untold: AtomicU64::default(),
            next_line: AtomicU64::default(),
            waiting: Semaphore::new(WAITING),
        })
    }

    /// The answer to a request of this caller: late, if it is one refusal too many, but before a deadline that is far enough.
    ///
    /// # Errors
    /// Those of `answer`.
    pub async fn slow<B, E>(
        self: Arc<Self>,
        Caller { peer, deadline }: Caller,
        answer: impl Future<Output = Result<Response<B>, E>>,
    ) -> Result<Response<B>, E> {
        let response = answer.await?;
        if response.headers().get(Status::GRPC_STATUS).is_some_and(|code| code == UNAUTHENTICATED) {
            let now = millis(self.began.elapsed());
            let late = self.refused(peer, now);
            self.untold.fetch_add(1, Relaxed);
            if late > 0 {
                self.tell(peer, now);
                let left = deadline.map(|deadline| deadline.left()).filter(|left| *left > TOO_SOON);
                let most = left.map_or(LATEST, |left| left * 3 / 4);
                if let (Ok(_of_peer), Ok(_of_all)) = (self.record(peer).waiting.try_acquire(), self.waiting.try_acquire()) {
                    sleep(most.min(Duration::from_millis(late))).await;
                }
            }
        }
        Ok(response)
    }

    /// Notes a refusal; how late it is to be answered.
    fn refused(&self, peer: IpAddr, now: u64) -> u64 {
        let window_end = now + millis(WINDOW);
        let put_off = |forgiven_at: u64| (forgiven_at.max(now) + self.each).min(window_end + millis(LATEST));
        let before = self.record(peer).forgiven_at.fetch_update(Relaxed, Relaxed, |at| Some(put_off(at)));
        before.map_or(0, |before| put_off(before).saturating_sub(window_end))
    }

    fn record(&self, peer: IpAddr) -> &Record {
        &self.records[self.hasher.hash_one(network(peer)) as usize % RECORDS]
    }

    fn tell(&self, peer: IpAddr, now: u64) {
        let next = self.next_line.load(Relaxed);
        if now >= next && self.next_line.compare_exchange(next, now + millis(BETWEEN_LINES), Relaxed, Relaxed).is_ok() {
            let refused = self.untold.swap(0, Relaxed);
            tracing::warn!(%peer, refused, "credentials are refused again and again; this peer hears of it late");
        }
    }
}

/// Who sent a request, and how long it waits for the answer.
pub struct Caller {
    peer: IpAddr,
    deadline: Option<Deadline>,
}

impl Caller {
    /// As the request tells.
    pub fn of<B>(request: &Request<B>) -> Self {
        Self { peer: peer(request), deadline: request.extensions().get().copied() }
    }
}

/// Who sent a request; nobody, if the transport does not say.
pub fn peer<B>(request: &Request<B>) -> IpAddr {
    let address = request.extensions().get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
    address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip())
}

/// What counts as one peer: an IPv4 address, or the /64 that one IPv6 machine usually has to itself.
pub fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn refusals_within_the_measure_are_answered_at_once_and_more_of_them_late() {
        let failed = FailedLogins::new(30, 100);
        let late: Vec<u64> = (0..34).map(|_| failed.refused(PEER, 0)).collect();
        assert_eq!(late[..30], [0; 30]);
        assert_eq!(late[30..], [2_000, 4_000, 5_000, 5_000]);
    }

    #[test]
    fn refusals_are_forgiven_in_time_however_many_there_were() {
        let failed = FailedLogins::new(30, 100);
        for _ in 0..100_000 {
            failed.refused(PEER, 0);
        }
        assert_eq!(failed.refused(PEER, 0), 5_000);
        assert_eq!(failed.refused(PEER, 10_000), 0);
        assert_eq!(failed.refused(PEER, 10_000), 0);
        for _ in 0..30 {
            failed.refused(PEER, 80_000);
        }
        assert_eq!(failed.refused(PEER, 80_000), 2_000);
    }

    #[tokio::test]
    async fn only_so_many_refusals_wait_at_once_and_those_of_one_peer_leave_room_for_others() {
        let failed = FailedLogins::new(1, 400);
        let refusal = |last: usize| {
            let caller = Caller { peer: Ipv4Addr::new(192, 0, 2, u8::try_from(last).unwrap()).into(), deadline: None };
            let answer = async { Ok::<_, ()>(Status::unauthenticated("").into_http::<()>()) };
            let mut refusal = Box::pin(Arc::clone(&failed).slow(caller, answer));
            (&mut refusal).now_or_never().is_none().then_some(refusal)
        };
        let mut waiting: Vec<_> = (0..2 * WAITING).filter_map(|_| refusal(1)).collect();
        assert_eq!(waiting.len(), WAITING_OF_ONE_PEER);
        waiting.pop();
        waiting.push(refusal(1).expect("there is a place again"));
        // Of some, the first is answered at once, and some share a record.
        waiting.extend((2..=100).flat_map(|last| (0..=WAITING_OF_ONE_PEER).filter_map(move |_| refusal(last))));
        assert_eq!(waiting.len(), WAITING);
    }

    #[test]
    fn refusals_that_wait_leave_most_of_a_connection_to_others() {
        for (calls, expected) in [(0, 1), (1, 1), (8, 2), (100, 25), (10_000, WAITING_OF_ONE_PEER)] {
            let failed = FailedLogins::new(1, calls);
            assert_eq!(failed.record(PEER).waiting.available_permits(), expected, "{calls}");
        }
    }

    #[test]
    fn peers_are_slowed_for_themselves_and_networks_as_one() {
        let failed = FailedLogins::new(1, 100);
        let peers: Vec<IpAddr> = (0..=255).map(|last| Ipv4Addr::new(198, 51, 100, last).into()).collect();
        let slowed = peers.iter().filter(|peer| failed.refused(**peer, 0) > 0).count();
        assert!(slowed < 64, "{slowed} of 256 peers are slowed by others");
        let v6 = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(network(v6("2001:db8::1")), network(v6("2001:db8::ffff:1")));
        assert_ne!(network(v6("2001:db8::1")), network(v6("2001:db8:0:1::1")));
        assert_eq!(network(v6("::ffff:192.0.2.1")), PEER);
    }
}
