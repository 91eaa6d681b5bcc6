//! The packets of the scenarios.
//!
//! As little work for each message as can be: packets are put together from constant parts, and one
//! that comes in is compared with what it must be, byte for byte, not parsed as JSON.

/// What follows the number in the argument `{"n":<number>,"p":"…"}` of every message: it fills the
/// argument up to about 64 bytes.
const PADDING: &str = r#","p":"the quick brown fox jumps over the lazy dog"}"#;

/// What is sent, and what comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `echo`, answered by its acknowledgement.
    Echo,
    /// `room:emit` to the group's room, delivered as event `m`.
    Room,
    /// `user:emit` to the group's user, delivered as event `m`.
    User,
    /// `events`, delivered to the sockets of the sender's user.
    Events,
}

impl Kind {
    /// The packet with number `number` of group `group`.
    pub fn packet(self, group: usize, number: u64) -> String {
        match self {
            Self::Echo => format!(r#"42{number}["echo",{{"n":{number}{PADDING}]"#),
            Self::Room => format!(
                r#"42["room:emit",{{"room":"r{group}","event":"m","data":{{"n":{number}{PADDING}}}]"#
            ),
            Self::User => format!(
                r#"42["user:emit",{{"userId":"u{group}","event":"m","data":{{"n":{number}{PADDING}}}]"#
            ),
            Self::Events => format!(r#"42["events",{{"n":{number}{PADDING}]"#),
        }
    }

    /// The number in a packet of the server; none if it is not exactly what it should be.
    pub fn number(self, packet: &[u8]) -> Option<u64> {
        let (head, acknowledged) = match self {
            Self::Echo => {
                let (id, rest) = number(packet.strip_prefix(b"43")?)?;
                (rest.strip_prefix(br#"[{"n":"#)?, Some(id))
            }
            Self::Room | Self::User => (packet.strip_prefix(br#"42["m",{"n":"#)?, None),
            Self::Events => (packet.strip_prefix(br#"42["events",{"n":"#)?, None),
        };
        let (number, rest) = number(head)?;
        let end = rest.strip_prefix(PADDING.as_bytes())?;
        let intact = (end == b"]" || (acknowledged.is_none() && offset(packet).is_some()))
            && acknowledged.is_none_or(|id| id == number);
        intact.then_some(number)
    }
}

/// The offset at the end of a packet, if its server gives sessions back: one more argument.
#[must_use]
pub fn offset(packet: &[u8]) -> Option<&str> {
    let open = packet.strip_suffix(br#""]"#)?;
    let begin = open.iter().rposition(|byte| *byte == b'"')?;
    let is_whole = open[..begin].ends_with(b"},");
    is_whole.then(|| std::str::from_utf8(&open[begin + 1..]).ok()).flatten()
}

/// Reads a decimal number.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let length = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = bytes.split_at(length);
    let add = |sum: u64, digit: &u8| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
    let number = digits.iter().try_fold(0, add)?;
    (length > 0).then_some((number, rest))
}
