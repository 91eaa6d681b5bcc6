//! All clients are cut at once, and come back as fast as they can.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use bench_support::{
    benchmark::Scenario,
    generator::Times,
    message::Kind,
    proc::{connections, own_cpu},
    returning::Heard,
    server::Spec,
    spread::thousands,
    table::{Figures, Sample, Void},
};

use super::{PATIENCE, ROOM, all_hear_one, connect};

pub(crate) struct Avalanche {
    /// How many are cut, if there may be so many.
    pub(crate) clients: usize,
    /// What each of them misses.
    pub(crate) messages: u64,
}

impl Scenario for Avalanche {
    fn name(&self) -> String {
        let missed = match self.messages {
            0 => String::new(),
            some => format!(", each has missed {some} messages"),
        };
        format!("avalanche: {} come back at once{missed}", thousands(self.clients()))
    }

    fn clients(&self) -> usize {
        connections(self.clients)
    }

    fn takes_part(&self, server: &Spec) -> bool {
        server.recovers || self.messages == 0
    }

    fn repeat_once(&self, spec: &Spec, _: Times) -> Vec<Sample> {
        vec![Sample { measure: self.name(), result: self.measure(spec) }]
    }
}

impl Avalanche {
    fn measure(&self, spec: &Spec) -> Result<Figures, Void> {
        let clients = self.clients();
        let (server, mut fleet) = connect(spec, clients)?;
        all_hear_one(&mut fleet, clients)?;
        let (cpu, own, start) = (server.cpu()?, own_cpu()?, Instant::now());
        (0..clients).for_each(|client| fleet.cut(client));
        if self.messages > 0 {
            // Nobody hears these but who says them.
            for number in 1..=self.messages {
                fleet.send(clients, Kind::Room.packet(ROOM, number).as_bytes())?;
            }
            fleet.receive(Duration::from_millis(200), |_, _| Ok(()))?;
        }
        let (recovered, heard) = (Cell::new(0), Cell::new(0));
        let mut count = |client: usize, packet: Heard<'_>| {
            match packet {
                Heard::Joined(is_former) => recovered.update(|it| it + u64::from(is_former)),
                Heard::Event(_) if client < clients => heard.update(|it| it + 1),
                Heard::Event(_) => {}
            }
            Ok(())
        };
        fleet.connect_all(clients, &mut count)?;
        let back = start.elapsed();
        let due = self.messages * clients as u64;
        let begin = Instant::now();
        loop {
            fleet.receive(Duration::from_millis(10), &mut count)?;
            if heard.get() >= due || begin.elapsed() > PATIENCE {
                break;
            }
        }
        let length = start.elapsed();
        let cpu = server.cpu()?.saturating_sub(cpu);
        let share = own_cpu()?.saturating_sub(own).as_secs_f64() / length.as_secs_f64();
        let percent = |part: u64, all: u64| part as f64 / all as f64 * 100.0;
        let (recovered, heard) = (recovered.get(), heard.get());
        if heard != due && !spec.name.starts_with("node") {
            return Err(Void::Failed(format!("{heard} of {due} deliveries")));
        }
        let mut others = vec![
            ("all have all ms", length.as_secs_f64() * 1e3),
            ("recovered %", percent(recovered, clients as u64)),
            ("µs CPU each", cpu.as_secs_f64() * 1e6 / clients as f64),
            ("load %", share * 100.0),
        ];
        if due > 0 {
            others.push(("delivered %", percent(heard, due)));
        }
        Ok(Figures { cost: back.as_secs_f64() * 1e3, unit: "ms", others })
    }
}
