//! Events between the wire and the clients: values with binary inline on one side, the text of a
//! packet with its attachments on the other.
//!
//! Numbers, dates and what JSON lacks come out as JavaScript would print them (sections 3.4 and 9
//! of the wire specification).

use bytes::Bytes;
use rmpv::Value as Tree;
use serde_json::Value as Json;
use socketioxide_core::Value;

use super::{DecodeError, EncodeError, json, msgpack};

/// The largest integer that a JavaScript number holds exactly.
pub(super) const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

pub(super) fn is_safe_integer(number: f64) -> bool {
    number.fract() == 0.0 && number.abs() <= MAX_SAFE_INTEGER as f64
}

/// An event, or the arguments of an acknowledgement, as clients with Socket.IO's own parser get it.
///
/// # Errors
/// If the values are nested too deeply.
pub(crate) fn to_packet(values: &[Tree]) -> Result<Value, DecodeError> {
    let mut writer = Writer { text: String::from("["), attachments: Vec::new(), binary: true };
    writer.elements(values, msgpack::MAX_DEPTH)?;
    writer.text.push(']');
    let attachments = (!writer.attachments.is_empty()).then(|| writer.attachments.into());
    Ok(Value::Str(writer.text.into(), attachments))
}

/// The values of a packet, the event's name first if it has one.
///
/// # Errors
/// If the packet is malformed, which one of a client can be.
pub(crate) fn from_packet(packet: &Value) -> Result<Vec<Tree>, EncodeError> {
    let tree = match packet {
        Value::Str(text, attachments) => {
            let mut tree = json::read(text).map_err(EncodeError::Packet)?;
            if let Some(attachments) = attachments {
                put_back(&mut tree, attachments);
            }
            tree
        }
        Value::Bytes(bytes) => msgpack::read(bytes).map_err(EncodeError::Packet)?,
    };
    match tree {
        Tree::Array(values) => Ok(values),
        _ => Err(EncodeError::Packet(DecodeError::Malformed)),
    }
}

/// Puts attachments in the place of their placeholders.
fn put_back<'a>(tree: &mut Tree, attachments: impl IntoIterator<Item = &'a Bytes> + Copy) {
    match tree {
        Tree::Array(values) => values.iter_mut().for_each(|value| put_back(value, attachments)),
        Tree::Map(members) => {
            if let Some(number) = placeholder(members)
                && let Some(bytes) = attachments.into_iter().nth(number)
            {
                *tree = Tree::Binary(bytes.to_vec());
            } else {
                members.iter_mut().for_each(|(_, value)| put_back(value, attachments));
            }
        }
        _ => {}
    }
}

fn placeholder(members: &[(Tree, Tree)]) -> Option<usize> {
    let get = |name| members.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, v)| v);
    get("_placeholder")?.as_bool()?.then_some(())?;
    usize::try_from(get("num")?.as_u64()?).ok()
}

/// A value as JSON text, as `JSON.stringify` of Node.js writes it: a Buffer is an object.
pub(super) fn to_json_text(value: &Tree, out: &mut String) -> Result<(), DecodeError> {
    let mut writer = Writer { text: std::mem::take(out), attachments: Vec::new(), binary: false };
    let written = writer.value(value, msgpack::MAX_DEPTH);
    *out = writer.text;
    written
}

struct Writer {
    text: String,
    attachments: Vec<Bytes>,
    /// Whether binary values become attachments.
    binary: bool,
}

