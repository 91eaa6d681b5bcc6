//! Who is in which group, and who sends to it. A group is a room, a user's sockets, or one client.

/// Whom a message is for.
pub struct Group {
    /// How many clients receive it.
    pub members: usize,
    /// Who sends it: always the same client, so that the order of its messages can be checked.
    pub sender: usize,
}

/// All groups and all clients.
pub struct Groups {
    /// The groups, by number.
    pub groups: Vec<Group>,
    /// The group of each client, by the client's number; none for one that nobody addresses.
    pub of_client: Vec<Option<usize>>,
}

impl Groups {
    /// Groups of neighbours with as many members each; the first member sends.
    #[must_use]
    pub fn of_neighbours(groups: usize, members: usize) -> Self {
        Self {
            groups: (0..groups).map(|group| Group { members, sender: group * members }).collect(),
            of_client: (0..groups * members).map(|client| Some(client / members)).collect(),
        }
    }
}

/// Random enough, and the same in every run.
pub struct Dice(u64);

impl Default for Dice {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Dice {
    /// A number from 0 on that is below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}
