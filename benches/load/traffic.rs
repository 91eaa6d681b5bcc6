//! Messages between the clients of one server.

use std::{thread::sleep, time::Duration};

use bench_support::{
    benchmark::{Scenario, each_pace, paces},
    fleet::{Fleet, Way},
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
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) groups: usize,
    pub(crate) members: usize,
    /// Messages in flight for each group, each number a measurement of its own.
    pub(crate) closed: &'static [usize],
    pub(crate) open: u32,
}

impl Scenario for Traffic {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn clients(&self) -> usize {
        self.groups * self.members
    }

    fn repeat_once(&self, spec: &Spec, times: Times) -> Vec<Sample> {
        let groups = Groups::of_neighbours(self.groups, self.members);
        each_pace(
            paces(self.name, self.closed, self.open),
            || self.connect(spec),
            |(server, fleet), pace| self.measure(spec, server, fleet, &groups, pace, times),
        )
    }
}

impl Traffic {
    pub(crate) fn measure(
        &self,
        spec: &Spec,
        server: &Listening,
        fleet: &mut Fleet,
        groups: &Groups,
        pace: Pace,
        times: Times,
    ) -> Result<Figures, Void> {
        let watch = Latency::new(groups, None, matches!(pace, Pace::Open(_)));
        let generator = Generator::new(fleet, groups, self.kind, Order::InTurn, watch);
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
    }

    /// A fresh server, and the clients of all groups.
    pub(crate) fn connect(&self, spec: &Spec) -> Result<(Listening, Fleet)> {
        let server = spec.start()?;
        let auth = |client: usize| match self.kind {
            Kind::Echo => format!(r#"{{"userId":"u{client}"}}"#),
            Kind::Events => format!(r#"{{"userId":"u{}"}}"#, client / self.members),
            Kind::Room | Kind::User => {
                format!(r#"{{"userId":"u{client}","room":"r{}"}}"#, client / self.members)
            }
        };
        let mut fleet = Fleet::new()?;
        fleet.connect(Way::default(), &|_| server.address(), self.groups * self.members, &auth)?;
        // A server may tell the client before it has joined the rooms.
        sleep(Duration::from_millis(200));
        Ok((server, fleet))
    }
}
