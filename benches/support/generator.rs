//! One measurement: messages of one kind through connected clients, at one pace.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    accounts::{Accounts, Counts},
    fleet::Fleet,
    groups::{Dice, Groups},
    message::Kind,
    proc::own_cpu,
    result::Result,
    table::{Figures, Void},
};

/// When the next message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// This many messages are in flight; one that is with all its receivers makes room for the
    /// next.
    Closed(usize),
    /// This many messages a second in all groups together, whatever has become of those before.
    Open(u32),
}

/// To which group the next message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// To each in turn. In the closed pace each group has its own messages in flight.
    InTurn,
    /// To a random one. In the closed pace all groups together have that many messages in flight.
    Random,
}

/// How long messages flow before the measurement and during it.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Not counted.
    pub warm_up: Duration,
    /// Counted.
    pub measured: Duration,
}

/// Hears of every message, to measure what the accounts do not know.
pub trait Watch {
    /// The longest pause between two looks at the sockets when the next message of the open pace is
    /// nearly due.
    const PAUSE: Duration = POLL_PRECISION;

    /// The measured time begins or has ended.
    fn measuring(&mut self, _begins: bool) {}

    /// A message was queued for its sender's socket.
    fn sent(&mut self, _group: usize, _number: u64) {}

    /// A message was read from a receiver's socket.
    fn delivered(&mut self, _client: usize, _group: usize, _number: u64) {}
}

/// Nothing but the accounts.
impl Watch for () {}

/// What happened in the measured time. `C` is the CPU time of what is measured.
pub struct Window<C, W> {
    /// Seconds.
    pub length: f64,
    /// CPU time up to the beginning.
    pub before: C,
    /// CPU time up to the end.
    pub after: C,
    /// CPU of this program, as a share of one core.
    pub own_cores: f64,
    /// How many messages were sent.
    pub sent: u64,
    /// How many messages of the whole run were sent much later than the open pace wanted, as a share.
    pub late: f64,
    /// How many deliveries there were, at least one.
    pub delivered: u64,
    /// How many deliveries overtook an earlier one, as a share of those of the whole run.
    pub overtaking: f64,
    /// What the watch has seen.
    pub watch: W,
}

impl<C, W> Window<C, W> {
    /// Microseconds for each delivery.
    #[must_use]
    pub fn micros_each(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e6 / self.delivered as f64
    }

    /// The figures, or why they do not count: the server has to be what sets the pace.
    ///
    /// # Errors
    /// If the generator did.
    pub fn counts(&self, figures: Figures) -> Result<Figures, Void> {
        match bottleneck(self.own_cores, self.late) {
            Some(reason) => Err(Void::Bottleneck(reason)),
            None => Ok(figures),
        }
    }

    /// Deliveries a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.delivered as f64 / self.length
    }
}

/// The share of a core above which the generator is taken for the bottleneck.
const BUSY: f64 = 0.95;
/// A message of the open pace that is sent so much later than it was due is late.
const LATE: Duration = Duration::from_millis(50);
/// The share of messages that may be late: what was held up is sent at once and shares wake-ups.
const LATE_SHARE: f64 = 0.02;

/// Whether the generator was the bottleneck, and why.
fn bottleneck(own_cores: f64, late: f64) -> Option<String> {
    let percent = |share: f64| share * 100.0;
    if own_cores > BUSY {
        return Some(format!("the generator took {:.0} % of a core", percent(own_cores)));
    }
    (late > LATE_SHARE).then(|| format!("the generator sent {:.0} % too late", percent(late)))
}

/// How long to wait for deliveries that are due, counted from the last one that came.
const PATIENCE: Duration = Duration::from_secs(5);
/// Sleeping in the poll is precise to a millisecond only.
const POLL_PRECISION: Duration = Duration::from_millis(1);

/// Sends messages and accounts for them. Good for one measurement.
pub struct Generator<'a, W> {
    fleet: &'a mut Fleet,
    groups: &'a Groups,
    kind: Kind,
    order: Order,
    dice: Dice,
    accounts: Accounts<'a>,
    late: u64,
    watch: W,
}

struct Reading<C> {
    at: Instant,
    cpu: C,
    own: Duration,
    counts: Counts,
}

impl<'a, W: Watch> Generator<'a, W> {
    /// A generator for clients that are connected as `groups` has them.
    pub fn new(
        fleet: &'a mut Fleet,
        groups: &'a Groups,
        kind: Kind,
        order: Order,
        watch: W,
    ) -> Self {
        let (dice, accounts) = (Dice::default(), Accounts::new(groups));
        Self { fleet, groups, kind, order, dice, accounts, late: 0, watch }
    }

