//! Figures of this process and its machine; of the cgroup where it has limits.

use control_domain::views::System;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;
use sysinfo::{Disks, System as Machine};

const CGROUP: &str = "/sys/fs/cgroup";

/// Resident memory in bytes; `None` where the system does not tell.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes = line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?;
    Some(kilobytes * 1024)
}

/// Measures the machine now and then: processor time is a growth between two looks.
pub(crate) struct Sampler {
    machine: Machine,
    /// Where this process writes, if it does.
    directory: PathBuf,
    cgroup_cpu: Option<(Instant, u64)>,
}

impl Sampler {
    pub(crate) fn new(directory: Option<&Path>) -> Self {
        let mut machine = Machine::new();
        machine.refresh_cpu_usage();
        Self {
            machine,
            directory: directory.map_or_else(|| PathBuf::from("/"), Path::to_path_buf),
            cgroup_cpu: cgroup_cpu_us().map(|used| (Instant::now(), used)),
        }
    }

    /// The figures now.
    pub(crate) fn sample(&mut self) -> System {
        self.machine.refresh_memory();
        self.machine.refresh_cpu_usage();
        System {
            memory_percent: self.memory(),
            cpu_percent: self.cpu(),
            disk_percent: self.disk(),
            resident_bytes: resident_bytes().unwrap_or(0),
        }
    }

    fn memory(&self) -> Option<f64> {
        match self.machine.cgroup_limits() {
            Some(limits) if limits.total_memory > 0 && limits.total_memory < self.machine.total_memory() => {
                Some(percent(
                    limits.total_memory.saturating_sub(limits.free_memory),
                    limits.total_memory,
                ))
            }
            _ => (self.machine.total_memory() > 0).then(|| {
                percent(
                    self.machine
                        .total_memory()
                        .saturating_sub(self.machine.available_memory()),
                    self.machine.total_memory(),
                )
            }),
        }
    }

    fn cpu(&mut self) -> Option<f64> {
        let machine = f64::from(self.machine.global_cpu_usage());
        let (Some(cores), Some(used)) = (cgroup_cores(), cgroup_cpu_us()) else {
            return Some(machine);
        };
        let now = Instant::now();
        let (then, before) = self.cgroup_cpu.replace((now, used))?;
        let elapsed = now.duration_since(then).as_secs_f64() * 1e6;
        #[allow(clippy::cast_precision_loss)]
        let used = used.saturating_sub(before) as f64;
        (elapsed > 0.0).then(|| (used * 100.0 / elapsed / cores).min(100.0))
    }

    fn disk(&self) -> Option<f64> {
        let directory = fs::canonicalize(&self.directory).unwrap_or_else(|_| self.directory.clone());
        let disks = Disks::new_with_refreshed_list();
        let disk = disks
            .iter()
            .filter(|disk| directory.starts_with(disk.mount_point()))
            .max_by_key(|disk| disk.mount_point().as_os_str().len())?;
        (disk.total_space() > 0).then(|| {
            percent(
                disk.total_space().saturating_sub(disk.available_space()),
                disk.total_space(),
            )
        })
    }
}

#[allow(clippy::cast_precision_loss)]
fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole as f64
}

/// Cores the cgroup may use (`cpu.max` of cgroup v2); `None` without a limit.
fn cgroup_cores() -> Option<f64> {
    let text = fs::read_to_string(Path::new(CGROUP).join("cpu.max")).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

fn cgroup_cpu_us() -> Option<u64> {
    let text = fs::read_to_string(Path::new(CGROUP).join("cpu.stat")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_figures() {
        let mut sampler = Sampler::new(None);
        let system = sampler.sample();
        let sound = |value: Option<f64>| value.is_some_and(|value| (0.0..=100.0).contains(&value));
        assert!(sound(system.memory_percent) && sound(system.disk_percent), "{system:?}");
        assert!(system.resident_bytes > 0);
    }
}
