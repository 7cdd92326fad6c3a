//! What all these tests share: a seed that is printed, sizes, violations, and the line at the end that says what was tried and found.

use std::{
    env,
    fmt::Write,
    sync::{Mutex, PoisonError},
};

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};
use sha2::{Digest, Sha256};

/// After so many violations the first of them say enough.
const ENOUGH: usize = 20;

/// One test: what it tries and what it finds.
pub(crate) struct Trial {
    name: String,
    seed: u64,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    tried: Vec<(String, u64)>,
    violations: Vec<String>,
    /// Whether the line at the end was printed.
    told: bool,
}

impl Trial {
    /// Begins, and prints the seed.
    pub(crate) fn begin(name: impl Into<String>) -> Self {
        let name = name.into();
        let seed = match env::var("TORTURE_SEED") {
            Ok(text) => text.parse().expect("TORTURE_SEED is a number"),
            Err(_) => u64::from_le_bytes(random_bytes()),
        };
        println!("torture: {name}: begins with TORTURE_SEED={seed}");
        Self { name, seed, found: Mutex::default() }
    }

    /// How much to try: the size for CI, or the long one.
    pub(crate) fn size(&self, short: usize, long: usize) -> usize {
        if env::var("TORTURE").is_ok_and(|size| size == "long") { long } else { short }
    }

    /// Random numbers that follow from the seed, this test and `what` they are for.
    pub(crate) fn random(&self, what: &str) -> Random {
        let seed = Sha256::digest(format!("{} {} {what}", self.seed, self.name));
        Random(ChaCha8Rng::from_seed(seed.into()))
    }

    /// Counts something that was tried, for the line at the end: in the order in which they are counted first.
    pub(crate) fn tried(&self, what: impl Into<String>, times: usize) {
        let (what, mut found) = (what.into(), self.found());
        match found.tried.iter_mut().find(|(other, _)| *other == what) {
            Some((_, count)) => *count += times as u64,
            None => found.tried.push((what, times as u64)),
        }
    }

    /// Notes a number of which the greatest is told.
    pub(crate) fn most(&self, what: &str, number: u64) {
        let mut found = self.found();
        match found.tried.iter_mut().find(|(other, _)| other == what) {
            Some((_, most)) => *most = Ord::max(*most, number),
            None => found.tried.push((what.to_owned(), number)),
        }
    }

    /// How often something was tried so far.
    pub(crate) fn times(&self, what: &str) -> u64 {
        self.found().tried.iter().find(|(other, _)| other == what).map_or(0, |(_, count)| *count)
    }

    /// Notes that a promise was broken.
    pub(crate) fn violated(&self, what: impl Into<String>) {
        let what = what.into();
        eprintln!("torture: {}: VIOLATION: {what} (TORTURE_SEED={})", self.name, self.seed);
        let mut found = self.found();
        found.violations.push(what);
        let is_enough = found.violations.len() >= ENOUGH;
        drop(found);
        assert!(!is_enough, "{} violations are enough", ENOUGH);
    }

    /// Notes a promise that is broken unless `holds`.
    pub(crate) fn check(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violated(what());
        }
    }

    /// Prints what was tried and found.
    ///
    /// # Panics
    /// If a promise was broken.
    pub(crate) fn end(self) {
        self.tell();
        let found = self.found();
        let (count, all) = (found.violations.len(), found.violations.join("\n"));
        drop(found);
        assert!(count == 0, "{}: {count} violations (TORTURE_SEED={}):\n{all}", self.name, self.seed);
    }

    fn tell(&self) {
        let mut found = self.found();
        if !std::mem::replace(&mut found.told, true) {
            let mut line = String::new();
            for (what, count) in &found.tried {
                // Writing to a string cannot fail.
                let _ = write!(line, "{count} {what}, ");
            }
            println!("torture: {}: {line}{} violations (TORTURE_SEED={})", self.name, found.violations.len(), self.seed);
        }
    }

    /// A thread that failed has counted rightly all the same.
    fn found(&self) -> std::sync::MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.tell();
    }
}

/// Random numbers that follow from a seed.
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    /// A number below another.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.0.next_u64() % Ord::max(end as u64, 1)) as usize
    }

    /// A number of a range, both ends included.
    pub(crate) fn between(&mut self, first: usize, last: usize) -> usize {
        first + self.below(last - first + 1)
    }

    /// True so many times of a hundred.
    pub(crate) fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    /// One of several.
    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// A `request_id` that nobody else makes, whatever else runs with this seed.
    pub(crate) fn request_id(&mut self) -> String {
        let mut bytes = [0; 16];
        self.0.fill_bytes(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }
}

/// Bytes that follow from nothing.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}
