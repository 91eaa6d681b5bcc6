//! Numbers, dates and JSON as JavaScript reads and prints them.

pub(crate) mod json;

use std::time::SystemTime;

use crate::millis::since_epoch;

/// The largest integer that a JavaScript number holds exactly.
pub(crate) const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

pub(crate) fn is_safe_integer(number: f64) -> bool {
    number.fract() == 0.0 && number.abs() <= MAX_SAFE_INTEGER as f64
}

/// The timestamp extension of MessagePack: seconds since 1970 and nanoseconds.
pub(crate) fn timestamp(bytes: &[u8]) -> Option<(i64, u32)> {
    let be = |bytes: &[u8]| bytes.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    match bytes.len() {
        4 => Some((be(bytes).cast_signed(), 0)),
        8 => {
            let value = be(bytes);
            Some(((value & 0x3_ffff_ffff).cast_signed(), u32::try_from(value >> 34).ok()?))
        }
        12 => Some((be(&bytes[4..]).cast_signed(), u32::try_from(be(&bytes[..4])).ok()?)),
        _ => None,
    }
}

/// A moment as `Date.prototype.toISOString` writes it, which is a form of RFC 3339.
pub(crate) fn iso_time(at: SystemTime) -> String {
    // The clock of a computer stays within JavaScript's range.
    i64::try_from(since_epoch(at)).ok().and_then(iso_date).unwrap_or_default()
}

/// A time as `Date.prototype.toISOString` writes it. `None` outside of JavaScript's range of dates.
pub(crate) fn iso_date(millis: i64) -> Option<String> {
    const LIMIT: i64 = 8_640_000_000_000_000;
    if !(-LIMIT..=LIMIT).contains(&millis) {
        return None;
    }
    let (days, of_day) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    let year = match year {
        0..=9999 => format!("{year:04}"),
        _ => format!("{}{:06}", if year < 0 { '-' } else { '+' }, year.abs()),
    };
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (second, milli) = (of_day / 1000 % 60, of_day % 1000);
    Some(format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z"))
}

/// Year, month and day of a number of days since 1970, in the Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    // Counted from 1 March of the year 0, so that the leap day is the last of a year.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// A finite number as JavaScript prints it: the shortest digits that read back the same, with an
/// exponent from 1e21 on and below 1e-6.
pub(crate) fn javascript_number(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{:e}", number.abs());
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let digits = digits.replace('.', "");
    // How many digits stand before the point.
    let point = exponent.parse::<i32>().unwrap_or(0) + 1;
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or(0));
    let printed = if (count..=21).contains(&point) {
        format!("{digits}{}", zeros(point - count))
    } else if (1..count).contains(&point) && point <= 21 {
        let (before, after) = digits.split_at(usize::try_from(point).unwrap_or(0));
        format!("{before}.{after}")
    } else if (-5..=0).contains(&point) {
        format!("0.{}{digits}", zeros(-point))
    } else {
        let exponent = point - 1;
        let sign = if exponent < 0 { '-' } else { '+' };
        let (first, rest) = digits.split_at(1);
        let rest = if rest.is_empty() { String::new() } else { format!(".{rest}") };
        format!("{first}{rest}e{sign}{}", exponent.abs())
    };
    if number < 0.0 { format!("-{printed}") } else { printed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_as_in_javascript() {
        for (number, printed) in [
            (0.1, "0.1"),
            (-1.5, "-1.5"),
            (1e21, "1e+21"),
            (123_456_789_012_345_680_000.0, "123456789012345680000"),
            (1.5e300, "1.5e+300"),
            (0.000_001, "0.000001"),
            (1.25e-7, "1.25e-7"),
            (-0.0, "0"),
            (9_007_199_254_740_993.0, "9007199254740992"),
        ] {
            assert_eq!(javascript_number(number), printed);
        }
    }

    #[test]
    fn dates_are_printed_as_in_javascript() {
        for (millis, printed) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (8_640_000_000_000_000, "+275760-09-13T00:00:00.000Z"),
            (-62_198_755_200_000, "-000001-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(iso_date(millis).as_deref(), Some(printed));
        }
        for millis in [i64::MIN, i64::MIN + 1, i64::MAX, -8_640_000_000_000_001] {
            assert_eq!(iso_date(millis), None);
        }
    }
}
