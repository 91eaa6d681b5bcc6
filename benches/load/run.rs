//! One measurement: messages of one kind, to one server, at one pace.

use std::time::{Duration, Instant};

use crate::{
    Result,
    fleet::Fleet,
    process::{Server, own_cpu},
    tally::{Arrival, InFlight, Received},
    wire::Kind,
};

/// When the next message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// This many messages of each group are in flight; one that is with all its receivers makes
    /// room for the next.
    Closed(usize),
    /// This many messages a second in all groups together, whatever has become of those before.
    Open(u32),
}

/// How long messages flow before the measurement and during it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// What was measured, and what became of the deliveries of the whole run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measurement {
    /// Of the server, for each delivery.
    pub(crate) cpu_micros: f64,
    pub(crate) per_second: f64,
    /// CPU of the server and of this program, as shares of one core.
    pub(crate) server_cores: f64,
    pub(crate) own_cores: f64,
    pub(crate) delivered: u64,
    pub(crate) overtaking: u64,
    pub(crate) missing: u64,
    pub(crate) duplicate: u64,
}

/// How long to wait for deliveries that are due, counted from the last one that came.
const PATIENCE: Duration = Duration::from_secs(5);
/// Sleeping in the poll is precise to a millisecond only.
const POLL_PRECISION: Duration = Duration::from_millis(1);

/// Sends messages in groups of `members` clients each. The first of a group sends, all receive.
pub(crate) struct Run<'a> {
    fleet: &'a mut Fleet,
    server: &'a Server,
    kind: Kind,
    members: usize,
    groups: Vec<InFlight>,
    received: Vec<Received>,
    /// Groups of which a message has just reached its last receiver, once for each.
    completed: Vec<usize>,
    counts: Measurement,
}

struct Reading {
    at: Instant,
    server: Duration,
    own: Duration,
    delivered: u64,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        fleet: &'a mut Fleet,
        server: &'a Server,
        kind: Kind,
        (groups, members): (usize, usize),
    ) -> Self {
        Self {
            fleet,
            server,
            kind,
            members,
            groups: (0..groups).map(|_| InFlight::new(members)).collect(),
            received: (0..groups * members).map(|_| Received::default()).collect(),
            completed: Vec::new(),
            counts: Measurement::default(),
        }
    }

    /// Sends, measures, and waits until everything has arrived.
    pub(crate) fn measure(mut self, pace: Pace, times: Times) -> Result<Measurement> {
        let start = Instant::now();
        if let Pace::Closed(in_flight) = pace {
            for group in 0..self.groups.len() {
                (0..in_flight).for_each(|_| self.send(group));
            }
            self.fleet.flush()?;
        }
        let mut sent = 0;
        self.flow(pace, start, start + times.warm_up, &mut sent)?;
        let before = self.reading()?;
        self.flow(pace, start, before.at + times.measured, &mut sent)?;
        let after = self.reading()?;
        self.drain()?;

        for (client, received) in self.received.iter().enumerate() {
            self.counts.missing += received.missing(self.groups[client / self.members].sent());
        }
        if after.delivered == before.delivered {
            return Err("nothing was delivered while it was measured".into());
        }
        let wall = (after.at - before.at).as_secs_f64();
        let cpu = (after.server - before.server).as_secs_f64();
        let delivered = (after.delivered - before.delivered) as f64;
        Ok(Measurement {
            cpu_micros: cpu * 1e6 / delivered,
            per_second: delivered / wall,
            server_cores: cpu / wall,
            own_cores: (after.own - before.own).as_secs_f64() / wall,
            ..self.counts
        })
    }

    fn reading(&self) -> Result<Reading> {
        Ok(Reading {
            at: Instant::now(),
            server: self.server.cpu()?,
            own: own_cpu()?,
            delivered: self.counts.delivered,
        })
    }

    fn send(&mut self, group: usize) {
        let number = self.groups[group].send();
        let packet = self.kind.packet(group, number);
        self.fleet.send(group * self.members, packet.as_bytes());
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
                    while let Some(group) = self.completed.pop() {
                        self.send(group);
                    }
                }
                Pace::Open(rate) => {
                    let due = start + Duration::from_secs(1) * *sent / rate;
                    if due <= now {
                        self.send(*sent as usize % self.groups.len());
                        *sent += 1;
                    } else {
                        self.receive_until(due.min(end))?;
                    }
                }
            }
            self.fleet.flush()?;
        }
    }

    /// Takes what comes until a moment that matters to less than a millisecond.
    fn receive_until(&mut self, moment: Instant) -> Result<()> {
        let left = moment.saturating_duration_since(Instant::now());
        if left > POLL_PRECISION {
            self.receive(left - POLL_PRECISION)?;
        } else {
            std::thread::sleep(left);
            self.receive(Duration::ZERO)?;
        }
        self.completed.clear();
        Ok(())
    }

    fn receive(&mut self, timeout: Duration) -> Result<()> {
        let Self { fleet, kind, members, groups, received, completed, counts, .. } = self;
        fleet.receive(timeout, |client, packet| {
            let number = kind
                .number(packet)
                .ok_or_else(|| format!("not what is due: {:?}", String::from_utf8_lossy(packet)))?;
            let group = client / *members;
            counts.delivered += 1;
            match received[client].take(number) {
                Arrival::InOrder => {}
                Arrival::Overtaking => counts.overtaking += 1,
                Arrival::Duplicate => {
                    counts.duplicate += 1;
                    return Ok(());
                }
            }
            if groups[group].deliver(number)? {
                completed.push(group);
            }
            Ok(())
        })
    }

    fn drain(&mut self) -> Result<()> {
        let mut progress = (self.counts.delivered, Instant::now());
        while self.groups.iter().any(|group| !group.is_empty()) {
            self.receive(Duration::from_millis(100))?;
            if self.counts.delivered > progress.0 {
                progress = (self.counts.delivered, Instant::now());
            } else if progress.1.elapsed() > PATIENCE {
                break;
            }
        }
        // What would come twice has a moment to come.
        self.receive(Duration::from_millis(10))
    }
}
