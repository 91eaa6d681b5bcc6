//! Connections that say nothing: what they cost when they come, while they stay, and when they have
//! left.

use bench_support::{
    benchmark::Scenario,
    fleet::{Fleet, Way},
    generator::Times,
    proc::connections,
    result::Result,
    server::Spec,
    spread::thousands,
    table::{Figures, Sample, Void},
};

pub(crate) struct Idle {
    /// How many connect, if there may be so many.
    pub(crate) clients: usize,
    pub(crate) way: Way,
}

/// What is measured, with the unit of each.
const MEASURES: [(&str, &str); 3] =
    [("connect", "µs CPU"), ("RSS each", "kB"), ("RSS when all have left", "% of start")];

impl Scenario for Idle {
    fn name(&self) -> String {
        let way = match self.way {
            Way { polls: false, browser: false } => "",
            Way { polls: false, browser: true } => ", a browser's headers",
            Way { polls: true, browser: false } => " after polling",
            Way { polls: true, browser: true } => " after polling, a browser's headers",
        };
        format!("{} idle websockets{way}", thousands(self.clients()))
    }

    fn clients(&self) -> usize {
        connections(self.clients)
    }

    fn takes_part(&self, server: &Spec) -> bool {
        server.polls || !self.way.polls
    }

    fn repeat_once(&self, spec: &Spec, times: Times) -> Vec<Sample> {
        let measured = self.measure(spec, times).map_err(Void::from);
        let sample = |(number, (what, unit)): (usize, (&str, &'static str))| {
            let figures = |all: &[f64; 3]| Figures { cost: all[number], unit, others: Vec::new() };
            let result = measured.as_ref().map(figures).map_err(Clone::clone);
            Sample { measure: format!("{}: {what}", self.name()), result }
        };
        MEASURES.into_iter().enumerate().map(sample).collect()
    }
}

impl Idle {
    fn measure(&self, spec: &Spec, times: Times) -> Result<[f64; 3]> {
        let settle = times.warm_up * 4;
        let clients = self.clients() as f64;
        let server = spec.start()?;
        std::thread::sleep(settle);
        let (start, cpu) = (server.rss()? as f64, server.cpu()?);
        let auth = |client: usize| format!(r#"{{"userId":"u{client}"}}"#);
        let mut fleet = Fleet::new()?;
        fleet.connect(self.way, &|_| server.address(), self.clients(), &auth)?;
        let connect = server.cpu()?.saturating_sub(cpu).as_secs_f64() * 1e6 / clients;
        fleet.stay_silent(settle)?;
        let connected = server.rss()? as f64;
        drop(fleet);
        // Allocators take some time to give back what is free.
        std::thread::sleep(settle * 3);
        let left = server.rss()? as f64;
        Ok([connect, (connected - start) / clients, left / start * 100.0])
    }
}
