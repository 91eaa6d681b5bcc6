//! One measurement: messages of one scenario, through one cluster, at one pace.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    Result,
    cluster::{Cluster, Cpu},
    fleet::Fleet,
    layout::{Dice, Layout, Scenario},
    options::Peer,
    process::own_cpu,
    tally::{Arrival, InFlight, Received},
};

/// When the next message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// This many messages are in flight; one that is with all its receivers makes room for the
    /// next, which goes to a random group.
    Closed(usize),
    /// This many messages a second, whatever has become of those before.
    Open(u32),
}

/// How long messages flow before the measurement and during it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// What one repetition gave, under the name that the table has for it.
pub(crate) struct Sample {
    pub(crate) measure: String,
    /// Or why the run is void.
    pub(crate) result: Result<Measured, String>,
}

/// CPU times are in microseconds for each delivery, of all processes of the cluster unless said
/// otherwise.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) cpu_micros: f64,
    pub(crate) redis_micros: f64,
    /// Of the idle node, for each emit, less what it spends when nothing is sent.
    pub(crate) idle_micros: Option<f64>,
    pub(crate) per_second: f64,
    /// CPU of the generator as a share of one core.
    pub(crate) own_cores: f64,
    /// How many of the deliveries were on another node than the sender.
    pub(crate) remote: f64,
    /// From the sender to a receiver on another node, in milliseconds.
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) overtaking: f64,
}

/// How long to wait for deliveries that are due, counted from the last one that came.
const PATIENCE: Duration = Duration::from_secs(5);
/// Sleeping in the poll is precise to a millisecond only.
const POLL_PRECISION: Duration = Duration::from_millis(1);

/// Runs a scenario at both paces against fresh processes.
pub(crate) fn once(scenario: &Scenario, peer: &Peer, times: Times) -> Vec<Sample> {
    let paces = [Pace::Closed(scenario.closed), Pace::Open(scenario.open)];
    let measure = |pace: Pace| {
        let pace = if matches!(pace, Pace::Open(_)) { "open" } else { "closed" };
        format!("{}, {pace}", scenario.name())
    };
    let layout = scenario.layout();
    let connected = connect(scenario, &layout, peer);
    let (cluster, mut fleet) = match connected {
        Ok(connected) => connected,
        Err(error) => {
            return vec![Sample { measure: measure(paces[0]), result: Err(error.to_string()) }];
        }
    };
    let mut samples = Vec::new();
    for pace in paces {
        let run = Run::new(&mut fleet, &cluster, scenario, &layout);
        let measured = run.measure(pace, times, peer.keeps_order);
        let result = measured.map_err(|error| error.to_string());
        let failed = result.is_err();
        samples.push(Sample { measure: measure(pace), result });
        if failed {
            // What is still under way would be taken for messages of the next pace.
            break;
        }
    }
    samples
}

