//! The sockets of this node: the truth about them, whatever became of Redis.

use std::collections::{HashMap, HashSet};

use smallvec::SmallVec;

use super::entry::{self, BUCKETS, bucket_of};
use crate::{
    id::{SocketId, UserId},
    users::{LimitReached, UserLimit, UserSocket},
};

/// A socket of this node.
struct Held {
    number: u64,
    socket: UserSocket,
    /// Redis is being asked whether the socket may enter.
    pending: bool,
    /// Redis has listed the socket before.
    known: bool,
}

type Bucket = HashMap<UserId, SmallVec<[Held; 1]>>;

/// The sockets of this node, oldest first for each user.
pub(super) struct Mirror {
    buckets: Vec<Bucket>,
    next: u64,
    /// The numbers of entries and of pending ones, by bucket.
    sizes: Vec<usize>,
    pending: Vec<usize>,
    /// The sockets listed as polling, by bucket. Some may be gone.
    polling: Vec<Vec<(UserId, u64)>>,
}

impl Default for Mirror {
    fn default() -> Self {
        let buckets = std::iter::repeat_with(Bucket::default).take(BUCKETS).collect();
        let none = || vec![0; BUCKETS];
        let polling = vec![Vec::new(); BUCKETS];
        Self { buckets, next: 0, sizes: none(), pending: none(), polling }
    }
}

/// The difference between a bucket and Redis's copy of it.
pub(super) struct Difference {
    /// All admitted sockets, for each user in the order of age.
    pub(super) entries: Vec<OwnEntry>,
    /// Entries without a socket.
    pub(super) surplus: Vec<Vec<u8>>,
}

/// A socket of this node, as it should be listed.
pub(super) struct OwnEntry {
    pub(super) user: UserId,
    pub(super) entry: Vec<u8>,
    pub(super) number: u64,
    /// It was listed before.
    pub(super) known: bool,
    /// It is listed now.
    pub(super) is_listed: bool,
}

impl Mirror {
    /// Notes a socket that wants to enter. Returns the number of the entry.
    pub(super) fn ask(&mut self, user: UserId, socket: UserSocket) -> u64 {
        self.next += 1;
        let (number, bucket) = (self.next, bucket_of(&user));
        if socket.transport == "polling" {
            self.polling[bucket].push((user.clone(), number));
        }
        let held = Held { number, socket, pending: true, known: false };
        self.buckets[bucket].entry(user).or_default().push(held);
        self.sizes[bucket] += 1;
        self.pending[bucket] += 1;
        number
    }

    fn find(&mut self, user: &str, number: u64) -> Option<&mut Held> {
        let sockets = self.buckets[bucket_of(user)].get_mut(user)?;
        sockets.iter_mut().find(|held| held.number == number)
    }

    /// Whether the socket is still here, and whether it waits for an answer.
    pub(super) fn is_pending(&mut self, user: &str, number: u64) -> Option<bool> {
        self.find(user, number).map(|held| held.pending)
    }

    /// Redis has listed it.
    pub(super) fn listed(&mut self, user: &str, number: u64) {
        self.admit(user, number);
        if let Some(held) = self.find(user, number) {
            held.known = true;
        }
    }

    /// The other nodes may not know any more that these users are online.
    pub(super) fn forget_known(&mut self) {
        let users = self.buckets.iter_mut().flat_map(HashMap::values_mut);
        users.flatten().for_each(|held| held.known = false);
    }

    fn admit(&mut self, user: &str, number: u64) {
        let Some(held) = self.find(user, number) else { return };
        if std::mem::take(&mut held.pending) {
            self.pending[bucket_of(user)] -= 1;
        }
    }

    /// Redis has refused the socket. Returns false if it is in all the same, since nobody waited
    /// that long.
    pub(super) fn refused(&mut self, user: &str, number: u64) -> bool {
        match self.is_pending(user, number) {
            Some(true) => {
                self.take(user, |held| held.number == number);
                true
            }
            Some(false) => false,
            None => true,
        }
    }

