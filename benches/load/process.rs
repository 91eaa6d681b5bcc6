//! The servers: started and stopped here, their CPU time and memory read from `/proc`.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::Result;

/// The argument that makes this program the plain server.
pub(crate) const SERVE_PLAIN: &str = "serve-plain";

/// The argument that makes this program the floor.
pub(crate) const SERVE_FLOOR: &str = "serve-floor";

/// What is started.
#[derive(Clone, Debug)]
pub(crate) enum Program {
    At(PathBuf),
    /// This program with an argument, [`SERVE_PLAIN`] or [`SERVE_FLOOR`].
    Own(&'static str),
}

/// A server to measure.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) program: Program,
    pub(crate) variables: Vec<(String, String)>,
}

impl Spec {
    /// Whether the server promises to keep the order of one sender's events. Plain socketioxide
    /// does not.
    pub(crate) fn keeps_order(&self) -> bool {
        !matches!(self.program, Program::Own(SERVE_PLAIN))
    }
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts a server on a free port and waits until it accepts connections.
    pub(crate) fn start(spec: &Spec) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = match &spec.program {
            Program::At(path) => Command::new(path),
            Program::Own(argument) => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg(argument);
                command
            }
        };
        let child = command
            .env("PORT", address.port().to_string())
            .envs(spec.variables.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start {:?}: {error}", spec.program))?;
        let mut server = Self { child, address };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(address).is_err() {
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("the server ended at once: {status}").into());
            }
            if Instant::now() > deadline {
                return Err("the server does not listen".into());
            }
            sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    /// CPU time so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        cpu(&self.child.id().to_string())
    }

    /// Memory in use, in kB.
    pub(crate) fn rss(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next());
        Ok(kilobytes.ok_or("no VmRSS in /proc")?.parse()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time of this process so far.
pub(crate) fn own_cpu() -> Result<Duration> {
    cpu("self")
}

/// User and system time of all threads of a process. The scheduler's own count is in nanoseconds;
/// where the kernel does not have it, the one in ticks of 10 ms serves.
pub(crate) fn cpu(process: &str) -> Result<Duration> {
    let mut nanoseconds = 0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let Ok(line) = fs::read_to_string(task?.path().join("schedstat")) else {
            return ticks(process);
        };
        nanoseconds += line.split_whitespace().next().ok_or("empty schedstat")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

fn ticks(process: &str) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The program's name stands in parentheses and may have spaces; utime and stime are the 12th
    // and 13th field behind it.
    let (_, fields) = stat.rsplit_once(')').ok_or("malformed /proc/*/stat")?;
    let times = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks = times.sum::<std::result::Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// How many files this process may open.
pub(crate) fn open_files_limit() -> Result<usize> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    Ok(match soft.ok_or("no limit of open files in /proc")? {
        "unlimited" => usize::MAX,
        number => number.parse()?,
    })
}
