//! The operating system's figures for this process, under the names that every Prometheus client
//! library uses. Empty where there is no `/proc`.

use super::families::Families;

/// Figures of this process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process {
    cpu_seconds: f64,
    resident_bytes: u64,
    virtual_bytes: u64,
    open_fds: usize,
    max_fds: Option<u64>,
    threads: i64,
    /// Since the Unix epoch.
    started_s: f64,
}

impl Process {
    /// Reads the figures. Blocks while the open files are counted.
    #[cfg(target_os = "linux")]
    pub(crate) fn read() -> Option<Self> {
        let read = || -> procfs::ProcResult<Self> {
            let itself = procfs::process::Process::myself()?;
            let stat = itself.stat()?;
            let ticks = procfs::ticks_per_second() as f64;
            let limit = itself.limits()?.max_open_files.soft_limit;
            Ok(Self {
                cpu_seconds: (stat.utime + stat.stime) as f64 / ticks,
                resident_bytes: stat.rss * procfs::page_size(),
                virtual_bytes: stat.vsize,
                open_fds: itself.fd_count()?,
                max_fds: match limit {
                    procfs::process::LimitValue::Value(limit) => Some(limit),
                    procfs::process::LimitValue::Unlimited => None,
                },
                threads: stat.num_threads,
                started_s: procfs::boot_time_secs()? as f64 + stat.starttime as f64 / ticks,
            })
        };
        read().inspect_err(|error| tracing::debug!(%error, "cannot read about this process")).ok()
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn read() -> Option<Self> {
        None
    }

    pub(super) fn write(&self, to: &mut Families<'_>) -> std::fmt::Result {
        to.counter_of("process_cpu_seconds", "CPU time used, in seconds.", self.cpu_seconds)?;
        let resident = self.resident_bytes as f64;
        to.gauge("process_resident_memory_bytes", "Memory in use (RSS).", resident)?;
        let virtual_memory = self.virtual_bytes as f64;
        to.gauge("process_virtual_memory_bytes", "Address space in use.", virtual_memory)?;
        to.gauge("process_open_fds", "Open files and connections.", self.open_fds as f64)?;
        if let Some(max) = self.max_fds {
            to.gauge("process_max_fds", "Most open files and connections allowed.", max as f64)?;
        }
        to.gauge("process_threads", "Threads.", self.threads as f64)?;
        let started = self.started_s;
        to.gauge(
            "process_start_time_seconds",
            "Start of the process, in seconds since 1970.",
            started,
        )
    }
}
