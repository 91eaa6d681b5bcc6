//! One repetition of a scenario: a fresh cluster, its clients, and both paces.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use bench_support::{
    benchmark::{self, each_pace, paces},
    fleet::{Fleet, Way},
    generator::{Generator, Pace, Times},
    latency::Latency,
    message::Kind,
    result::Result,
    server::Spec,
    table::{Figures, Sample},
};

use super::{
    layout::{Layout, Scenario},
    nodes::{Cpu, Nodes},
};

impl benchmark::Scenario for Scenario {
    fn name(&self) -> String {
        self.called()
    }

    fn clients(&self) -> usize {
        self.layout().nodes.len()
    }

    /// One node is the same for either format, so the variants are left out there.
    fn takes_part(&self, server: &Spec) -> bool {
        let variants = ["node-sharded", "node-streams", "streams", "all"];
        self.nodes > 1 || !variants.contains(&server.name.as_str())
    }

    fn repeat_once(&self, server: &Spec, times: Times) -> Vec<Sample> {
        let layout = self.layout();
        each_pace(
            paces(&self.called(), self.closed, self.open),
            || connect(self, &layout, server),
            |(nodes, fleet), pace| {
                // What a node spends that has nothing to do.
                let quiet = match self.has_idle() {
                    true => Some(quiet(nodes, fleet, times.measured)?),
                    false => None,
                };
                let watch = Latency::new(
                    &layout.groups,
                    Some(&layout.nodes),
                    matches!(pace, Pace::Open(_)),
                );
                let generator =
                    Generator::new(fleet, &layout.groups, self.kind(), self.order(), watch);
                let window = generator.measure(pace, times, server.keeps_order, || nodes.cpu())?;
                let (before, after) = (&window.before, &window.after);
                let spent =
                    after.nodes.iter().zip(&before.nodes).map(|(after, before)| *after - *before);
                let spent: Vec<Duration> = spent.collect();
                let idle_micros = quiet.zip(spent.last()).map(|(quiet, spent)| {
                    (spent.as_secs_f64() - quiet * window.length) * 1e6 / window.sent as f64
                });
                let redis_micros = window.micros_each(after.redis - before.redis);
                let cost = window.micros_each(spent.iter().sum()) + redis_micros;
                let remote = window.watch.counted() as f64 / window.delivered as f64;
                let mut others = vec![
                    ("Redis µs", redis_micros),
                    ("each s", window.per_second()),
                    ("load %", window.own_cores * 100.0),
                    ("overtaking %", window.overtaking * 100.0),
                    ("remote %", remote * 100.0),
                ];
                let mut add = |name, value: Option<f64>| others.extend(value.map(|it| (name, it)));
                add("p50 ms", window.watch.percentile(0.5));
                add("p99 ms", window.watch.percentile(0.99));
                add("idle µs", idle_micros);
                window.counts(Figures { cost, unit: "µs CPU", others })
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
    let mut fleet = Fleet::new()?;
    fleet.connect(Way::default(), &address, layout.nodes.len(), &auth)?;
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
