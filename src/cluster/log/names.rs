//! The names of the streams, and the stream of each namespace.

/// The names of the streams, and the stream of each namespace.
///
/// With one stream its name is `name`; otherwise they are `name-0`, `name-1` and so on, and a hash
/// of the namespace selects one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamNames {
    name: Box<str>,
    count: u32,
}

impl StreamNames {
    /// `count` is 1 at least.
    pub(crate) fn new(name: &str, count: u32) -> Self {
        Self { name: name.into(), count: count.max(1) }
    }

    /// The streams that nodes of ours and of Node.js read. A stream's place in the list is its
    /// number.
    pub(crate) fn shared(&self) -> Vec<Box<str>> {
        match self.count {
            1 => vec![self.name.clone()],
            count => (0..count).map(|number| self.named(i64::from(number))).collect(),
        }
    }

    /// Streams to which Node.js nodes write, and which none of them reads: the remainder of a
    /// negative hash is negative there (`name--3`).
    pub(crate) fn astray(&self) -> Vec<Box<str>> {
        (1..i64::from(self.count)).map(|number| self.named(-number)).collect()
    }

    /// The number of the stream of a namespace: that of Node.js where its nodes read it. For a
    /// negative hash it is the remainder that is not negative, for Node.js nodes read that stream
    /// and take every namespace from it.
    pub(crate) fn of(&self, namespace: &str) -> usize {
        let remainder = i64::from(java_hash(namespace)).rem_euclid(i64::from(self.count));
        usize::try_from(remainder).unwrap_or(0)
    }

    fn named(&self, number: i64) -> Box<str> {
        format!("{}-{number}", self.name).into()
    }
}

/// `String.hashCode` of Java, over UTF-16 units.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0, |hash: i32, unit| hash.wrapping_mul(31).wrapping_add(unit.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names are those of the vectors `streams-count-4-*`.
    #[test]
    fn a_namespace_goes_where_node_reads_it() {
        let names = StreamNames::new("socket.io", 4);
        assert_eq!(java_hash("/notifications") % 4, -3);
        for (namespace, stream) in [("/", "socket.io-3"), ("/notifications", "socket.io-1")] {
            assert_eq!(&*names.shared()[names.of(namespace)], stream, "{namespace}");
        }
        assert_eq!(
            names.astray().iter().map(|name| &**name).collect::<Vec<_>>(),
            ["socket.io--1", "socket.io--2", "socket.io--3"]
        );
        let one = StreamNames::new("app", 1);
        assert_eq!((one.shared(), one.astray()), (vec!["app".into()], vec![]));
        assert_eq!(one.of("/notifications"), 0);
    }
}
