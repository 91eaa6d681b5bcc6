//! Messages beside many connections that say nothing.

use bench_support::{
    benchmark::{Scenario, paces},
    fleet::{Fleet, Way},
    generator::{Pace, Times},
    groups::Groups,
    proc::connections,
    result::Result,
    server::Spec,
    spread::thousands,
    table::{Figures, Sample, Void},
};

use super::traffic::Traffic;

/// The traffic of few clients, first alone and then beside the others.
pub(crate) struct Beside {
    pub(crate) traffic: Traffic,
    /// How many connections there are then, if there may be so many.
    pub(crate) clients: usize,
}

impl Scenario for Beside {
    fn name(&self) -> String {
        let idle = self.clients() - self.traffic.clients();
        format!("{} beside {} idle", self.traffic.name, thousands(idle))
    }

    fn clients(&self) -> usize {
        connections(self.clients)
    }

    fn repeat_once(&self, spec: &Spec, times: Times) -> Vec<Sample> {
        let paces = paces(&self.name(), self.traffic.closed, self.traffic.open);
        let measured = self.measure(spec, &paces, times);
        let sample = |(number, (measure, _)): (usize, (String, Pace))| {
            let result = measured.as_ref().map(|figures| figures[number].clone());
            Sample { measure, result: result.map_err(Clone::clone) }
        };
        paces.iter().cloned().enumerate().map(sample).collect()
    }
}

impl Beside {
    fn measure(
        &self,
        spec: &Spec,
        paces: &[(String, Pace)],
        times: Times,
    ) -> Result<Vec<Figures>, Void> {
        let mut groups = Groups::of_neighbours(self.traffic.groups, self.traffic.members);
        groups.of_client.resize(self.clients(), None);
        let (server, mut fleet) = self.traffic.connect(spec)?;
        let all = |fleet: &mut Fleet| {
            let each = paces
                .iter()
                .map(|(_, pace)| self.traffic.measure(spec, &server, fleet, &groups, *pace, times));
            each.collect::<Result<Vec<_>, Void>>()
        };
        let alone = all(&mut fleet)?;
        let auth = |client: usize| format!(r#"{{"userId":"idle{client}"}}"#);
        let more = self.clients() - self.traffic.clients();
        fleet.connect(Way::default(), &|_| server.address(), more, &auth)?;
        let mut beside = all(&mut fleet)?;
        for (beside, alone) in beside.iter_mut().zip(alone) {
            beside
                .others
                .splice(0..0, [("alone µs", alone.cost), ("/alone", beside.cost / alone.cost)]);
        }
        Ok(beside)
    }
}
