//! Times in documents: RFC 3339 texts, and the epoch seconds of memories. Both keep every digit a protobuf timestamp has.

use jiff::Timestamp as Moment;
use prost_types::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::value::RawValue;

const NANOS_PER_SECOND: i32 = 1_000_000_000;

/// A moment as protobuf JSON prints it: UTC, with 0, 3, 6 or 9 digits of a second.
pub(super) struct Rfc3339(pub(super) Timestamp);

impl Rfc3339 {
    fn parse(text: &str) -> Option<Self> {
        let moment: Moment = text.parse().ok()?;
        Some(Self(from_nanoseconds(moment.as_nanosecond())?))
    }

    fn print(&self) -> Option<String> {
        let seconds = Moment::from_second(self.0.seconds).ok()?.to_string();
        let nanos = self.0.nanos;
        Some(match nanos {
            0 => seconds,
            1.. if nanos % 1_000_000 == 0 => format!("{}.{:03}Z", seconds.trim_end_matches('Z'), nanos / 1_000_000),
            1.. if nanos % 1_000 == 0 => format!("{}.{:06}Z", seconds.trim_end_matches('Z'), nanos / 1_000),
            1..NANOS_PER_SECOND => format!("{}.{nanos:09}Z", seconds.trim_end_matches('Z')),
            _ => return None,
        })
    }
}

impl<'de> Deserialize<'de> for Rfc3339 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("is not an RFC 3339 time such as 2025-01-31T12:00:00Z"))
    }
}

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.print().ok_or_else(out_of_range)?)
    }
}

/// `with = "rfc3339"`: a time that must be there.
pub(super) mod rfc3339 {
    use super::{Deserialize, Deserializer, Rfc3339, Serialize, Serializer, Timestamp, absent};

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        Rfc3339::deserialize(deserializer).map(|time| Some(time.0))
    }

    pub(in super::super) fn serialize<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        Rfc3339(time.ok_or_else(absent)?).serialize(serializer)
    }
}

/// `with = "rfc3339_or_null"`: a time that may be absent or null.
pub(super) mod rfc3339_or_null {
    use super::{Deserialize, Deserializer, Rfc3339, Serialize, Serializer, Timestamp};

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        Ok(Option::<Rfc3339>::deserialize(deserializer)?.map(|time| time.0))
    }

    pub(in super::super) fn serialize<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        time.map(Rfc3339).serialize(serializer)
    }
}

/// `with = "epoch_seconds"`: a number of seconds that must be there.
pub(super) mod epoch_seconds {
    use super::{
        Deserialize, Deserializer, RawValue, Serialize, Serializer, Timestamp, absent, de, out_of_range, parse_seconds, print_seconds, ser,
    };

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        let number = Box::<RawValue>::deserialize(deserializer)?;
        let time = parse_seconds(number.get())
            .ok_or_else(|| de::Error::custom("is not a number of seconds since 1970 with at most 9 decimals"))?;
        Ok(Some(time))
    }

    pub(in super::super) fn serialize<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        let number = print_seconds(time.ok_or_else(absent)?).ok_or_else(out_of_range)?;
        RawValue::from_string(number).map_err(ser::Error::custom)?.serialize(serializer)
    }
}

fn absent<E: ser::Error>() -> E {
    E::custom("a time that every such record has is absent")
}

fn out_of_range<E: ser::Error>() -> E {
    E::custom("a time is out of range")
}

fn from_nanoseconds(nanoseconds: i128) -> Option<Timestamp> {
    let nanos_per_second = i128::from(NANOS_PER_SECOND);
    let seconds = i64::try_from(nanoseconds.div_euclid(nanos_per_second)).ok()?;
    Moment::from_second(seconds).ok()?;
    Some(Timestamp { seconds, nanos: i32::try_from(nanoseconds.rem_euclid(nanos_per_second)).ok()? })
}

/// Reads a JSON number without a detour through a float, which would lose the nanoseconds.
fn parse_seconds(number: &str) -> Option<Timestamp> {
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (number, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let mut shift = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?.checked_add(9)?;
    while shift < 0 && digits % 10 == 0 && digits != 0 {
        digits /= 10;
        shift += 1;
    }
    if digits == 0 {
        shift = 0;
    }
    from_nanoseconds(digits.checked_mul(10_i128.checked_pow(u32::try_from(shift).ok()?)?)?)
}

fn print_seconds(time: Timestamp) -> Option<String> {
    if !(0..NANOS_PER_SECOND).contains(&time.nanos) {
        return None;
    }
    let nanoseconds = i128::from(time.seconds) * i128::from(NANOS_PER_SECOND) + i128::from(time.nanos);
    let (sign, magnitude) = (if nanoseconds < 0 { "-" } else { "" }, nanoseconds.unsigned_abs());
    let text = format!("{sign}{}.{:09}", magnitude / 1_000_000_000, magnitude % 1_000_000_000);
    Some(text.trim_end_matches('0').trim_end_matches('.').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rfc3339(text: &str) -> (Timestamp, String) {
        let time = Rfc3339::parse(text).unwrap();
        (time.0, time.print().unwrap())
    }

    #[test]
    fn texts_come_back_as_protobuf_json_prints_them() {
        for text in [
            "2025-01-01T00:00:00Z",
            "2025-01-01T00:00:00.120Z",
            "2025-01-01T00:00:00.000120Z",
            "2025-01-01T00:00:00.000000001Z",
            "1969-12-31T23:59:59.500Z",
            "0001-01-01T00:00:00Z",
        ] {
            assert_eq!(rfc3339(text).1, text);
        }
        assert_eq!(rfc3339("2025-01-01T00:00:00.12Z").1, "2025-01-01T00:00:00.120Z");
        assert_eq!(rfc3339("2025-01-01T02:30:00+02:30").1, "2025-01-01T00:00:00Z");
        assert_eq!(rfc3339("1969-12-31T23:59:59.5Z").0, Timestamp { seconds: -1, nanos: 500_000_000 });
    }

    #[test]
    fn texts_that_are_no_moments_are_refused() {
        for text in ["", "2025-01-01", "2025-01-01T00:00:00", "2025-13-01T00:00:00Z", "1735689600"] {
            assert!(Rfc3339::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn epoch_seconds_keep_every_digit() {
        for number in ["0", "1735689600", "1735689600.5", "1735689600.123456789", "-1.5", "-0.000000001"] {
            assert_eq!(print_seconds(parse_seconds(number).unwrap()).unwrap(), number);
        }
        for (number, printed) in
            [("1.7356896e9", "1735689600"), ("1735689600.0", "1735689600"), ("15E-1", "1.5"), ("0e99", "0"), ("1.0000000000", "1")]
        {
            assert_eq!(print_seconds(parse_seconds(number).unwrap()).unwrap(), printed);
        }
        for number in ["1e99", "1.0000000001", "\"1\"", "null", "1e999999999999"] {
            assert!(parse_seconds(number).is_none(), "{number}");
        }
    }
}
