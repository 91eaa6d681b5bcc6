//! The slots of a Redis Cluster and the masters that own them.

use redis::{RedisResult, aio::MultiplexedConnection};

use crate::link::redis::ranges::{self, Address, Member, Range, not_slots};

pub(super) const SLOTS: usize = 16_384;

/// The masters and their slots.
pub(super) struct Slots {
    /// An index into `masters` for each slot.
    owners: Vec<Option<usize>>,
    pub(super) masters: Vec<Address>,
    /// The masters and their replicas.
    pub(super) nodes: Vec<Address>,
}

impl Slots {
    /// Asks a node of the cluster.
    ///
    /// # Errors
    /// If it does not answer, or does not name masters of a cluster.
    pub(super) async fn read(connection: &mut MultiplexedConnection) -> RedisResult<Self> {
        let mut slots = Self { owners: vec![None; SLOTS], masters: Vec::new(), nodes: Vec::new() };
        for Range { first, last, master, replicas } in ranges::read(connection).await? {
            let owner = place(&mut slots.masters, address(&master));
            for node in std::iter::once(&master).chain(&replicas) {
                place(&mut slots.nodes, address(node));
            }
            slots.owners.get_mut(first..=last).ok_or_else(not_slots)?.fill(Some(owner));
        }
        Ok(slots)
    }

    /// The index of the master that owns a slot.
    pub(super) fn owner(&self, slot: usize) -> Option<usize> {
        self.owners[slot]
    }
}

fn address(member: &Member) -> Address {
    (member.host.clone(), member.port)
}

/// The place of an address in the list. A new one is added.
fn place(list: &mut Vec<Address>, address: Address) -> usize {
    list.iter().position(|known| *known == address).unwrap_or_else(|| {
        list.push(address);
        list.len() - 1
    })
}

/// CRC16 (XMODEM) of the name, or of the part between its first `{` and the next `}`.
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
