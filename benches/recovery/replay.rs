//! Clients that have missed very much: how fast they get it.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use bench_support::{
    benchmark::Scenario,
    generator::Times,
    message::Kind,
    proc::own_cpu,
    returning::Heard,
    server::Spec,
    table::{Figures, Sample, Void},
};

use super::{PATIENCE, ROOM, all_hear_one, connect, unless_busy};

/// Messages that are under way to the one that stays.
const IN_FLIGHT: u64 = 32;

pub(crate) struct Replay {
    pub(crate) clients: usize,
    /// What each of them misses.
    pub(crate) messages: u64,
}

impl Scenario for Replay {
    fn name(&self) -> String {
        format!("replay: {} messages to each of {}", self.messages, self.clients)
    }

    fn clients(&self) -> usize {
        self.clients
    }

    fn takes_part(&self, server: &Spec) -> bool {
        server.recovers
    }

    fn repeat_once(&self, spec: &Spec, _: Times) -> Vec<Sample> {
        vec![Sample { measure: self.name(), result: self.measure(spec) }]
    }
}

impl Replay {
    fn measure(&self, spec: &Spec) -> Result<Figures, Void> {
        let Self { clients, messages } = *self;
        let (server, mut fleet) = connect(spec, clients)?;
        all_hear_one(&mut fleet, clients)?;
        (0..clients).for_each(|client| fleet.cut(client));
        let (mut said, mut heard) = (1, 0);
        while heard < messages {
            while said <= messages && said < heard + IN_FLIGHT {
                fleet.send(clients, Kind::Room.packet(ROOM, said).as_bytes())?;
                said += 1;
            }
            fleet.receive(Duration::from_secs(1), |_, _| {
                heard += 1;
                Ok(())
            })?;
        }

        let (cpu, own, start) = (server.cpu()?, own_cpu()?, Instant::now());
        let mut next = vec![1; clients];
        let missed = Cell::new(messages * clients as u64);
        let progress = Cell::new(Instant::now());
        let mut take = |client: usize, packet: Heard<'_>| {
            let Heard::Event(packet) = packet else { return Ok(()) };
            // In order, or not at all.
            if Kind::Room.number(packet) != Some(next[client]) {
                return Err(format!("{} is due for client {client}", next[client]).into());
            }
            next[client] += 1;
            missed.update(|it| it - 1);
            progress.set(Instant::now());
            Ok(())
        };
        fleet.connect_all(clients, &mut take)?;
        while missed.get() > 0 && progress.get().elapsed() < PATIENCE {
            fleet.receive(Duration::from_millis(10), &mut take)?;
        }
        let length = start.elapsed().as_secs_f64();
        if missed.get() > 0 {
            let missed = missed.get();
            return Err(Void::Failed(format!("{missed} did not come")));
        }
        let cpu = server.cpu()?.saturating_sub(cpu).as_secs_f64();
        let share = own_cpu()?.saturating_sub(own).as_secs_f64() / length;
        unless_busy(share)?;
        let replayed = (messages * clients as u64) as f64;
        let others = vec![("each s", replayed / length), ("load %", share * 100.0)];
        Ok(Figures { cost: cpu * 1e6 / replayed, unit: "µs CPU", others })
    }
}
