//! One repetition of a scenario: a fresh cluster, its clients, and both paces.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use bench_support::{
    benchmark::{self, each_pace},
    fleet::Fleet,
    generator::{Generator, Order, Pace, Times},
    message::Kind,
    result::Result,
    server::Spec,
    table::Sample,
};

use crate::{
    latency::Latency,
    layout::{Layout, Scenario},
    nodes::{Cpu, Nodes},
};

/// CPU times are in microseconds for each delivery, of all processes of the cluster unless said
/// otherwise.
pub(crate) struct Figures {
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
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) overtaking: f64,
}

impl benchmark::Scenario for Scenario {
    type Value = Figures;

    fn name(&self) -> String {
        self.called()
    }

    fn clients(&self) -> usize {
        self.layout().nodes.len()
    }

    /// One node is the same for either format, so the variants are left out there.
    fn takes_part(&self, server: &Spec) -> bool {
        self.nodes > 1 || !matches!(server.name.as_str(), "node-sharded" | "all")
    }

    fn repeat_once(&self, server: &Spec, times: Times) -> Vec<Sample<Figures>> {
        let layout = self.layout();
        let paces = vec![
            (format!("{}, closed", self.called()), Pace::Closed(self.closed)),
            (format!("{}, open", self.called()), Pace::Open(self.open)),
        ];
        each_pace(
            paces,
            || connect(self, &layout, server),
            |(nodes, fleet), pace| {
                // What a node spends that has nothing to do.
                let quiet = match self.has_idle() {
                    true => Some(quiet(nodes, fleet, times.measured)?),
                    false => None,
                };
                let watch = Latency::new(&layout, matches!(pace, Pace::Open(_)));
                let generator =
                    Generator::new(fleet, &layout.groups, self.kind(), Order::Random, watch);
                let window = generator.measure(pace, times, server.keeps_order, || nodes.cpu())?;
                let (before, after) = (&window.before, &window.after);
                let spent =
                    after.nodes.iter().zip(&before.nodes).map(|(after, before)| *after - *before);
                let spent: Vec<Duration> = spent.collect();
                let idle_micros = quiet.zip(spent.last()).map(|(quiet, spent)| {
                    (spent.as_secs_f64() - quiet * window.length) * 1e6 / window.sent as f64
                });
                let redis_micros = window.micros_each(after.redis - before.redis);
                Ok(Figures {
                    cpu_micros: window.micros_each(spent.iter().sum()) + redis_micros,
                    redis_micros,
                    idle_micros,
                    per_second: window.per_second(),
                    own_cores: window.own_cores,
                    remote: window.watch.remote() as f64 / window.delivered as f64,
                    p50_ms: window.watch.percentile(0.5),
                    p99_ms: window.watch.percentile(0.99),
                    overtaking: window.overtaking,
                })
            },
        )
    }
}

fn connect(scenario: &Scenario, layout: &Layout, server: &Spec) -> Result<(Nodes, Fleet)> {
    let nodes = Nodes::start(server, scenario.processes())?;
    let auth = |client: usize| match layout.groups.of_client[client] {
        None => format!(r#"{{"userId":"idle{client}"}}"#),
        Some(group) if scenario.kind() == Kind::User => format!(r#"{{"userId":"u{group}"}}"#),
        Some(group) => format!(r#"{{"userId":"c{client}","room":"r{group}"}}"#),
    };
    let address = |client: usize| nodes.address(layout.nodes[client]);
    let fleet = Fleet::connect(&address, layout.nodes.len(), &auth)?;
    // A server may tell the client before it has joined the rooms, and before Redis knows of it.
    sleep(Duration::from_millis(500));
    Ok((nodes, fleet))
}

/// The share of a core that the last node takes while nothing is sent.
fn quiet(nodes: &Nodes, fleet: &mut Fleet, length: Duration) -> Result<f64> {
    let (start, before) = (Instant::now(), nodes.cpu()?);
    fleet.stay_silent(length)?;
    let after = nodes.cpu()?;
    let last = |cpu: &Cpu| cpu.nodes.last().copied().unwrap_or_default();
    Ok((last(&after) - last(&before)).as_secs_f64() / start.elapsed().as_secs_f64())
}
