//! Which master of a Redis Cluster owns which slot.

use redis::{ErrorKind, RedisError, RedisResult, Value, aio::MultiplexedConnection};

pub(super) const SLOTS: usize = 16_384;

/// The masters and their slots.
pub(super) struct Slots {
    /// An index into `masters` for each slot.
    owners: Vec<Option<usize>>,
    /// Host, as the cluster announces it and empty if it does not, and port.
    pub(super) masters: Vec<(String, u16)>,
    /// The masters and their replicas.
    pub(super) nodes: Vec<(String, u16)>,
}

impl Slots {
    /// Asks a node of the cluster.
    ///
    /// # Errors
    /// If it does not answer, or not with the masters of a cluster.
    pub(super) async fn read(connection: &mut MultiplexedConnection) -> RedisResult<Self> {
        Self::parse(&redis::cmd("CLUSTER").arg("SLOTS").query_async(connection).await?)
    }

    /// Reads the answer to `CLUSTER SLOTS`.
    ///
    /// # Errors
    /// If it is no such answer, or there is no master.
    fn parse(answer: &Value) -> RedisResult<Self> {
        let mut slots = Self { owners: vec![None; SLOTS], masters: Vec::new(), nodes: Vec::new() };
        for range in answer.as_sequence().unwrap_or_default() {
            let [first, last, master, replicas @ ..] = range.as_sequence().unwrap_or_default()
            else {
                return Err(not_slots());
            };
            let node = address(master)?;
            for node in std::iter::once(Ok(node.clone())).chain(replicas.iter().map(address)) {
                let node = node?;
                if !slots.nodes.contains(&node) {
                    slots.nodes.push(node);
                }
            }
            let known = slots.masters.iter().position(|master| *master == node);
            let owner = known.unwrap_or_else(|| {
                slots.masters.push(node);
                slots.masters.len() - 1
            });
            let first: usize = redis::from_redis_value_ref(first)?;
            let last: usize = redis::from_redis_value_ref(last)?;
            slots.owners.get_mut(first..=last).ok_or_else(not_slots)?.fill(Some(owner));
        }
        match slots.masters.is_empty() {
            true => Err((ErrorKind::Client, "no node of the cluster owns a slot").into()),
            false => Ok(slots),
        }
    }

    /// The index of the master that owns a slot.
    pub(super) fn owner(&self, slot: usize) -> Option<usize> {
        self.owners[slot]
    }
}

fn address(node: &Value) -> RedisResult<(String, u16)> {
    let [host, port, ..] = node.as_sequence().unwrap_or_default() else {
        return Err(not_slots());
    };
    let host: Option<String> = redis::from_redis_value_ref(host)?;
    Ok((host.unwrap_or_default(), redis::from_redis_value_ref(port)?))
}

fn not_slots() -> RedisError {
    (ErrorKind::UnexpectedReturnType, "CLUSTER SLOTS was not understood").into()
}

/// CRC16 (XMODEM) of the name, or of what stands between its first `{` and the next `}`.
pub(super) fn slot(name: &str) -> usize {
    let tag = name.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    let hashed = tag.map(|(tag, _)| tag).filter(|tag| !tag.is_empty()).unwrap_or(name);
    usize::from(crc16(hashed.as_bytes())) % SLOTS
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| match crc & 0x8000 {
            0 => crc << 1,
            _ => (crc << 1) ^ 0x1021,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the cluster specification of Redis, and from `CLUSTER KEYSLOT` of Redis 7.0.
    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot("foo"), 12182);
        assert_eq!(slot("{user1000}.following"), slot("{user1000}.followers"));
        assert_eq!(slot("foo{}{bar}"), usize::from(crc16(b"foo{}{bar}")) % SLOTS);
        assert_eq!(slot("foo{{bar}}zap"), slot("{bar"));
    }
}
