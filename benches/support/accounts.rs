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

#[cfg(test)]
mod tests {
    use super::Accounts;
    use crate::groups::Groups;

    /// The judgement on two messages to a room of two, delivered as the pairs of client and number say.
    fn judgement(deliveries: &[(usize, u64)], keeps_order: bool) -> Result<(), String> {
        let groups = Groups::of_neighbours(1, 2);
        let mut accounts = Accounts::new(&groups);
        accounts.send(0);
        accounts.send(0);
        for (client, number) in deliveries {
            accounts.deliver(*client, *number).map_err(|error| error.to_string())?;
        }
        accounts.judge(keeps_order).map_err(|error| error.to_string())
    }

    #[test]
    fn a_lost_repeated_or_overtaking_delivery_voids_the_run() {
        let all = [(0, 0), (1, 0), (0, 1), (1, 1)];
        assert_eq!(judgement(&all, true), Ok(()));
        assert!(judgement(&all[..3], true).is_err_and(|reason| reason.starts_with("1 deliveries")));
        assert!(judgement(&[all[0], all[0], all[1], all[2]], true).is_err());
        let turned = [(0, 1), (0, 0), (1, 0), (1, 1)];
        assert!(judgement(&turned, true).is_err_and(|reason| reason.contains("1 out of order")));
        assert_eq!(judgement(&turned, false), Ok(()));
    }
}