    /// Sends, measures, and waits until everything has arrived. `cpu` reads the CPU time so far of
    /// what is measured.
    ///
    /// # Errors
    /// If a connection is broken, or the run is void: a delivery was lost, repeated, altered or, if
    /// `keeps_order`, overtaken.
    pub fn measure<C>(
        mut self,
        pace: Pace,
        times: Times,
        keeps_order: bool,
        cpu: impl Fn() -> Result<C>,
    ) -> Result<Window<C, W>> {
        let start = Instant::now();
        if let Pace::Closed(in_flight) = pace {
            let groups = if self.order == Order::InTurn { self.groups.groups.len() } else { 1 };
            (0..in_flight * groups).for_each(|turn| self.send(turn));
            self.fleet.flush()?;
        }
        let mut sent = 0;
        self.flow(pace, start, start + times.warm_up, &mut sent)?;
        let before = self.reading(&cpu)?;
        self.watch.measuring(true);
        self.flow(pace, start, before.at + times.measured, &mut sent)?;
        let after = self.reading(&cpu)?;
        self.watch.measuring(false);
        self.drain()?;
        self.accounts.judge(keeps_order)?;

        let delivered = after.counts.delivered - before.counts.delivered;
        if delivered == 0 {
            return Err("nothing was delivered while it was measured".into());
        }
        let length = (after.at - before.at).as_secs_f64();
        let counts = self.accounts.counts;
        Ok(Window {
            length,
            before: before.cpu,
            after: after.cpu,
            own_cores: (after.own - before.own).as_secs_f64() / length,
            sent: after.counts.sent - before.counts.sent,
            late: self.late as f64 / counts.sent as f64,
            delivered,
            overtaking: counts.overtaking as f64 / counts.delivered as f64,
            watch: self.watch,
        })
    }

    fn reading<C>(&self, cpu: &impl Fn() -> Result<C>) -> Result<Reading<C>> {
        let counts = self.accounts.counts;
        Ok(Reading { at: Instant::now(), cpu: cpu()?, own: own_cpu()?, counts })
    }

    fn send(&mut self, turn: usize) {
        let groups = &self.groups.groups;
        let group = match self.order {
            Order::InTurn => turn % groups.len(),
            Order::Random => self.dice.below(groups.len()),
        };
        let number = self.accounts.send(group);
        let packet = self.kind.packet(group, number);
        self.watch.sent(group, number);
        self.fleet.send(groups[group].sender, packet.as_bytes());
    }

    /// Keeps messages flowing until `end`. `sent` counts those of the open pace since `start`.
    fn flow(&mut self, pace: Pace, start: Instant, end: Instant, sent: &mut u32) -> Result<()> {
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            match pace {
                Pace::Closed(_) => {
                    self.receive(end - now)?;
                    while let Some(group) = self.accounts.completed.pop() {
                        self.send(group);
                    }
                }
                Pace::Open(rate) => {
                    let due = start + Duration::from_secs(1) * *sent / rate;
                    if due <= now {
                        self.late += u64::from(now - due > LATE);
                        self.send(*sent as usize);
                        *sent += 1;
                    } else {
                        self.receive_until(due.min(end))?;
                    }
                }
            }
            self.fleet.flush()?;
        }
    }

    /// Takes what comes until a moment that matters to less than a millisecond, or a bit shorter.
    fn receive_until(&mut self, moment: Instant) -> Result<()> {
        let left = moment.saturating_duration_since(Instant::now());
        if left > POLL_PRECISION {
            self.receive(left - POLL_PRECISION)?;
        } else {
            sleep(left.min(W::PAUSE));
            self.receive(Duration::ZERO)?;
        }
        self.accounts.completed.clear();
        Ok(())
    }

    fn receive(&mut self, timeout: Duration) -> Result<()> {
        let Self { fleet, kind, accounts, watch, .. } = self;
        fleet.receive(timeout, |client, packet| {
            let number = kind
                .number(packet)
                .ok_or_else(|| format!("not what is due: {:?}", String::from_utf8_lossy(packet)))?;
            let group = accounts.deliver(client, number)?;
            watch.delivered(client, group, number);
            Ok(())
        })
    }

    fn drain(&mut self) -> Result<()> {
        let mut progress = (self.accounts.counts.delivered, Instant::now());
        while !self.accounts.all_arrived() {
            self.receive(Duration::from_millis(100))?;
            if self.accounts.counts.delivered > progress.0 {
                progress = (self.accounts.counts.delivered, Instant::now());
            } else if progress.1.elapsed() > PATIENCE {
                break;
            }
        }
        // What would come twice has a moment to come.
        self.receive(Duration::from_millis(20))
    }
}

#[cfg(test)]
mod tests {
    use super::bottleneck;

    #[test]
    fn a_generator_that_never_rests_or_is_late_is_the_bottleneck() {
        assert_eq!(bottleneck(0.9, 0.01), None);
        assert!(bottleneck(0.97, 0.0).is_some_and(|reason| reason.contains("97 % of a core")));
        assert!(bottleneck(0.1, 0.05).is_some_and(|reason| reason.contains("5 % too late")));
    }
}
