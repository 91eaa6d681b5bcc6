//! A child process that listens on a port of its own: started, waited for, killed.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{proc, result::Result};

/// How long a process may take until it listens.
const PATIENCE: Duration = Duration::from_secs(10);

/// A process that accepts connections; killed when dropped.
pub struct Listening {
    child: Child,
    address: SocketAddr,
}

impl Listening {
    /// Starts the process that `command` describes for a free address, and waits until it accepts
    /// connections there. Its standard output is thrown away.
    ///
    /// # Errors
    /// If it cannot be started, ends at once, or does not listen within ten seconds.
    pub fn start(name: &str, command: impl FnOnce(SocketAddr) -> Command) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let child = command(address)
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start {name}: {error}"))?;
        let mut process = Self { child, address };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            if let Some(status) = process.child.try_wait()? {
                return Err(format!("{name} ended at once: {status}").into());
            }
            if Instant::now() > deadline {
                return Err(format!("{name} does not listen").into());
            }
            sleep(Duration::from_millis(10));
        }
        Ok(process)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// CPU time so far.
    ///
    /// # Errors
    /// If `/proc` does not tell.
    pub fn cpu(&self) -> Result<Duration> {
        proc::cpu(&self.child.id().to_string())
    }

    /// Resident memory, in kB.
    ///
    /// # Errors
    /// If `/proc` does not tell.
    pub fn rss(&self) -> Result<u64> {
        proc::rss(&self.child.id().to_string())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