    /// Decides without Redis, by the sockets of this node. Returns the sockets that have to go.
    pub(super) fn decide(
        &mut self,
        user: &str,
        number: u64,
        limit: UserLimit,
    ) -> Result<Vec<UserSocket>, LimitReached> {
        match self.is_pending(user, number) {
            Some(true) => {}
            Some(false) => return Ok(Vec::new()),
            None => return Err(LimitReached(limit.max_sockets)),
        }
        let max = limit.max_sockets;
        let others = self.buckets[bucket_of(user)]
            .get(user)
            .map_or(0, |sockets| sockets.iter().filter(|held| !held.pending).count());
        if max > 0 && others >= max && !limit.disconnect_oldest {
            self.take(user, |held| held.number == number);
            return Err(LimitReached(max));
        }
        self.admit(user, number);
        let surplus = if max > 0 { (others + 1).saturating_sub(max) } else { 0 };
        let goes = |held: &Held| !held.pending && held.number != number;
        Ok((0..surplus).filter_map(|_| self.take(user, goes)).collect())
    }

    /// Forgets a socket, if it is here.
    pub(super) fn leave(
        &mut self,
        user: &str,
        namespace: &str,
        id: SocketId,
    ) -> Option<UserSocket> {
        self.take(user, |held| held.socket.id == id && &*held.socket.namespace == namespace)
    }

    fn take(&mut self, user: &str, matches: impl Fn(&Held) -> bool) -> Option<UserSocket> {
        let bucket = bucket_of(user);
        let sockets = self.buckets[bucket].get_mut(user)?;
        let at = sockets.iter().position(matches)?;
        let held = sockets.remove(at);
        if sockets.is_empty() {
            self.buckets[bucket].remove(user);
        }
        self.sizes[bucket] -= 1;
        self.pending[bucket] -= usize::from(held.pending);
        Some(held.socket)
    }

    /// The admitted sockets of a user.
    pub(super) fn sockets(&self, user: &str) -> Vec<UserSocket> {
        let sockets = self.buckets[bucket_of(user)].get(user).into_iter().flatten();
        sockets.filter(|held| !held.pending).map(|held| held.socket.clone()).collect()
    }

    /// The sockets of a bucket that are listed as polling.
    pub(super) fn polling(&mut self, bucket: usize) -> Vec<(UserId, u64, UserSocket)> {
        let mut polling = std::mem::take(&mut self.polling[bucket]);
        let mut found = Vec::new();
        polling.retain(|(user, number)| match self.find(user, *number) {
            Some(held) if held.socket.transport == "polling" => {
                if held.known && !held.pending {
                    found.push((user.clone(), *number, held.socket.clone()));
                }
                true
            }
            _ => false,
        });
        self.polling[bucket] = polling;
        found
    }

    /// Notes the new transport of a socket, if it is still here. Returns the listed entry and the
    /// one to list instead.
    pub(super) fn upgrade(
        &mut self,
        user: &str,
        number: u64,
        transport: &'static str,
    ) -> Option<(UserSocket, UserSocket)> {
        let held = self.find(user, number).filter(|held| held.known && !held.pending)?;
        let before = held.socket.clone();
        held.socket.transport = transport.into();
        Some((before, held.socket.clone()))
    }

    /// Whether an admitted socket of the user is here.
    pub(super) fn holds(&self, user: &str) -> bool {
        let mut sockets = self.buckets[bucket_of(user)].get(user).into_iter().flatten();
        sockets.any(|held| !held.pending)
    }

    /// How many users have sockets here.
    pub(super) fn user_count(&self) -> usize {
        self.buckets.iter().map(HashMap::len).sum()
    }

    /// The numbers of admitted sockets, by bucket. `None` for a bucket with a pending one.
    pub(super) fn counts(&self) -> Vec<Option<usize>> {
        let buckets = self.sizes.iter().zip(&self.pending);
        buckets.map(|(size, pending)| (*pending == 0).then_some(*size)).collect()
    }

    /// Compares a bucket with the entries that Redis lists for this incarnation.
    pub(super) fn compare(
        &self,
        bucket: usize,
        incarnation: &str,
        mut listed: HashSet<Vec<u8>>,
    ) -> Difference {
        let mut entries = Vec::new();
        for (user, sockets) in &self.buckets[bucket] {
            for held in sockets {
                let entry = entry::encode(user, &held.socket, incarnation);
                let is_listed = listed.remove(&entry);
                if !held.pending {
                    let (number, known) = (held.number, held.known);
                    entries.push(OwnEntry { user: user.clone(), entry, number, known, is_listed });
                }
            }
        }
        Difference { entries, surplus: listed.into_iter().collect() }
    }
}
