//! How long a client that begins by polling waits when the server is far away.

use std::time::{Duration, Instant};

use bench_support::{
    benchmark::Scenario,
    delay::Delay,
    generator::Times,
    polling::Poller,
    result::Result,
    server::Spec,
    spread::Spread,
    table::{Figures, Sample, Void},
};

/// From the first request to the answer to CONNECT, and then to the acknowledgement of an event.
pub(crate) struct FirstAnswer;

/// How long bytes take to the server, and as long back.
const WAY: Duration = Duration::from_millis(10);
const CLIENTS: usize = 20;

impl Scenario for FirstAnswer {
    fn name(&self) -> String {
        "first answer to a polling client, 10 ms each way".to_owned()
    }

    fn clients(&self) -> usize {
        // Of the proxy, two files for each of three connections.
        CLIENTS * 6
    }

    fn takes_part(&self, server: &Spec) -> bool {
        server.polls
    }

    fn needs_node(&self) -> bool {
        true
    }

    fn repeat_once(&self, spec: &Spec, _: Times) -> Vec<Sample> {
        vec![Sample { measure: self.name(), result: measure(spec).map_err(Void::from) }]
    }
}

fn measure(spec: &Spec) -> Result<Figures> {
    let server = spec.start()?;
    let proxy = Delay::start(server.address(), WAY)?;
    let (mut connected, mut acknowledged) = (Vec::new(), Vec::new());
    for client in 0..CLIENTS {
        let start = Instant::now();
        let auth = format!(r#"{{"userId":"u{client}"}}"#);
        let mut poller = Poller::connect(proxy.address(), false, &auth)?;
        connected.push(start.elapsed().as_secs_f64() * 1e3);
        poller.poll()?;
        poller.post(r#"420["echo",1]"#)?;
        poller.await_packet("430[1]")?;
        acknowledged.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let median = |times| Spread::of(times).map_or(f64::NAN, |spread| spread.median);
    let others = vec![("event ms", median(acknowledged))];
    Ok(Figures { cost: median(connected), unit: "ms", others })
}
