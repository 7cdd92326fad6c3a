//! Places at which a test can have the program end, and mistakes it can be given to see whether the tests find them (`tests/torture`).
//! Without the feature `failpoints`, which no release has, all of this compiles to nothing.

/// Ends the program, as `kill -9` would, where the environment says so: `FAILPOINTS="erasure.before_commit=return"`.
#[inline(always)]
pub(crate) fn crash_at(point: &'static str) {
    let _ = point;
    fail::fail_point!(point, |_| std::process::abort());
}

/// Whether the program is to make this mistake: `FAILPOINTS="bug.no-epoch-check=return"`.
#[inline(always)]
pub(crate) fn planted(bug: &'static str) -> bool {
    let _ = bug;
    fail::fail_point!(bug, |_| true);
    false
}
