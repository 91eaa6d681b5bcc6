//! What Linux tells of a process in `/proc`: CPU time, memory, the limit of open files.

use std::{fs, time::Duration};

use crate::result::Result;

/// CPU time of this process so far.
///
/// # Errors
/// If `/proc` does not tell.
pub fn own_cpu() -> Result<Duration> {
    cpu("self")
}

/// User and system time of all threads of a process so far. The scheduler's own count is in
/// nanoseconds; where the kernel does not have it, the one in ticks of 10 ms serves.
///
/// # Errors
/// If `/proc` does not tell.
pub fn cpu(process: &str) -> Result<Duration> {
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

/// Resident memory of a process, in kB.
///
/// # Errors
/// If `/proc` does not tell.
pub fn rss(process: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    Ok(kilobytes.ok_or("no VmRSS in /proc")?.parse()?)
}

/// How many connections there may be if `wanted` are: a server has the same limit as its clients, and
/// both have some other files.
#[must_use]
pub fn connections(wanted: usize) -> usize {
    open_files_limit().map_or(wanted, |limit| wanted.min(limit.saturating_sub(200)))
}

/// How many files this process may open.
///
/// # Errors
/// If `/proc` does not tell.
pub fn open_files_limit() -> Result<usize> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    Ok(match soft.ok_or("no limit of open files in /proc")? {
        "unlimited" => usize::MAX,
        number => number.parse()?,
    })
}
