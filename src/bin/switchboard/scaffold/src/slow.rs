//! Which events take long.

use std::time::{Duration, Instant};

use switchboard::{
    Event,
    interceptor::{Outcome, Rest},
};

const LONG: Duration = Duration::from_millis(250);

/// An interceptor: what stands above `rest.run` sees the event, what stands below sees what became
/// of it.
pub(crate) async fn log_slow(event: Event, rest: Rest) -> Outcome {
    let started = Instant::now();
    let outcome = rest.run(event.clone()).await;
    let took = started.elapsed();
    if took > LONG {
        let took_ms = took.as_millis();
        tracing::warn!(event.name = event.name(), took_ms, "an event took long");
    }
    outcome
}
