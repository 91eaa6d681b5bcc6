//! Clients on bad networks: each is cut once, for one to five seconds, while numbered messages are
//! said to all.

use std::time::{Duration, Instant};

use bench_support::{
    benchmark::Scenario,
    generator::Times,
    groups::Dice,
    message::Kind,
    proc::{connections, own_cpu},
    result::Result,
    returning::{Heard, Returning},
    server::Spec,
    spread::thousands,
    table::{Figures, Sample, Void},
};

use super::{PATIENCE, ROOM, connect, unless_busy};

/// The time between two messages.
const PACE: Duration = Duration::from_millis(100);

pub(crate) struct Jitter {
    /// How many are cut, if there may be so many.
    pub(crate) clients: usize,
    pub(crate) messages: u64,
}

impl Scenario for Jitter {
    fn name(&self) -> String {
        let (clients, messages) = (thousands(self.clients()), self.messages);
        format!("jitter: {messages} messages to {clients} that are cut")
    }

    fn clients(&self) -> usize {
        connections(self.clients)
    }

    fn takes_part(&self, server: &Spec) -> bool {
        server.recovers
    }

    fn needs_node(&self) -> bool {
        true
    }

    fn repeat_once(&self, spec: &Spec, _: Times) -> Vec<Sample> {
        vec![Sample { measure: self.name(), result: self.measure(spec) }]
    }
}

/// What one client is to do, and what it has heard.
#[derive(Clone)]
struct Course {
    cut_at: Duration,
    back_at: Duration,
    is_cut: bool,
    is_back: bool,
    /// When it began to come back.
    back: Option<Instant>,
    heard: Vec<bool>,
    missing: u64,
    repeated: u64,
    recovered: bool,
}

/// All clients.
struct Run {
    courses: Vec<Course>,
    /// When the last message was said.
    said: Option<Instant>,
    /// The time from the last message, or its return, in which the slowest client had everything.
    slowest: Duration,
    complete: usize,
    progress: Instant,
}

impl Jitter {
    fn measure(&self, spec: &Spec) -> Result<Figures, Void> {
        let clients = self.clients();
        let (server, mut fleet) = connect(spec, clients)?;
        let mut run = Run::new(clients, self.messages);
        let (start, cpu, own) = (Instant::now(), server.cpu()?, own_cpu()?);
        let mut latest = Duration::ZERO;
        let mut said = 0;
        while run.complete < clients && !run.is_stuck() {
            let due = PACE * u32::try_from(said).unwrap_or(u32::MAX);
            if said < self.messages && start.elapsed() >= due {
                latest = latest.max(start.elapsed().saturating_sub(due));
                fleet.send(clients, Kind::Room.packet(ROOM, said).as_bytes())?;
                said += 1;
                if said == self.messages {
                    run.said = Some(Instant::now());
                }
            }
            run.cut_and_return(start.elapsed(), &mut fleet)?;
            fleet.receive(Duration::from_millis(5), |client, heard| run.hear(client, &heard))?;
        }
        // What would come twice has a moment to come.
        fleet.receive(Duration::from_millis(50), |client, heard| run.hear(client, &heard))?;
        let length = start.elapsed().as_secs_f64();
        let cpu = server.cpu()?.saturating_sub(cpu);
        let share = own_cpu()?.saturating_sub(own).as_secs_f64() / length;
        unless_busy(share)?;
        let due = self.messages * clients as u64;
        let missing: u64 = run.courses.iter().map(|course| course.missing).sum();
        let repeated: u64 = run.courses.iter().map(|course| course.repeated).sum();
        if (missing > 0 || repeated > 0) && !spec.name.starts_with("node") {
            let reason = format!("{missing} of {due} deliveries missing, {repeated} twice");
            return Err(Void::Failed(reason));
        }
        let percent = |part: f64, all: f64| part / all * 100.0;
        let recovered = run.courses.iter().filter(|course| course.recovered).count();
        Ok(Figures {
            cost: cpu.as_secs_f64() * 1e6 / (due - missing) as f64,
            unit: "µs CPU",
            others: vec![
                ("delivered %", percent((due - missing) as f64, due as f64)),
                ("repeated", repeated as f64),
                ("recovered %", percent(recovered as f64, clients as f64)),
                ("all have all ms", run.slowest.as_secs_f64() * 1e3),
                ("late ms", latest.as_secs_f64() * 1e3),
                ("load %", share * 100.0),
            ],
        })
    }
}

impl Run {
    fn new(clients: usize, messages: u64) -> Self {
        let mut dice = Dice::default();
        let length = PACE.as_millis() as usize * messages as usize;
        let mut millis =
            |low: usize, high: usize| Duration::from_millis((low + dice.below(high - low)) as u64);
        let mut course = || {
            // It has heard the first one: who has no offset has nothing to go on from.
            let cut_at = millis(PACE.as_millis() as usize * 5, length);
            Course {
                cut_at,
                back_at: cut_at + millis(1000, 5000),
                is_cut: false,
                is_back: false,
                back: None,
                heard: vec![false; messages as usize],
                missing: messages,
                repeated: 0,
                recovered: false,
            }
        };
        Self {
            courses: (0..clients).map(|_| course()).collect(),
            said: None,
            slowest: Duration::ZERO,
            complete: 0,
            progress: Instant::now(),
        }
    }

    /// Whether nothing comes any more that is due.
    fn is_stuck(&self) -> bool {
        let all_back = self.courses.iter().all(|course| course.is_back);
        self.said.is_some() && all_back && self.progress.elapsed() > PATIENCE
    }

    fn cut_and_return(&mut self, now: Duration, fleet: &mut Returning) -> Result<()> {
        for (client, course) in self.courses.iter_mut().enumerate() {
            if !course.is_cut && now >= course.cut_at {
                course.is_cut = true;
                fleet.cut(client);
            } else if course.is_cut && !course.is_back && now >= course.back_at {
                course.is_back = true;
                course.back = Some(Instant::now());
                self.progress = Instant::now();
                fleet.connect(client)?;
            }
        }
        Ok(())
    }

    fn hear(&mut self, client: usize, heard: &Heard<'_>) -> Result<()> {
        self.progress = Instant::now();
        // Whoever speaks is nobody's receiver.
        let Some(course) = self.courses.get_mut(client) else { return Ok(()) };
        let packet = match heard {
            Heard::Joined(is_former) => {
                course.recovered = *is_former;
                return Ok(());
            }
            Heard::Event(packet) => packet,
        };
        let number = Kind::Room.number(packet);
        let number = number.ok_or_else(|| format!("{:?}", String::from_utf8_lossy(packet)))?;
        if std::mem::replace(&mut course.heard[number as usize], true) {
            course.repeated += 1;
            return Ok(());
        }
        course.missing -= 1;
        if course.missing == 0 {
            self.complete += 1;
            if let Some(due) = self.said.max(course.back) {
                self.slowest = self.slowest.max(due.elapsed());
            }
        }
        Ok(())
    }
}