impl Writer {
    fn elements(&mut self, values: &[Tree], depth: usize) -> Result<(), DecodeError> {
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.text.push(',');
            }
            self.value(value, depth)?;
        }
        Ok(())
    }

    fn value(&mut self, value: &Tree, depth: usize) -> Result<(), DecodeError> {
        match value {
            Tree::Nil => self.text.push_str("null"),
            Tree::Boolean(true) => self.text.push_str("true"),
            Tree::Boolean(false) => self.text.push_str("false"),
            Tree::Integer(integer) => match (integer.as_i64(), integer.as_u64()) {
                (Some(small), _) if small.unsigned_abs() <= MAX_SAFE_INTEGER => {
                    self.text.push_str(itoa::Buffer::new().format(small));
                }
                _ => self.number(integer.as_f64().unwrap_or(f64::NAN)),
            },
            Tree::F32(number) => self.number(f64::from(*number)),
            Tree::F64(number) => self.number(*number),
            Tree::String(text) => self.string(text.as_str().unwrap_or_default()),
            Tree::Binary(bytes) => self.bytes(bytes),
            Tree::Array(values) => {
                let depth = depth.checked_sub(1).ok_or(DecodeError::TooDeep)?;
                self.text.push('[');
                self.elements(values, depth)?;
                self.text.push(']');
            }
            Tree::Map(members) => {
                let depth = depth.checked_sub(1).ok_or(DecodeError::TooDeep)?;
                self.text.push('{');
                let members = members.iter().filter(|(_, value)| !is_undefined(value));
                for (index, (key, value)) in members.enumerate() {
                    if index > 0 {
                        self.text.push(',');
                    }
                    match key.as_str() {
                        Some(key) => self.string(key),
                        // Keys of any other kind become text in JavaScript.
                        None => self.string(&key.to_string()),
                    }
                    self.text.push(':');
                    self.value(value, depth)?;
                }
                self.text.push('}');
            }
            Tree::Ext(kind, bytes) => self.extension(*kind, bytes),
        }
        Ok(())
    }

    fn string(&mut self, text: &str) {
        // Plain text needs no escapes and is nearly everything that travels.
        if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
            self.text.push('"');
            self.text.push_str(text);
            self.text.push('"');
        } else {
            self.text.push_str(&Json::from(text).to_string());
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        if self.binary {
            self.text.push_str("{\"_placeholder\":true,\"num\":");
            self.text.push_str(itoa::Buffer::new().format(self.attachments.len()));
            self.text.push('}');
            self.attachments.push(Bytes::copy_from_slice(bytes));
            return;
        }
        self.text.push_str("{\"type\":\"Buffer\",\"data\":[");
        for (index, byte) in bytes.iter().enumerate() {
            if index > 0 {
                self.text.push(',');
            }
            self.text.push_str(itoa::Buffer::new().format(*byte));
        }
        self.text.push_str("]}");
    }

    /// Dates are text, `undefined` is null; what else there is becomes a pair, as in Node.js.
    fn extension(&mut self, kind: i8, bytes: &[u8]) {
        match (kind, bytes.len()) {
            (-1, _) if timestamp(bytes).is_some() => {
                let (seconds, nanos) = timestamp(bytes).unwrap_or_default();
                self.date(
                    seconds.saturating_mul(1000).saturating_add(i64::from(nanos / 1_000_000)),
                );
            }
            // The dialect of notepack.io 2, as versions before 8 speak it.
            (0, 1) => self.text.push_str("null"),
            (0, 8) => self.date(i64::from_be_bytes(bytes.try_into().unwrap_or_default())),
            (0, _) => self.bytes(bytes),
            _ => {
                self.text.push('[');
                self.text.push_str(itoa::Buffer::new().format(kind));
                self.text.push(',');
                self.bytes(bytes);
                self.text.push(']');
            }
        }
    }

    fn date(&mut self, millis: i64) {
        match iso_date(millis) {
            Some(date) => self.string(&date),
            // As JavaScript prints an invalid date.
            None => self.text.push_str("null"),
        }
    }

    fn number(&mut self, number: f64) {
        if number.is_finite() {
            self.text.push_str(&javascript_number(number));
        } else {
            self.text.push_str("null");
        }
    }
}

/// `undefined` as notepack.io 2 writes it; JSON leaves such members out.
fn is_undefined(value: &Tree) -> bool {
    matches!(value, Tree::Ext(0, bytes) if bytes.len() == 1)
}

/// The timestamp extension of MessagePack: seconds since 1970 and nanoseconds.
fn timestamp(bytes: &[u8]) -> Option<(i64, u32)> {
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

/// A time as `Date.prototype.toISOString` writes it; none outside of what JavaScript has dates for.
fn iso_date(millis: i64) -> Option<String> {
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
    // Counted from the first of March of the year 0, so that the leap day is the last of a year.
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
pub(super) fn javascript_number(number: f64) -> String {
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

    #[test]
    fn a_packet_keeps_its_attachments() {
        let text = r#"["e",{"_placeholder":true,"num":1},{"a":[{"_placeholder":true,"num":0}]}]"#;
        let attachments = vec![Bytes::from_static(b"x"), Bytes::from_static(b"yy")];
        let packet = Value::Str(text.to_owned().into(), Some(attachments.into()));
        let values = from_packet(&packet).unwrap();
        assert_eq!(values[1], Tree::Binary(b"yy".to_vec()));
        let Value::Str(text, Some(attachments)) = to_packet(&values).unwrap() else {
            panic!("no attachments");
        };
        let placed = r#"["e",{"_placeholder":true,"num":0},{"a":[{"_placeholder":true,"num":1}]}]"#;
        assert_eq!(text.as_str(), placed);
        assert_eq!(attachments[0].as_ref(), b"yy");
    }
}
