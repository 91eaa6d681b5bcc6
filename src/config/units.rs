//! Durations (`"250ms"`, `"10s"`, `"2m"`, `"1h"`, `"30d"`) and sizes (`"1MB"`, `"64KiB"`, or bytes).

use std::time::Duration;

/// A number directly followed by its unit: `("10", "s")`.
fn split(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// Reads a duration as the configuration writes it: `250ms`, `10s`, `2m`, `1h`, `30d`.
///
/// ```
/// use std::time::Duration;
/// use switchboard::config::parse_duration;
///
/// assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
/// assert!(parse_duration("10").is_err());
/// ```
///
/// # Errors
/// A sentence that says how a duration is written.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text.trim());
    let millis_per_unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 24 * 3_600_000,
        _ => return Err(format!("`{text}` is not a duration such as 250ms, 10s, 2m, 1h or 30d")),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| format!("`{text}` is not a duration such as 250ms, 10s, 2m, 1h or 30d"))?;
    number
        .checked_mul(millis_per_unit)
        // A century of milliseconds: more would overflow the clocks that deadlines are added to.
        .filter(|millis| *millis <= 100 * 366 * 24 * 3_600_000)
        .map(Duration::from_millis)
        .ok_or_else(|| format!("`{text}` is longer than a century"))
}

/// The shortest way to write a duration: in the largest unit that leaves no rest. Fractions of a
/// millisecond are cut off.
fn format_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0 => "0s".into(),
        _ if millis.is_multiple_of(24 * 3_600_000) => format!("{}d", millis / (24 * 3_600_000)),
        _ if millis.is_multiple_of(3_600_000) => format!("{}h", millis / 3_600_000),
        _ if millis.is_multiple_of(60_000) => format!("{}m", millis / 60_000),
        _ if millis.is_multiple_of(1_000) => format!("{}s", millis / 1_000),
        _ => format!("{millis}ms"),
    }
}

const SIZE_UNITS: [(&str, u64); 8] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("kB", 1_000),
    ("B", 1),
];

fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text.trim());
    let bad = || format!("`{text}` is not a size such as 1MB, 64KiB or a number of bytes");
    let number: u64 = number.parse().map_err(|_| bad())?;
    let bytes_per_unit = match unit {
        "" => 1,
        unit => SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?.1,
    };
    number.checked_mul(bytes_per_unit).ok_or_else(|| format!("`{text}` is too large"))
}

fn format_size(bytes: u64) -> String {
    let fits = |(_, unit): &&(&str, u64)| bytes != 0 && bytes.is_multiple_of(*unit);
    match SIZE_UNITS.iter().find(fits) {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes}B"),
    }
}

/// `Duration` as a string with a unit.
pub(super) mod duration {
    use std::{fmt, time::Duration};

    use serde::{Deserializer, Serializer, de};

    pub(in crate::config) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format_duration(*duration))
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        deserializer.deserialize_any(Text)
    }

    struct Text;

    impl de::Visitor<'_> for Text {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration such as \"10s\"")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            super::parse_duration(text).map_err(E::custom)
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<Duration, E> {
            Err(E::custom(format!(
                "a duration needs a unit: write \"{number}s\" or \"{number}ms\", not {number}"
            )))
        }
    }
}

/// A number of bytes, as a string with a unit or as a number.
pub(super) mod size {
    use std::fmt;

    use serde::{Deserializer, Serializer, de};

    pub(in crate::config) fn serialize<S: Serializer>(
        bytes: &u64,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format_size(*bytes))
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<u64, D::Error> {
        deserializer.deserialize_any(TextOrNumber)
    }

    struct TextOrNumber;

    impl de::Visitor<'_> for TextOrNumber {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a size such as \"64KiB\", or a number of bytes")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
            super::parse_size(text).map_err(E::custom)
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<u64, E> {
            u64::try_from(number)
                .map_err(|_| E::custom(format!("a size is not negative: {number}")))
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<u64, E> {
            Ok(number)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        for (text, millis) in [("250ms", 250), ("10s", 10_000), ("2m", 120_000), ("1h", 3_600_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
            assert_eq!(format_duration(Duration::from_millis(millis)), text);
        }
        assert_eq!(format_duration(Duration::from_millis(1_500)), "1500ms");
    }

    #[test]
    fn a_duration_without_a_unit_or_a_whole_number_is_refused() {
        for text in
            ["", "10", "s", "1.5s", "-1s", "10 s", "1w", "99999999999h", "18446744073709551616ms"]
        {
            assert!(parse_duration(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn a_size_is_in_decimal_or_binary_units_or_plain_bytes() {
        let sizes = [
            ("1MB", 1_000_000),
            ("64KiB", 65_536),
            ("1500B", 1_500),
            ("2GiB", 2 << 30),
            ("3KB", 3_000),
        ];
        for (text, bytes) in sizes {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
            assert_eq!(parse_size(&format_size(bytes)), Ok(bytes), "{text}");
        }
        assert_eq!(parse_size("100000"), Ok(100_000));
        assert_eq!(format_size(1_000_000), "1MB");
        assert_eq!(format_size(0), "0B");
        for text in ["", "MB", "1.5MB", "-1", "1XB", "99999999999GiB"] {
            assert!(parse_size(text).is_err(), "{text:?} was accepted");
        }
    }
}
