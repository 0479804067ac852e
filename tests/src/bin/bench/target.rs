//! What is measured: a server under load, and the processors that it and the load may use.

use crate::contenders::Cores;
use e2e::envoy::Envoy;
use e2e::process::Process;
use e2e::{Failure, Result, wait};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

/// A server under load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// Of its first process.
    id: u32,
}

impl Target {
    /// An Envoy.
    pub(crate) fn of(envoy: &mut Envoy) -> Self {
        Self {
            address: envoy.address(),
            id: envoy.process().id(),
        }
    }

    /// CPU time used so far by it and the processes below it, in ticks of 1/100 s.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let processes = processes();
        let mut ticks = 0;
        let mut open = vec![self.id];
        while let Some(id) = open.pop() {
            ticks += processes.get(&id).map_or(0, |process| process.ticks);
            open.extend(
                processes
                    .iter()
                    .filter(|(_, process)| process.parent == id)
                    .map(|(id, _)| *id),
            );
        }
        ticks
    }
}

/// A server other than Envoy, stopped when this is dropped.
pub(crate) struct Peer {
    _process: Process,
    pub(crate) target: Target,
}

impl Peer {
    /// Starts `command` on the server's processors and waits until it takes connections on `port`.
    pub(crate) fn start(name: &str, command: &[String], port: u16, folder: &Path, cores: &Cores) -> Result<Self> {
        let [taskset, wrapper @ ..] = cores.server_wrapper();
        let mut wrapped = Command::new(taskset);
        wrapped.args(wrapper).args(command).current_dir(folder);
        let mut process = Process::start(name, &mut wrapped, &folder.join("output.log"))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let ready = wait::until(&format!("{name} ready"), || match process.ended() {
            Some(status) => Some(Err(Failure::new(format!(
                "{name} ended at its start with {status}: {}",
                process.last_lines(5)
            )))),
            None => std::net::TcpStream::connect(address).is_ok().then_some(Ok(())),
        });
        ready??;
        let target = Target {
            address,
            id: process.id(),
        };
        Ok(Self {
            _process: process,
            target,
        })
    }
}

struct Running {
    parent: u32,
    ticks: u64,
}

/// Every process of the machine.
fn processes() -> BTreeMap<u32, Running> {
    let folders = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    folders
        .filter_map(|folder| {
            let id = folder.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(folder.path().join("stat")).ok()?;
            Some((id, running(&stat)?))
        })
        .collect()
}

/// One line of `/proc/*/stat`: its second field, the name, may hold blanks; 4 is the parent, 14 and 15 are the times.
fn running(stat: &str) -> Option<Running> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Running {
        parent: u32::try_from(number(1)?).ok()?,
        ticks: number(11)? + number(12)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_brackets_is_no_trouble() {
        let line = "42 (a) b) S 7 42 42 0 -1 4194304 1 2 3 4 50 60 0 0 20 0 1";
        let read = running(line).unwrap();
        assert_eq!((read.parent, read.ticks), (7, 110));
        assert!(processes().contains_key(&std::process::id()));
    }
}
