//! Shows how far long work is: a bar or a spinner on a terminal, nothing in a pipe.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

const TICK: Duration = Duration::from_millis(120);

/// A bar over so many bytes, or a spinner where their number is not known. It draws on stderr, and only if that is a terminal.
pub(super) fn bytes(total: Option<u64>) -> ProgressBar {
    match total {
        Some(total) => drawn(ProgressBar::new(total), "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {msg}"),
        None => drawn(ProgressBar::new_spinner(), "{spinner} {bytes} {bytes_per_sec} {msg}"),
    }
}

/// A bar over so many things.
pub(super) fn count(total: u64) -> ProgressBar {
    drawn(ProgressBar::new(total), "{bar:40} {pos}/{len} {msg}")
}

fn drawn(bar: ProgressBar, template: &str) -> ProgressBar {
    bar.enable_steady_tick(TICK);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
