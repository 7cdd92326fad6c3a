//! Durations as people write them.

use std::time::Duration;

use jiff::SignedDuration;

use crate::domain::limits::LONGEST_STREAM_DURATION;

/// Reads `20s`, `1m 30s`, `500ms`, `2h`.
///
/// # Errors
/// That the text is no such duration.
pub fn parse(text: &str) -> Result<Duration, &'static str> {
    let duration: SignedDuration = text.parse().map_err(|_| "write a number with its unit: 500ms, 20s, 5m, 1h")?;
    Duration::try_from(duration).map_err(|_| "must not be negative")
}

/// Reads a duration longer than nothing.
///
/// # Errors
/// That the text is no such duration.
pub fn parse_positive(text: &str) -> Result<Duration, &'static str> {
    parse(text).and_then(|duration| if duration.is_zero() { Err("must be longer than nothing") } else { Ok(duration) })
}

/// The same, of a stream.
///
/// # Errors
/// That the text is no such duration, or longer than [`LONGEST_STREAM_DURATION`].
pub fn parse_of_stream(text: &str) -> Result<Duration, &'static str> {
    parse_positive(text).and_then(|duration| if duration > LONGEST_STREAM_DURATION { Err("must be 24h at most") } else { Ok(duration) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_with_its_unit_is_a_duration() {
        assert_eq!(parse("20s"), Ok(Duration::from_secs(20)));
        assert_eq!(parse("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
    }

    #[test]
    fn a_bare_number_nothing_and_a_negative_one_are_not() {
        for bad in ["20", "", "s", "-5s", "5 parsecs"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_time_at_all_is_not_positive() {
        assert_eq!(parse("0s"), Ok(Duration::ZERO));
        for bad in ["0s", "0", "-1s"] {
            assert!(parse_positive(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_stream_may_run_for_a_day_and_no_longer() {
        assert_eq!(parse_of_stream("24h"), Ok(LONGEST_STREAM_DURATION));
        for bad in ["24h 1s", "0s"] {
            assert!(parse_of_stream(bad).is_err(), "{bad}");
        }
    }
}
