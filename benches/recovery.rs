//! Clients that are cut and come back: what they get, and what it costs their server.

mod avalanche;
mod jitter;
mod kept;
mod replay;

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use avalanche::Avalanche;
use bench_support::{
    benchmark::Scenario,
    message::Kind,
    process::Listening,
    result::Result,
    returning::{Heard, Returning},
    server::Spec,
    table::Void,
};
use jitter::Jitter;
use kept::Kept;
use replay::Replay;

/// All scenarios; with `quick` of a size that takes little time.
pub(crate) fn all(quick: bool) -> Vec<Box<dyn Scenario>> {
    let (some, many) = if quick { (200, 500) } else { (2000, 10_000) };
    let jitter = |clients| Box::new(Jitter { clients, messages: 100 }) as Box<dyn Scenario>;
    vec![
        jitter(some),
        jitter(many),
        Box::new(Avalanche { clients: many / 2, messages: 0 }),
        Box::new(Avalanche { clients: many / 2, messages: 10 }),
        Box::new(Replay { clients: 20, messages: if quick { 500 } else { 5000 } }),
        Box::new(Kept { clients: many }),
    ]
}

/// The room that everybody is in, as the scenarios' packets call it.
const ROOM: usize = 0;

/// How long nothing that is due may come before it is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// A fresh server and so many clients in the room, and one more that is not cut, and speaks.
fn connect(spec: &Spec, clients: usize) -> Result<(Listening, Returning)> {
    let server = spec.start()?;
    let auth = |client| format!(r#"{{"userId":"u{client}","room":"r{ROOM}"}}"#);
    let mut returning = Returning::new(server.address(), (0..=clients).map(auth))?;
    returning.connect_all(clients + 1, |_, heard| match heard {
        Heard::Joined(_) => Ok(()),
        Heard::Event(_) => Err("an event that nobody has sent".into()),
    })?;
    // A server may tell the client before it has joined the rooms.
    sleep(Duration::from_millis(300));
    Ok((server, returning))
}

/// Says one message to all: an offset is what makes a client ask for its session.
fn all_hear_one(fleet: &mut Returning, speaker: usize) -> Result<()> {
    fleet.send(speaker, Kind::Room.packet(ROOM, 0).as_bytes())?;
    let (mut heard, begin) = (0, Instant::now());
    while heard <= speaker {
        fleet.receive(Duration::from_millis(100), |_, _| {
            heard += 1;
            Ok(())
        })?;
        if begin.elapsed() > PATIENCE {
            return Err(format!("only {heard} clients have heard the first message").into());
        }
    }
    Ok(())
}

/// The share of a core above which the generator is taken for the bottleneck.
const BUSY: f64 = 0.95;

/// The run is void if the generator took that much of a core.
fn unless_busy(share: f64) -> Result<(), Void> {
    match share > BUSY {
        true => Err(Void::Bottleneck(format!("the generator took {:.0} % of a core", share * 1e2))),
        false => Ok(()),
    }
}
