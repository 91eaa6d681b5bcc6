//! The accounts of one run: every message that was sent is due once at each member of its group.

use crate::{
    groups::Groups,
    result::Result,
    tally::{Arrival, InFlight, Received},
};

/// What happened so far.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
    pub(crate) overtaking: u64,
    pub(crate) duplicate: u64,
}

/// What is due, and what has arrived.
pub(crate) struct Accounts<'a> {
    layout: &'a Groups,
    groups: Vec<InFlight>,
    received: Vec<Received>,
    /// Groups of which a message has just reached its last receiver, once for each.
    pub(crate) completed: Vec<usize>,
    pub(crate) counts: Counts,
}

impl<'a> Accounts<'a> {
    pub(crate) fn new(layout: &'a Groups) -> Self {
        Self {
            layout,
            groups: layout.groups.iter().map(|group| InFlight::new(group.members)).collect(),
            received: layout.of_client.iter().map(|_| Received::default()).collect(),
            completed: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Adds a message to a group and returns its number.
    pub(crate) fn send(&mut self, group: usize) -> u64 {
        self.counts.sent += 1;
        self.groups[group].send()
    }

    /// Books a delivery and returns the group that it belongs to.
    pub(crate) fn deliver(&mut self, client: usize, number: u64) -> Result<usize> {
        let group = self.layout.of_client[client].ok_or("an idle client got an event")?;
        self.counts.delivered += 1;
        match self.received[client].take(number) {
            Arrival::InOrder => {}
            Arrival::Overtaking => self.counts.overtaking += 1,
            Arrival::Duplicate => {
                self.counts.duplicate += 1;
                return Ok(group);
            }
        }
        if self.groups[group].deliver(number)? {
            self.completed.push(group);
        }
        Ok(group)
    }

    pub(crate) fn all_arrived(&self) -> bool {
        self.groups.iter().all(InFlight::is_empty)
    }

    /// A lost or repeated delivery voids the run; so does a wrong order where order is promised.
    pub(crate) fn judge(&self, keeps_order: bool) -> Result<()> {
        let due = self.layout.of_client.iter().zip(&self.received);
        let missing: u64 = due
            .filter_map(|(group, received)| Some(received.missing(self.groups[(*group)?].sent())))
            .sum();
        let Counts { duplicate, overtaking, delivered, .. } = self.counts;
        if missing > 0 || duplicate > 0 || (overtaking > 0 && keeps_order) {
            let reason = format!(
                "{missing} deliveries missing, {duplicate} twice, {overtaking} out of order, \
                 {delivered} arrived"
            );
            return Err(reason.into());
        }
        Ok(())
    }
}
