//! The context of a trace as it travels: the W3C header `traceparent`. Clients send it with the
//! handshake, and nodes with a broadcast.

use std::fmt;

/// A trace, and the span in it that is the cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceParent {
    trace: u128,
    span: u64,
    sampled: bool,
}

/// The length of version 00. Later versions start with the same fields.
const LENGTH: usize = 55;

impl TraceParent {
    /// `None` if one of the ids is zero, which means "no id".
    pub(crate) fn new(trace: u128, span: u64, sampled: bool) -> Option<Self> {
        (trace != 0 && span != 0).then_some(Self { trace, span, sampled })
    }

    /// Reads `00-<32 digits>-<16 digits>-<2 digits>`, and the same fields of a later version. Any
    /// other text is no context: no guess joins foreign traces.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (head, rest) = text.split_at_checked(LENGTH)?;
        let mut fields = head.split('-');
        let version = hex(fields.next()?, 2)?;
        let is_whole = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest.starts_with('-'),
        };
        let trace = hex(fields.next()?, 32)?;
        let span = u64::try_from(hex(fields.next()?, 16)?).ok()?;
        let flags = hex(fields.next()?, 2)?;
        if !is_whole || fields.next().is_some() {
            return None;
        }
        Self::new(trace, span, flags & 1 == 1)
    }

    #[cfg(feature = "otlp")]
    pub(crate) fn trace(self) -> u128 {
        self.trace
    }

    #[cfg(feature = "otlp")]
    pub(crate) fn span(self) -> u64 {
        self.span
    }

    #[cfg(feature = "otlp")]
    pub(crate) fn is_sampled(self) -> bool {
        self.sampled
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, span, sampled } = self;
        write!(f, "00-{trace:032x}-{span:016x}-{:02x}", u8::from(*sampled))
    }
}

/// A number of exactly `digits` digits, in lower case as the standard demands.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != digits || !text.bytes().all(is_digit) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[test]
    fn a_context_is_read_as_it_is_written() {
        for (flags, sampled) in [("01", true), ("00", false)] {
            let text = format!("00-{TRACE}-{SPAN}-{flags}");
            let context = TraceParent::parse(&text).unwrap();
            assert_eq!(context.sampled, sampled);
            assert_eq!(context.to_string(), text);
        }
    }

    #[test]
    fn flags_and_fields_of_later_versions_are_passed_over() {
        let known = TraceParent::parse(&format!("00-{TRACE}-{SPAN}-01"));
        assert!(known.is_some());
        for text in [
            format!("00-{TRACE}-{SPAN}-ff"),
            format!("cc-{TRACE}-{SPAN}-01"),
            format!("cc-{TRACE}-{SPAN}-01-what-the-future-will-be"),
        ] {
            assert_eq!(TraceParent::parse(&text), known, "{text}");
        }
    }

    #[test]
    fn whatever_else_is_no_context() {
        let (none, no_span) = ("0".repeat(32), "0".repeat(16));
        for text in [
            String::new(),
            "00".into(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("00-{TRACE}-{SPAN}-01 "),
            format!(" 00-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{none}-{SPAN}-01"),
            format!("00-{TRACE}-{no_span}-01"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("cc-{TRACE}-{SPAN}-01x"),
            format!("00_{TRACE}_{SPAN}_01"),
            format!("00-{TRACE}-+7ad6b7169203331-01"),
            format!("00-{SPAN}-{TRACE}-01"),
            "ä".repeat(28),
            "-".repeat(55),
        ] {
            assert_eq!(TraceParent::parse(&text), None, "{text}");
        }
    }
}
