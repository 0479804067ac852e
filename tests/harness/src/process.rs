//! Child processes with their output in a file, signalled by their own id only.

use crate::{Failure, Result, wait};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// How long a process may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(8);

/// A process that is stopped when this is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` in a process group of its own, so that Ctrl-C reaches the parent alone, with both outputs in `log`.
    ///
    /// # Errors
    /// The program cannot be started, or the log not be written.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn()
            .map_err(|error| Failure::from(error).during(&format!("starting {name}")))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        })
    }

    /// Name for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended; `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The last lines of its output.
    #[must_use]
    pub fn last_lines(&self, count: usize) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }

    /// Its whole output so far.
    #[must_use]
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Asks it to end (SIGTERM).
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Asks it to end (SIGTERM) and kills it when it does not.
    pub fn stop(&mut self) {
        if self.ended().is_some() {
            return;
        }
        self.terminate();
        if wait::until_within(GRACE, "its end", || self.ended()).is_err() {
            self.kill();
        }
    }

    /// Ends it at once (SIGKILL), with what it has started.
    pub fn kill(&mut self) {
        if let Some(group) = self
            .pid()
            .filter(|_| self.child.try_wait().is_ok_and(|status| status.is_none()))
        {
            // An error means that it is gone.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Stops its execution (SIGSTOP): connections stay open and nothing answers.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on (SIGCONT).
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// User and system time used so far, in clock ticks of 1/100 s; 0 when it is gone.
    #[must_use]
    pub fn cpu_ticks(&self) -> u64 {
        cpu_ticks_of(&self.id().to_string())
    }

    /// Resident memory, MB of 2^20 bytes.
    ///
    /// # Errors
    /// It is gone.
    pub fn resident_mb(&self) -> Result<f64> {
        self.memory("VmRSS:")
    }

    /// Most resident memory that it ever had, MB of 2^20 bytes.
    ///
    /// # Errors
    /// It is gone.
    pub fn peak_mb(&self) -> Result<f64> {
        self.memory("VmHWM:")
    }

    /// Open file descriptors.
    ///
    /// # Errors
    /// It is gone.
    pub fn descriptors(&self) -> Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.id()))?.count())
    }

    fn memory(&self, name: &str) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
        let kilobytes = kilobytes.ok_or_else(|| Failure::new("no resident memory in /proc"))?;
        Ok(kilobytes / 1_024.0)
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            // An error means that it is gone.
            let _ = kill_process(pid, signal);
        }
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.id()).ok().and_then(Pid::from_raw)
    }
}

/// User and system time that this process has used so far, in clock ticks of 1/100 s.
#[must_use]
pub fn own_cpu_ticks() -> u64 {
    cpu_ticks_of("self")
}

fn cpu_ticks_of(process: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The second field, the name, may hold blanks; fields 14 and 15 are the times.
    let after_name = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let times = after_name.split_whitespace().skip(11).take(2);
    times.filter_map(|field| field.parse::<u64>().ok()).sum()
}

impl Drop for Process {
    fn drop(&mut self) {
        self.thaw();
        self.stop();
    }
}
