//! Invented users that look like real ones: every category, every kind of part, few large users among many small ones.
//!
//! Everything follows from the seed by integers alone, so that the same seed gives the same bytes on every platform.

mod conversation;
#[cfg(test)]
mod tests;
mod text;
mod user;

use prost_types::Timestamp;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};

use crate::grpc::document::UserDocument;

/// 2025-01-01T00:00:00Z, when the invented platform opened.
const OPENED: i64 = 1_735_689_600;
const DAY: u32 = 86_400;

/// The documents of so many users. User `n` is the same however many there are. With `messages`, each has exactly so many messages;
/// without, as many as it happens to have. The first user always has every category and every kind of part.
pub fn documents(seed: u64, users: u64, messages: Option<u32>) -> impl Iterator<Item = UserDocument> {
    (0..users).map(move |index| user::document(&mut Dice::new(seed, index), index, messages))
}

/// Where chance comes from: one stream of numbers for each user.
struct Dice(ChaCha8Rng);

impl Dice {
    fn new(seed: u64, user: u64) -> Self {
        let mut numbers = ChaCha8Rng::seed_from_u64(seed);
        numbers.set_stream(user);
        Self(numbers)
    }

    /// A number below `end`; 0 if that is 0.
    fn below(&mut self, end: u32) -> u32 {
        // The upper half of the product is below `end`, and always fits.
        u32::try_from((u64::from(self.0.next_u32()) * u64::from(end)) >> 32).unwrap_or_default()
    }

    /// True in `of` cases of `among`.
    fn chance(&mut self, of: u32, among: u32) -> bool {
        self.below(among) < of
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        let index = self.below(u32::try_from(choices.len()).unwrap_or(u32::MAX));
        choices[index as usize]
    }

    /// A number from 1 to about `most`: each doubling happens in two of five cases, which makes a long tail.
    fn long_tail(&mut self, most: u32) -> u32 {
        let mut number = 1;
        while number < most && self.chance(2, 5) {
            number *= 2;
        }
        number + self.below(number)
    }

    fn id(&mut self, prefix: &str) -> String {
        format!("{prefix}_{:016x}{:08x}", self.0.next_u64(), self.0.next_u32())
    }
}

/// A moment so many seconds after the platform opened.
fn time(seconds: u32) -> Option<Timestamp> {
    Some(Timestamp { seconds: OPENED + i64::from(seconds), nanos: 0 })
}
