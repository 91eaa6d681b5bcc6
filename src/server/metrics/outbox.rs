//! The numbers of the outbox.

use std::{
    fmt::Result,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use super::families::Families;
use crate::outbox::meters::Meters;

pub(super) fn write(meters: &Meters, to: &mut Families<'_>) -> Result {
    let is = |flag: &AtomicBool| f64::from(u8::from(flag.load(Relaxed)));
    let help = "Events of the outbox that this node has sent.";
    to.counter("switchboard_outbox_sent", help, meters.sent.get())?;
    let help = "Events of the outbox that were sent once more, since the other nodes may have missed them.";
    to.counter("switchboard_outbox_repeated", help, meters.repeated.get())?;
    let help = "Events of the outbox that cannot be sent, set aside by this node.";
    to.counter("switchboard_outbox_set_aside", help, meters.set_aside.get())?;
    let help = "Partitions of the outbox that this node reads.";
    let partitions = meters.partitions.load(Relaxed) as f64;
    to.gauge("switchboard_outbox_partitions", help, partitions)?;
    let help = "Committed events of the outbox that no node has sent, as of up to 15 seconds ago.";
    to.gauge("switchboard_outbox_waiting", help, meters.waiting() as f64)?;
    let help = "Age of the oldest committed event of the outbox that no node has sent.";
    to.gauge("switchboard_outbox_oldest_seconds", help, meters.oldest_seconds())?;
    let help = "Events of the outbox that are set aside, of all nodes, as of up to 15 seconds ago.";
    to.gauge("switchboard_outbox_dead", help, meters.dead() as f64)?;
    let help = "1 if the database answered when it was last asked.";
    to.gauge("switchboard_outbox_store_up", help, is(&meters.is_up))?;
    let help = "1 if notifications are heard; 0: the outbox polls.";
    to.gauge("switchboard_outbox_listens", help, is(&meters.listens))
}
