//! How many connections the process may have open: each is a descriptor, and the stores need some too.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is left for the stores, the log and the runtimes, besides the connections that are named.
const OTHERS: u64 = 200;

/// As many of the connections that are wanted as fit. Where the limit can be raised it is, and where it cannot, the log says so.
pub(super) fn connections_that_fit(wanted: u32, other_connections: u32) -> usize {
    let others = OTHERS + u64::from(other_connections);
    let needed = u64::from(wanted) + others;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        let raised = Rlimit { current: Some(limit.maximum.map_or(needed, |maximum| maximum.min(needed))), ..limit };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            limit = raised;
        }
    }
    let fit = match limit.current {
        Some(current) => u64::from(wanted).min(current - others.min(current / 2)),
        None => wanted.into(),
    };
    if fit < u64::from(wanted) {
        tracing::warn!(
            wanted,
            fit,
            descriptors = limit.current,
            "the process may not open enough files for --max-connections, which is lowered; raise its limit (ulimit -n, LimitNOFILE=)"
        );
    }
    usize::try_from(fit).unwrap_or(usize::MAX)
}
