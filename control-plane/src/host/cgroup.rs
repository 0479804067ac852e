//! What the cgroup of this process may use and has used: version 2, or the controllers of version 1.

use std::fs;
use std::path::{Path, PathBuf};

/// The folders in which the limits are, the nearest first: the own group where the host's tree is visible, and the root, which inside
/// a container is the own group.
#[derive(Debug, Clone)]
pub(crate) struct Cgroup {
    unified: Vec<PathBuf>,
    cpu: Vec<PathBuf>,
    accounting: Vec<PathBuf>,
    memory: Vec<PathBuf>,
}

impl Cgroup {
    /// That of this process.
    pub(crate) fn own() -> Self {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::at(Path::new("/sys/fs/cgroup"), &groups)
    }

    /// `groups` is the content of `/proc/<pid>/cgroup`: lines of `id:controllers:path`.
    fn at(root: &Path, groups: &str) -> Self {
        let path_of = |controller: &str| {
            groups.lines().find_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                let controllers = parts.next()?;
                let named = controllers.split(',').any(|name| name == controller);
                parts.next().filter(|_| named)
            })
        };
        let folders = |base: PathBuf, controller: &str| {
            let own = path_of(controller).map(|path| base.join(path.trim_start_matches('/')));
            own.into_iter().chain([base]).collect::<Vec<_>>()
        };
        Self {
            unified: folders(root.to_owned(), ""),
            cpu: folders(root.join("cpu"), "cpu"),
            accounting: folders(root.join("cpuacct"), "cpuacct"),
            memory: folders(root.join("memory"), "memory"),
        }
    }

    /// Cores it may use; `None` without a limit.
    pub(crate) fn cores(&self) -> Option<f64> {
        let (quota, period) = match read(&self.unified, "cpu.max") {
            Some(text) => {
                let (quota, period) = text.split_once(' ')?;
                (quota.parse::<f64>().ok()?, period.parse::<f64>().ok()?)
            }
            None => (
                number(&self.cpu, "cpu.cfs_quota_us")?,
                number(&self.cpu, "cpu.cfs_period_us")?,
            ),
        };
        (quota > 0.0 && period > 0.0).then(|| quota / period)
    }

    /// Processor time used, microseconds.
    pub(crate) fn cpu_used_us(&self) -> Option<u64> {
        if let Some(used) = field(&self.unified, "cpu.stat", "usage_usec") {
            return Some(used);
        }
        let nanoseconds: u64 = read(&self.accounting, "cpuacct.usage")?.parse().ok()?;
        Some(nanoseconds / 1_000)
    }

    /// Memory it may use; `None` without a limit. Version 1 says so by a number beyond any machine.
    pub(crate) fn memory_limit(&self) -> Option<u64> {
        let text = read(&self.unified, "memory.max").or_else(|| read(&self.memory, "memory.limit_in_bytes"))?;
        text.parse().ok()
    }

    /// Memory it uses, without the file cache that can be dropped at once.
    pub(crate) fn memory_used(&self) -> Option<u64> {
        let (used, cached) = match read(&self.unified, "memory.current") {
            Some(text) => (text, field(&self.unified, "memory.stat", "inactive_file")),
            None => (
                read(&self.memory, "memory.usage_in_bytes")?,
                field(&self.memory, "memory.stat", "total_inactive_file"),
            ),
        };
        Some(used.parse::<u64>().ok()?.saturating_sub(cached.unwrap_or(0)))
    }
}

fn read(folders: &[PathBuf], file: &str) -> Option<String> {
    let found = folders
        .iter()
        .find_map(|folder| fs::read_to_string(folder.join(file)).ok());
    found.map(|text| text.trim().to_owned())
}

fn number(folders: &[PathBuf], file: &str) -> Option<f64> {
    read(folders, file)?.parse().ok()
}

fn field(folders: &[PathBuf], file: &str, name: &str) -> Option<u64> {
    let text = read(folders, file)?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{text}\n")).unwrap();
        }
        root
    }

    #[test]
    fn version_2_in_a_container() {
        let root = tree(&[
            ("cpu.max", "150000 100000"),
            ("cpu.stat", "usage_usec 42\nuser_usec 40"),
            ("memory.max", "1000"),
            ("memory.current", "600"),
            ("memory.stat", "anon 300\ninactive_file 100"),
        ]);
        let cgroup = Cgroup::at(root.path(), "0::/\n");
        assert_eq!((cgroup.cores(), cgroup.cpu_used_us()), (Some(1.5), Some(42)));
        assert_eq!((cgroup.memory_limit(), cgroup.memory_used()), (Some(1_000), Some(500)));
    }

    #[test]
    fn version_1_of_a_service_without_limits() {
        let root = tree(&[
            ("cpu/cpu.cfs_quota_us", "-1"),
            ("cpu/cpu.cfs_period_us", "100000"),
            ("cpu/service/cpu.cfs_quota_us", "50000"),
            ("cpu/service/cpu.cfs_period_us", "100000"),
            ("cpuacct/cpuacct.usage", "5000"),
            ("memory/memory.limit_in_bytes", "9223372036854771712"),
            ("memory/memory.usage_in_bytes", "70"),
            ("memory/memory.stat", "total_inactive_file 20"),
        ]);
        let cgroup = Cgroup::at(root.path(), "4:cpu,cpuacct:/service\n2:memory:/elsewhere\n");
        assert_eq!((cgroup.cores(), cgroup.cpu_used_us()), (Some(0.5), Some(5)));
        assert_eq!(cgroup.memory_used(), Some(50));
        let other = Cgroup::at(root.path(), "");
        assert_eq!(other.cores(), None, "-1 is no limit");
        let nothing = Cgroup::at(&root.path().join("absent"), "");
        assert!(nothing.cores().is_none() && nothing.memory_limit().is_none());
    }

    #[test]
    fn max_is_no_limit() {
        let root = tree(&[("cpu.max", "max 100000"), ("memory.max", "max")]);
        let cgroup = Cgroup::at(root.path(), "0::/\n");
        assert_eq!((cgroup.cores(), cgroup.memory_limit()), (None, None));
    }
}
