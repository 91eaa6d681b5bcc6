//! The memory of sessions whose clients are away.

use std::{thread::sleep, time::Duration};

use bench_support::{
    benchmark::Scenario,
    generator::Times,
    proc::connections,
    result::Result,
    server::Spec,
    spread::thousands,
    table::{Figures, Sample, Void},
};

use super::connect;

/// How long a server is given to start.
const SETTLE: Duration = Duration::from_secs(2);
/// How long allocators take to give back what is free.
const DECAY: Duration = Duration::from_secs(15);

pub(crate) struct Kept {
    /// How many there are, if there may be so many.
    pub(crate) clients: usize,
}

impl Scenario for Kept {
    fn name(&self) -> String {
        format!("{} kept sessions", thousands(self.clients()))
    }

    fn clients(&self) -> usize {
        connections(self.clients)
    }

    fn repeat_once(&self, spec: &Spec, _: Times) -> Vec<Sample> {
        let result = self.measure(spec).map_err(Void::from);
        vec![Sample { measure: format!("{}: RSS each", self.name()), result }]
    }
}

impl Kept {
    /// Compare with the same server without recovery, whose allocator keeps something, too.
    fn measure(&self, spec: &Spec) -> Result<Figures> {
        let server = spec.start()?;
        sleep(SETTLE);
        let start = server.rss()? as f64;
        drop(server);
        let clients = self.clients();
        let (server, mut fleet) = connect(spec, clients)?;
        let connected = server.rss()? as f64;
        (0..clients).for_each(|client| fleet.cut(client));
        sleep(DECAY);
        let each = |rss: f64| (rss - start) * 1024.0 / clients as f64;
        let others = vec![("connected", each(connected))];
        Ok(Figures { cost: each(server.rss()? as f64), unit: "bytes", others })
    }
}