fn connect(scenario: &Scenario, layout: &Layout, peer: &Peer) -> Result<(Cluster, Fleet)> {
    let cluster = Cluster::start(&peer.spec, scenario.processes())?;
    let auth = |client: usize| match layout.clients[client].group {
        None => format!(r#"{{"userId":"idle{client}"}}"#),
        Some(group) if scenario.kind() == crate::wire::Kind::User => {
            format!(r#"{{"userId":"u{group}"}}"#)
        }
        Some(group) => format!(r#"{{"userId":"c{client}","room":"r{group}"}}"#),
    };
    let address = |client: usize| cluster.address(layout.clients[client].node);
    let fleet = Fleet::connect(&address, layout.clients.len(), &auth)?;
    // A server may tell the client before it has joined the rooms, and before Redis knows of it.
    sleep(Duration::from_millis(500));
    Ok((cluster, fleet))
}

struct Run<'a> {
    fleet: &'a mut Fleet,
    cluster: &'a Cluster,
    scenario: &'a Scenario,
    layout: &'a Layout,
    groups: Vec<InFlight>,
    received: Vec<Received>,
    /// When each message of a group was sent, in the open pace.
    sent_at: Vec<Vec<Instant>>,
    /// How long remote deliveries took, in the open pace.
    took: Vec<Duration>,
    completed: usize,
    dice: Dice,
    counts: Counts,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    sent: u64,
    delivered: u64,
    remote: u64,
    overtaking: u64,
    duplicate: u64,
}

struct Reading {
    at: Instant,
    cpu: Cpu,
    own: Duration,
    counts: Counts,
}

impl<'a> Run<'a> {
    fn new(
        fleet: &'a mut Fleet,
        cluster: &'a Cluster,
        scenario: &'a Scenario,
        layout: &'a Layout,
    ) -> Self {
        Self {
            fleet,
            cluster,
            scenario,
            layout,
            groups: layout.groups.iter().map(|group| InFlight::new(group.members)).collect(),
            received: layout.clients.iter().map(|_| Received::default()).collect(),
            sent_at: vec![Vec::new(); layout.groups.len()],
            took: Vec::new(),
            completed: 0,
            dice: Dice::default(),
            counts: Counts::default(),
        }
    }

    /// Sends, measures, and waits until everything has arrived.
    fn measure(mut self, pace: Pace, times: Times, keeps_order: bool) -> Result<Measured> {
        // What a node spends that has nothing to do.
        let quiet = self.scenario.has_idle().then(|| self.quiet(times.measured)).transpose()?;
        let start = Instant::now();
        if let Pace::Closed(in_flight) = pace {
            (0..in_flight).for_each(|_| self.send(false));
            self.fleet.flush()?;
        }
        let mut sent = 0;
        self.flow(pace, start, start + times.warm_up, &mut sent)?;
        let before = self.reading()?;
        self.took.clear();
        self.flow(pace, start, before.at + times.measured, &mut sent)?;
        let after = self.reading()?;
        self.took.sort_unstable();
        let took = std::mem::take(&mut self.took);
        self.drain()?;
        self.judge(keeps_order)?;

        let wall = (after.at - before.at).as_secs_f64();
        let delivered = (after.counts.delivered - before.counts.delivered) as f64;
        if delivered == 0.0 {
            return Err("nothing was delivered while it was measured".into());
        }
        let each = |time: Duration| time.as_secs_f64() * 1e6 / delivered;
        let redis = each(after.cpu.redis - before.cpu.redis);
        let spent =
            after.cpu.nodes.iter().zip(&before.cpu.nodes).map(|(after, before)| *after - *before);
        let spent: Vec<Duration> = spent.collect();
        let idle = quiet.zip(spent.last()).map(|(quiet, spent)| {
            let emits = (after.counts.sent - before.counts.sent) as f64;
            (spent.as_secs_f64() - quiet * wall) * 1e6 / emits
        });
        let percentile = |share: f64| {
            let at = (took.len().saturating_sub(1) as f64 * share).round() as usize;
            took.get(at).map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
        };
        Ok(Measured {
            cpu_micros: each(spent.iter().sum()) + redis,
            redis_micros: redis,
            idle_micros: idle,
            per_second: delivered / wall,
            own_cores: (after.own - before.own).as_secs_f64() / wall,
            remote: (after.counts.remote - before.counts.remote) as f64 / delivered,
            p50_ms: percentile(0.5),
            p99_ms: percentile(0.99),
            overtaking: self.counts.overtaking as f64 / self.counts.delivered as f64,
        })
    }

    /// The share of a core that the last node takes while nothing is sent.
    fn quiet(&mut self, length: Duration) -> Result<f64> {
        let (start, before) = (Instant::now(), self.cluster.cpu()?);
        while start.elapsed() < length {
            self.receive(Duration::from_millis(50))?;
        }
        let after = self.cluster.cpu()?;
        let last = |cpu: &Cpu| cpu.nodes.last().copied().unwrap_or_default();
        Ok((last(&after) - last(&before)).as_secs_f64() / start.elapsed().as_secs_f64())
    }

    fn judge(&self, keeps_order: bool) -> Result<()> {
        let due = self.layout.clients.iter().zip(&self.received);
        let missing: u64 = due
            .filter_map(|(client, received)| {
                Some(received.missing(self.groups[client.group?].sent()))
            })
            .sum();
        let Counts { duplicate, overtaking, delivered, .. } = self.counts;
        if missing > 0 || duplicate > 0 || (overtaking > 0 && keeps_order) {
            return Err(format!(
                "{missing} deliveries missing, {duplicate} twice, {overtaking} out of order, \
                 {delivered} arrived"
            )
            .into());
        }
        Ok(())
    }

    fn reading(&self) -> Result<Reading> {
        Ok(Reading {
            at: Instant::now(),
            cpu: self.cluster.cpu()?,
            own: own_cpu()?,
            counts: self.counts,
        })
    }

    fn send(&mut self, timed: bool) {
        let group = self.dice.below(self.groups.len());
        let number = self.groups[group].send();
        let packet = self.scenario.kind().packet(group, number);
        if timed {
            self.sent_at[group].push(Instant::now());
        }
        self.fleet.send(self.layout.groups[group].sender, packet.as_bytes());
        self.counts.sent += 1;
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
                    for _ in 0..std::mem::take(&mut self.completed) {
                        self.send(false);
                    }
                }
                Pace::Open(rate) => {
                    let due = start + Duration::from_secs(1) * *sent / rate;
                    if due <= now {
                        self.send(true);
                        *sent += 1;
                    } else {
                        let left = due.min(end).saturating_duration_since(Instant::now());
                        if left > POLL_PRECISION {
                            self.receive(left - POLL_PRECISION)?;
                        } else {
                            sleep(left.min(Duration::from_micros(100)));
                            self.receive(Duration::ZERO)?;
                        }
                    }
                }
            }
            self.fleet.flush()?;
        }
    }

    fn receive(&mut self, timeout: Duration) -> Result<()> {
        let Self { fleet, scenario, layout, groups, received, completed, counts, .. } = self;
        let (sent_at, took) = (&self.sent_at, &mut self.took);
        fleet.receive(timeout, |client, packet| {
            let number = scenario.kind().number(packet);
            let number = number
                .ok_or_else(|| format!("not what is due: {:?}", String::from_utf8_lossy(packet)))?;
            let group = layout.clients[client].group.ok_or("an idle client got an event")?;
            counts.delivered += 1;
            let sender = &layout.clients[layout.groups[group].sender];
            if layout.clients[client].node != sender.node {
                counts.remote += 1;
                took.extend(sent_at[group].get(number as usize).map(Instant::elapsed));
            }
            match received[client].take(number) {
                Arrival::InOrder => {}
                Arrival::Overtaking => counts.overtaking += 1,
                Arrival::Duplicate => {
                    counts.duplicate += 1;
                    return Ok(());
                }
            }
            *completed += usize::from(groups[group].deliver(number)?);
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
        self.receive(Duration::from_millis(20))
    }
}
