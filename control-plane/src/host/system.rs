//! Figures of this process and its machine; of the cgroup where it has limits.

use super::cgroup::Cgroup;
use control_domain::telemetry::figure::percent;
use control_domain::views::System;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;
use sysinfo::{Disks, System as Machine};

/// Resident memory in bytes; `None` where the system does not tell.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes = line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?;
    Some(kilobytes * 1024)
}

/// The name of this machine; `None` where the system does not tell.
pub(crate) fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// Memory of the machine, MB of 2^20 bytes; `None` where the system does not tell. Not the limit of the own cgroup, which says nothing
/// of an Envoy's.
pub(crate) fn memory_mb() -> Option<u64> {
    let mut machine = Machine::new();
    machine.refresh_memory();
    Some(machine.total_memory() >> 20).filter(|memory| *memory > 0)
}

/// Measures the machine now and then: processor time is a growth between two looks.
pub(crate) struct Sampler {
    machine: Machine,
    /// Where this process writes, if it does.
    directory: PathBuf,
    cgroup: Cgroup,
    cgroup_cpu: Option<(Instant, u64)>,
}

impl Sampler {
    pub(crate) fn new(directory: Option<&Path>) -> Self {
        let cgroup = Cgroup::own();
        let mut machine = Machine::new();
        machine.refresh_cpu_usage();
        Self {
            machine,
            directory: directory.map_or_else(|| PathBuf::from("/"), Path::to_path_buf),
            cgroup_cpu: cgroup.cpu_used_us().map(|used| (Instant::now(), used)),
            cgroup,
        }
    }

    /// The figures now.
    pub(crate) fn sample(&mut self) -> System {
        self.machine.refresh_memory();
        self.machine.refresh_cpu_usage();
        let (memory_limit_bytes, cpu_limit_cores) = (
            self.cgroup
                .memory_limit()
                .filter(|limit| *limit < self.machine.total_memory()),
            self.cgroup.cores(),
        );
        System {
            memory_percent: self.memory(memory_limit_bytes),
            cpu_percent: self.cpu(cpu_limit_cores),
            disk_percent: self.disk(),
            resident_bytes: resident_bytes().unwrap_or(0),
            memory_limit_bytes,
            cpu_limit_cores,
        }
    }

    fn memory(&self, limit: Option<u64>) -> Option<f64> {
        if let Some((limit, used)) = limit.zip(self.cgroup.memory_used()) {
            return Some(percent(used, limit).min(100.0));
        }
        let (total, available) = (self.machine.total_memory(), self.machine.available_memory());
        (total > 0).then(|| percent(total.saturating_sub(available), total))
    }

    fn cpu(&mut self, cores: Option<f64>) -> Option<f64> {
        let machine = f64::from(self.machine.global_cpu_usage());
        let (Some(cores), Some(used)) = (cores, self.cgroup.cpu_used_us()) else {
            return Some(machine);
        };
        let now = Instant::now();
        let (then, before) = self.cgroup_cpu.replace((now, used))?;
        let elapsed = now.duration_since(then).as_secs_f64() * 1e6;
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
