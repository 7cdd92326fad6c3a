//! The bounds that every input keeps.

use std::{
    env,
    panic::RefUnwindSafe,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use bolero::check;
use peak_alloc::PeakAlloc;

use crate::mutant::{self, Changes};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const MOST_BYTES: usize = 64 * 1024 * 1024;

/// No input takes a thousandth of it; a machine that is busy with others may be slow.
const LONGEST: Duration = Duration::from_secs(30);

/// Gives `target` the seeds as they are, and then changed in any way for as long as `FUZZ_SECONDS` says. The number goes with each input,
/// for a target that chooses among several ways.
pub(crate) fn fuzz(seeds: &[Vec<u8>], target: impl Fn(u8, &[u8]) + RefUnwindSafe) {
    let seconds = env::var("FUZZ_SECONDS").map_or(1, |seconds| seconds.parse().expect("FUZZ_SECONDS is a number"));
    for way in 0..=u8::MAX {
        for seed in seeds {
            bounded(|| target(way, seed));
        }
        // The ways repeat themselves.
        if way == 8 {
            break;
        }
    }
    check!().with_type::<(u8, u8, Changes)>().with_test_time(Duration::from_secs(seconds)).with_iterations(usize::MAX).for_each(
        |(way, seed, changes)| {
            let input = mutant::of(seeds, *seed, changes);
            bounded(|| target(*way, &input));
        },
    );
}

/// What is measured is the whole program's: inputs take turns.
static TURN: Mutex<()> = Mutex::new(());

/// Runs `run`, which has to keep the bounds.
pub(crate) fn bounded(run: impl FnOnce()) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    MEMORY.reset_peak_usage();
    let (before, began) = (MEMORY.current_usage(), Instant::now());
    run();
    let (taken, took) = (MEMORY.peak_usage().saturating_sub(before), began.elapsed());
    assert!(taken <= MOST_BYTES, "an input took {taken} bytes");
    assert!(took <= LONGEST, "an input took {took:?}");
}

#[test]
fn an_input_that_takes_too_much_is_noticed() {
    std::panic::catch_unwind(|| bounded(|| drop(std::hint::black_box(vec![1_u8; MOST_BYTES + 1])))).expect_err("nothing was noticed");
}
