//! What is measured: the scenarios, and one repetition of each.

use std::{thread::sleep, time::Duration};

use bench_support::{
    benchmark::{self, each_pace, paces},
    fleet::Fleet,
    generator::{Generator, Order, Pace, Times},
    groups::Groups,
    latency::Latency,
    message::Kind,
    process::Listening,
    result::Result,
    server::Spec,
    table::{Figures, Sample, Void},
};

/// Messages between clients that connect once; each pace is measured on its own.
pub(crate) struct Traffic {
    name: &'static str,
    kind: Kind,
    groups: usize,
    members: usize,
    /// Messages in flight for each group, each number a measurement of its own.
    closed: &'static [usize],
    open: u32,
}

pub(crate) enum Scenario {
    Traffic(Traffic),
    /// The memory of clients that are connected and silent.
    Idle {
        clients: usize,
    },
}

/// Messages in flight: the fewer there are, the less can be written together.
const EACH: &[usize] = &[16, 4, 2, 1];

/// All scenarios; with `quick` of a size that shows whether they work, not what they cost.
pub(crate) fn all(quick: bool) -> Vec<Scenario> {
    let traffic = |name, kind, (groups, members), closed, open| {
        Scenario::Traffic(Traffic { name, kind, groups, members, closed, open })
    };
    vec![
        traffic("echo", Kind::Echo, (100, 1), EACH, 1000),
        traffic("room of 10", Kind::Room, (20, 10), EACH, 200),
        traffic("room of 100", Kind::Room, (4, 100), EACH, 40),
        traffic("room of 1,000", Kind::Room, (1, 1000), EACH, 5),
        traffic("events, user with 2 sockets", Kind::Events, (100, 2), &[4], 500),
        Scenario::Idle { clients: if quick { 200 } else { 5000 } },
    ]
}

impl benchmark::Scenario for Scenario {
    fn name(&self) -> String {
        match self {
            Self::Traffic(traffic) => traffic.name.to_owned(),
            Self::Idle { .. } => "idle".to_owned(),
        }
    }

    fn clients(&self) -> usize {
        match self {
            Self::Traffic(traffic) => traffic.groups * traffic.members,
            Self::Idle { clients } => *clients,
        }
    }

    fn repeat_once(&self, server: &Spec, times: Times) -> Vec<Sample> {
        match self {
            Self::Traffic(traffic) => traffic.repeat_once(server, times),
            Self::Idle { clients } => {
                let memory = idle(server, *clients, times.warm_up * 4);
                let figures = |cost| Figures { cost, unit: "kB", others: Vec::new() };
                let result = memory.map(figures).map_err(Void::from);
                vec![Sample { measure: "idle websocket, RSS in kB".to_owned(), result }]
            }
        }
    }
}

impl Traffic {
    fn repeat_once(&self, spec: &Spec, times: Times) -> Vec<Sample> {
        let groups = Groups::of_neighbours(self.groups, self.members);
        each_pace(
            paces(self.name, self.closed, self.open),
            || self.connect(spec),
            |(server, fleet), pace| {
                let watch = Latency::new(&groups, None, matches!(pace, Pace::Open(_)));
                let generator = Generator::new(fleet, &groups, self.kind, Order::InTurn, watch);
                let window = generator.measure(pace, times, spec.keeps_order, || server.cpu())?;
                let cpu = window.after.saturating_sub(window.before);
                let share = |value| value * 100.0;
                let mut others = vec![
                    ("each s", window.per_second()),
                    ("server %", share(cpu.as_secs_f64() / window.length)),
                    ("load %", share(window.own_cores)),
                    ("overtaking %", share(window.overtaking)),
                ];
                others.extend(window.watch.percentile(0.5).map(|p50| ("p50 ms", p50)));
                window.counts(Figures { cost: window.micros_each(cpu), unit: "µs CPU", others })
            },
        )
    }

    fn connect(&self, spec: &Spec) -> Result<(Listening, Fleet)> {
        let server = spec.start()?;
        let auth = |client: usize| match self.kind {
            Kind::Echo => format!(r#"{{"userId":"u{client}"}}"#),
            Kind::Events => format!(r#"{{"userId":"u{}"}}"#, client / self.members),
            Kind::Room | Kind::User => {
                format!(r#"{{"userId":"u{client}","room":"r{}"}}"#, client / self.members)
            }
        };
        let fleet = Fleet::connect(&|_| server.address(), self.groups * self.members, &auth)?;
        // A server may tell the client before it has joined the rooms.
        sleep(Duration::from_millis(200));
        Ok((server, fleet))
    }
}

/// The memory of a connection: what the server has more with them all than it had before.
fn idle(spec: &Spec, clients: usize, settle: Duration) -> Result<f64> {
    let server = spec.start()?;
    sleep(settle);
    let before = server.rss()?;
    let auth = |client: usize| format!(r#"{{"userId":"u{client}"}}"#);
    let mut fleet = Fleet::connect(&|_| server.address(), clients, &auth)?;
    fleet.stay_silent(settle)?;
    Ok((server.rss()?.saturating_sub(before)) as f64 / clients as f64)
}
