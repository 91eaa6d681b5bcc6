//! What is measured: the scenarios, and one repetition of each.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    Result,
    fleet::Fleet,
    process::{Server, Spec, open_files_limit},
    run::{Measurement, Pace, Run, Times},
    wire::Kind,
};

/// Messages between clients that connect once; each pace is measured on its own.
#[derive(Clone, Debug)]
pub(crate) struct Traffic {
    pub(crate) name: &'static str,
    kind: Kind,
    groups: usize,
    members: usize,
    /// Messages in flight for each group, each number a measurement of its own.
    closed: &'static [usize],
    open: u32,
}

#[derive(Clone, Debug)]
pub(crate) enum Scenario {
    Traffic(Traffic),
    /// The memory of clients that are connected and silent.
    Idle {
        clients: usize,
    },
}

/// What one repetition of a scenario gave, under the name that the table has for it.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) measure: String,
    pub(crate) value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Traffic(Measurement),
    /// kB of resident memory for each connection.
    Memory(f64),
    /// The run is void, and why.
    Failed(String),
}

/// All scenarios; with `quick` of a size that shows whether they work, not what they cost.
pub(crate) fn all(quick: bool) -> Vec<Scenario> {
    let traffic = |name, kind, (groups, members), closed, open| {
        Scenario::Traffic(Traffic { name, kind, groups, members, closed, open })
    };
    vec![
        traffic("echo", Kind::Echo, (100, 1), &[4], 1000),
        traffic("room of 10", Kind::Room, (20, 10), &[20], 200),
        traffic("room of 100", Kind::Room, (4, 100), &[16], 40),
        // The fewer there are, the less can be written together.
        traffic("room of 1,000", Kind::Room, (1, 1000), &[16, 4, 2, 1], 5),
        traffic("events, user with 2 sockets", Kind::Events, (100, 2), &[4], 500),
        Scenario::Idle { clients: if quick { 200 } else { 5000 } },
    ]
}

impl Scenario {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Traffic(traffic) => traffic.name,
            Self::Idle { .. } => "idle",
        }
    }

    /// How many clients connect.
    fn clients(&self) -> usize {
        match self {
            Self::Traffic(traffic) => traffic.groups * traffic.members,
            Self::Idle { clients } => *clients,
        }
    }

    /// Refuses to start what the limit of open files would end in the middle.
    pub(crate) fn check_limits(&self) -> Result<()> {
        let (needed, limit) = (self.clients() + 100, open_files_limit()?);
        if needed > limit {
            let name = self.name();
            let advice = format!("{name}: raise the limit of open files: ulimit -n {needed}");
            return Err(advice.into());
        }
        Ok(())
    }

    /// Runs the scenario once against a fresh process of the server.
    pub(crate) fn repeat_once(&self, spec: &Spec, times: Times) -> Vec<Sample> {
        match self {
            Self::Traffic(traffic) => traffic.repeat_once(spec, times),
            Self::Idle { clients } => {
                let value = match idle(spec, *clients, times.warm_up * 4) {
                    Ok(kilobytes) => Value::Memory(kilobytes),
                    Err(error) => Value::Failed(error.to_string()),
                };
                vec![Sample { measure: "idle websocket, RSS in kB".to_owned(), value }]
            }
        }
    }
}

impl Traffic {
    fn repeat_once(&self, spec: &Spec, times: Times) -> Vec<Sample> {
        let closed = self.closed.iter().map(|in_flight| {
            let few = match self.closed.first() {
                Some(most) if most == in_flight => String::new(),
                _ => format!(", {in_flight} in flight"),
            };
            (format!("{}, closed{few}", self.name), Pace::Closed(*in_flight))
        });
        let open = (format!("{}, open", self.name), Pace::Open(self.open));
        let paces: Vec<_> = closed.chain([open]).collect();
        let (server, mut fleet) = match self.connect(spec) {
            Ok(connected) => connected,
            Err(error) => {
                let failed = Value::Failed(error.to_string());
                let sample = |(measure, _)| Sample { measure, value: failed.clone() };
                return paces.into_iter().map(sample).collect();
            }
        };
        let mut samples = Vec::new();
        for (measure, pace) in paces {
            let run = Run::new(&mut fleet, &server, self.kind, (self.groups, self.members));
            let value = match run.measure(pace, times) {
                Ok(measured) => judge(measured, spec),
                Err(error) => Value::Failed(error.to_string()),
            };
            let failed = matches!(value, Value::Failed(_));
            samples.push(Sample { measure, value });
            if failed {
                // What is still under way would be taken for messages of the next pace.
                break;
            }
        }
        samples
    }

    fn connect(&self, spec: &Spec) -> Result<(Server, Fleet)> {
        let server = Server::start(spec)?;
        let auth = |client: usize| match self.kind {
            Kind::Echo => format!(r#"{{"userId":"u{client}"}}"#),
            Kind::Events => format!(r#"{{"userId":"u{}"}}"#, client / self.members),
            Kind::Room | Kind::User => {
                format!(r#"{{"userId":"u{client}","room":"r{}"}}"#, client / self.members)
            }
        };
        let fleet = Fleet::connect(&|_| server.address, self.groups * self.members, &auth)?;
        // A server may tell the client before it has joined the rooms.
        sleep(Duration::from_millis(200));
        Ok((server, fleet))
    }
}

/// A lost or repeated delivery voids the run; so does a wrong order where order is promised.
fn judge(measured: Measurement, spec: &Spec) -> Value {
    let Measurement { missing, duplicate, overtaking, delivered, .. } = measured;
    if missing > 0 || duplicate > 0 || (overtaking > 0 && spec.keeps_order()) {
        Value::Failed(format!(
            "{missing} deliveries missing, {duplicate} twice, {overtaking} out of order, \
             {delivered} arrived"
        ))
    } else {
        Value::Traffic(measured)
    }
}

/// The memory of a connection: what the server has more with them all than it had before.
fn idle(spec: &Spec, clients: usize, settle: Duration) -> Result<f64> {
    let server = Server::start(spec)?;
    sleep(settle);
    let before = server.rss()?;
    let auth = |client: usize| format!(r#"{{"userId":"u{client}"}}"#);
    let mut fleet = Fleet::connect(&|_| server.address, clients, &auth)?;
    let settled = Instant::now() + settle;
    while Instant::now() < settled {
        fleet.receive(Duration::from_millis(50), |client, _| {
            Err(format!("idle client {client} got an event").into())
        })?;
    }
    Ok((server.rss()?.saturating_sub(before)) as f64 / clients as f64)
}
