//! How much there may be at once, and how often: a call beyond that is refused at once and without a look at its message, for nobody is
//! served by a queue. What the whole server has no room for is UNAVAILABLE, what an application or a key has had its share of is
//! RESOURCE_EXHAUSTED; both say when to try again.

use std::{
    collections::HashMap,
    hash::Hash,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use http::Request;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Status, body::Body};

use super::{admission::Held, status, weighed::Weighed};
use crate::{
    config::limits::LimitsConfig,
    domain::{
        principal::Principal,
        subject::{ApplicationId, UserToken},
    },
};

/// After how many calls those are forgotten that have not called for long.
const FORGET_EVERY: u32 = 1024;

/// What part of its application's share one user may have, who proves by a JWT who he is: so many have room beside each other.
const USERS: usize = 4;

/// What runs, and who has called of late.
pub(super) struct Load {
    calls: Bound,
    exports: Bound,
    import_bytes: Bound,
    of_applications: Rates<ApplicationId>,
    of_keys: Rates<Caller>,
}

/// Room for a call, an export or bytes, free again when it is dropped.
pub(super) struct Room {
    of_server: OwnedSemaphorePermit,
    of_application: OwnedSemaphorePermit,
    _of_user: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// Takes in more room of the same kind and application, which is no user's.
    pub(super) fn add(&mut self, more: Self) {
        self.of_server.merge(more.of_server);
        self.of_application.merge(more.of_application);
    }

    /// Frees what is more than this.
    pub(super) fn shrink_to(&mut self, number: usize) {
        for permit in [&mut self.of_server, &mut self.of_application] {
            drop(permit.split(permit.num_permits().saturating_sub(number)));
        }
    }
}

/// Room for bytes of an import, which is no user's.
pub(super) struct HeldBytes {
    load: Arc<Load>,
    application: ApplicationId,
    number: usize,
    room: Option<Room>,
}

impl HeldBytes {
    /// How many it has room for.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// Has room for so many from now on.
    pub(super) fn hold(&mut self, number: usize) -> Result<(), Status> {
        if number > self.number {
            let more = u32::try_from(number - self.number).unwrap_or(u32::MAX);
            let more = self.load.import_bytes.enter(&self.application, None, more)?;
            match &mut self.room {
                Some(room) => room.add(more),
                None => self.room = Some(more),
            }
        } else if let Some(room) = &mut self.room {
            room.shrink_to(number);
        }
        self.number = number;
        Ok(())
    }
}

/// Of a call and of its export.
pub(super) type Rooms = Arc<(Arc<Room>, Room)>;

/// The key that calls; or the user, who has none.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Caller {
    Key(String),
    User(ApplicationId, UserToken),
}

impl Load {
    pub(super) fn within(limits: &LimitsConfig) -> Self {
        Self {
            calls: Bound::of("calls", limits.max_calls, limits.max_calls_per_application),
            exports: Bound::of("exports", limits.max_exports, limits.max_exports_per_application),
            import_bytes: Bound::of("bytes of imports", limits.max_import_bytes, limits.max_import_bytes_per_application),
            of_applications: Rates::of(limits.rate_per_application),
            of_keys: Rates::of(limits.rate_per_key),
        }
    }

    /// Room for a call of `principal`.
    fn call(&self, principal: &Principal) -> Result<Room, Status> {
        let room = self.calls.enter(principal.application(), user_of(principal), 1)?;
        let caller = || match principal {
            Principal::ApiKey { key_id, .. } => Caller::Key(key_id.clone()),
            Principal::User { application, user_token } => Caller::User(application.clone(), user_token.clone()),
        };
        // A key that calls too often takes nothing from the other keys of its application.
        self.of_keys.count(caller).map_err(|after| status::too_many("this key has called too often", after))?;
        let often = |after| status::too_many("the application has called too often", after);
        self.of_applications.count(|| principal.application().clone()).map_err(often)?;
        Ok(room)
    }

    /// Room for an export, beside that for its call.
    pub(super) fn export(&self, principal: &Principal) -> Result<Room, Status> {
        self.exports.enter(principal.application(), user_of(principal), 1)
    }

    /// Holds no bytes of an import of this application yet.
    pub(super) fn import_bytes(self: &Arc<Self>, application: ApplicationId) -> HeldBytes {
        HeldBytes { load: Arc::clone(self), application, number: 0, room: None }
    }

    /// Lets a call in whose principal is known: its handler finds the room in the extensions.
    pub(super) fn admit(&self, request: &mut Request<Body>) -> Result<Held, Status> {
        let principal = request.extensions().get::<Principal>().ok_or_else(status::unauthenticated)?;
        let room = Arc::new(self.call(principal)?);
        request.extensions_mut().insert(Arc::clone(&room));
        Ok(Held::new(room))
    }

    /// The same for an import, whose bytes count from now on.
    pub(super) fn admit_import(self: &Arc<Self>, request: &mut Request<Body>) -> Result<Held, Status> {
        let held = self.admit(request)?;
        if let Some(application) = request.extensions().get().map(Principal::application).cloned() {
            let body = std::mem::take(request.body_mut());
            *request.body_mut() = Body::new(Weighed::new(body, self.import_bytes(application)));
        }
        Ok(held)
    }
}

