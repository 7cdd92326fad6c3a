//! The composition root: build, run, drain.

pub mod key_refresh;
