//! What the kernel tells of processes: CPU time and memory. Linux only.

use std::fs;

use anyhow::Context;

/// The unit of CPU times in `/proc`, the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

struct Times {
    parent: u32,
    own: u64,
    reaped_children: u64,
}

fn times(pid: u32) -> anyhow::Result<Times> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // What is in brackets is the program's name, which may hold anything.
    let (_, fields) = stat.rsplit_once(')').context("no such line as a process's stat")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let number = |nth: usize| -> anyhow::Result<u64> { Ok(fields.get(nth - 3).context("a short stat")?.parse()?) };
    Ok(Times { parent: u32::try_from(number(4)?)?, own: number(14)? + number(15)?, reaped_children: number(16)? + number(17)? })
}

/// CPU seconds of a process and all its threads.
pub(crate) fn cpu_of(pid: u32) -> anyhow::Result<f64> {
    Ok(times(pid)?.own as f64 / TICKS_PER_SECOND)
}

/// CPU seconds of a process and its children, those that have ended too.
pub(crate) fn cpu_with_children(pid: u32) -> anyhow::Result<f64> {
    let mut sum = 0;
    for entry in fs::read_dir("/proc")? {
        let Some(child) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may have ended since the folder was read; then it is among the reaped.
        if let Ok(times) = times(child)
            && times.parent == pid
        {
            sum += times.own;
        }
    }
    let root = times(pid)?;
    Ok((sum + root.own + root.reaped_children) as f64 / TICKS_PER_SECOND)
}

/// A line of the process's status, in bytes: `VmRSS:` is what it has in memory, `VmHWM:` the most it ever had.
pub(crate) fn memory_of(pid: u32, name: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name} in the process's status"))?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}

/// Has the kernel forget the most memory the process ever had.
pub(crate) fn reset_peak(pid: u32) -> anyhow::Result<()> {
    Ok(fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}

/// CPU seconds of those children of a process that have ended.
pub(crate) fn reaped_by(pid: u32) -> anyhow::Result<f64> {
    Ok(times(pid)?.reaped_children as f64 / TICKS_PER_SECOND)
}