fn user_of(principal: &Principal) -> Option<&UserToken> {
    match principal {
        Principal::User { user_token, .. } => Some(user_token),
        Principal::ApiKey { .. } => None,
    }
}

/// How many may be there at once, how many of one application, and how many of one of its users.
struct Bound {
    what: &'static str,
    all: Arc<Semaphore>,
    of_applications: Shares<ApplicationId>,
    of_users: Shares<(ApplicationId, UserToken)>,
}

impl Bound {
    fn of(what: &'static str, all: u32, each: u32) -> Self {
        let (all, each) = (Arc::new(Semaphore::new(all as usize)), each as usize);
        Self { what, all, of_applications: Shares::of(each), of_users: Shares::of(each.div_ceil(USERS)) }
    }

    fn enter(&self, application: &ApplicationId, user: Option<&UserToken>, number: u32) -> Result<Room, Status> {
        let in_use = |of: &str| status::share_in_use(&format!("the {of} has as many {} at once as it may", self.what));
        let of_user = user.map(|user| self.of_users.take((application.clone(), user.clone()), number).ok_or_else(|| in_use("user")));
        let of_user = of_user.transpose()?;
        let of_application = self.of_applications.take(application.clone(), number).ok_or_else(|| in_use("application"))?;
        let of_server = Arc::clone(&self.all).try_acquire_many_owned(number).map_err(|_| status::overloaded(self.what))?;
        Ok(Room { of_server, of_application, _of_user: of_user })
    }
}

/// Equal shares, one for each.
struct Shares<K> {
    each: usize,
    of: Mutex<HashMap<K, Arc<Semaphore>>>,
}

impl<K: Hash + Eq> Shares<K> {
    fn of(each: usize) -> Self {
        Self { each, of: Mutex::default() }
    }

    fn take(&self, who: K, number: u32) -> Option<OwnedSemaphorePermit> {
        let share = {
            let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
            if of.len() >= FORGET_EVERY as usize {
                // Whoever holds something holds the share too.
                of.retain(|_, share| Arc::strong_count(share) > 1);
            }
            Arc::clone(of.entry(who).or_insert_with(|| Arc::new(Semaphore::new(self.each))))
        };
        share.try_acquire_many_owned(number).ok()
    }
}

/// How often each may call, if that is bounded.
struct Rates<K: Hash + Eq + Clone>(Option<(DefaultKeyedRateLimiter<K>, AtomicU32)>);

impl<K: Hash + Eq + Clone> Rates<K> {
    fn of(per_second: Option<NonZeroU32>) -> Self {
        Self(per_second.map(|number| (RateLimiter::hashmap(Quota::per_second(number)), AtomicU32::new(0))))
    }

    /// Counts a call; after which time the next may come, if this one may not.
    fn count(&self, who: impl FnOnce() -> K) -> Result<(), Duration> {
        let Some((limiter, calls)) = &self.0 else { return Ok(()) };
        if calls.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1 {
            limiter.retain_recent();
        }
        limiter.check_key(&who()).map_err(|not_until| not_until.wait_time_from(DefaultClock::default().now()))
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn one_user_leaves_room_for_the_others_of_his_application() {
        let exports = Bound::of("exports", 64, 16);
        let (acme, other) = (ApplicationId::parse("ACME").unwrap(), ApplicationId::parse("OTHER").unwrap());
        let [anna, bert] = ["anna", "bert"].map(|name| UserToken::parse(name).unwrap());
        let rooms: Vec<_> = (0..4).map(|_| exports.enter(&acme, Some(&anna), 1).unwrap()).collect();
        let refused = exports.enter(&acme, Some(&anna), 1).err().unwrap();
        assert_eq!((refused.code(), refused.message().contains("the user has")), (Code::ResourceExhausted, true), "{refused:?}");
        // Somebody else of the same name, another user, and the application itself.
        exports.enter(&other, Some(&anna), 1).unwrap();
        exports.enter(&acme, Some(&bert), 1).unwrap();
        let of_application: Vec<_> = (0..12).map(|_| exports.enter(&acme, None, 1).unwrap()).collect();
        assert!(exports.enter(&acme, None, 1).is_err());
        drop((rooms, of_application));
        exports.enter(&acme, Some(&anna), 1).unwrap();
    }

    #[test]
    fn shares_of_which_nobody_has_anything_are_forgotten_and_others_are_not() {
        let shares = Shares::of(1);
        let held = shares.take(0, 1).unwrap();
        for number in 1..10 * FORGET_EVERY {
            drop(shares.take(number, 1).unwrap());
        }
        assert!(shares.of.lock().unwrap().len() <= FORGET_EVERY as usize);
        assert!(shares.take(0, 1).is_none());
        drop(held);
    }

    #[test]
    fn callers_that_are_gone_are_forgotten() {
        let rates = Rates::of(NonZeroU32::new(1_000_000_000));
        for number in 0..10 * FORGET_EVERY {
            rates.count(|| number).unwrap();
        }
        let (limiter, _) = rates.0.unwrap();
        assert!(limiter.len() <= FORGET_EVERY as usize, "{} are remembered", limiter.len());
    }
}
