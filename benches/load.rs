//! One server: what messages and connections cost it.

mod answer;
mod beside;
mod idle;
mod traffic;

use answer::FirstAnswer;
use bench_support::{benchmark::Scenario, fleet::Way, message::Kind};
use beside::Beside;
use idle::Idle;
use traffic::Traffic;

/// Messages in flight: the fewer there are, the less can be written together.
const EACH: &[usize] = &[16, 4, 2, 1];

/// All scenarios; with `quick` of a size that takes little time.
pub(crate) fn all(quick: bool) -> Vec<Box<dyn Scenario>> {
    let traffic = |name, kind, (groups, members), closed, open| Traffic {
        name,
        kind,
        groups,
        members,
        closed,
        open,
    };
    let (some, many) = if quick { (1000, 5000) } else { (5000, 20_000) };
    vec![
        Box::new(traffic("echo", Kind::Echo, (100, 1), EACH, 1000)),
        Box::new(traffic("room of 10", Kind::Room, (20, 10), EACH, 200)),
        Box::new(traffic("room of 100", Kind::Room, (4, 100), EACH, 40)),
        Box::new(traffic("room of 1,000", Kind::Room, (1, 1000), EACH, 5)),
        Box::new(traffic("events, user with 2 sockets", Kind::Events, (100, 2), &[4], 500)),
        Box::new(Beside {
            traffic: traffic("room of 100", Kind::Room, (4, 100), &[4], 40),
            clients: many,
        }),
        Box::new(Idle { clients: some, way: Way::default() }),
        Box::new(Idle { clients: some, way: Way { polls: false, browser: true } }),
        Box::new(Idle { clients: some, way: Way { polls: true, browser: false } }),
        Box::new(Idle { clients: some, way: Way { polls: true, browser: true } }),
        Box::new(Idle { clients: many, way: Way::default() }),
        Box::new(Idle { clients: many, way: Way { polls: false, browser: true } }),
        Box::new(FirstAnswer),
    ]
}
