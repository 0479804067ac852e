//! A real nginx with a configuration.

use e2e::machine::program;
use e2e::process::Process;
use e2e::{Result, wait};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A running nginx.
pub(super) struct Nginx {
    pub(super) address: SocketAddr,
    _process: Process,
}

impl Nginx {
    /// Where it is installed.
    pub(super) fn program() -> Option<PathBuf> {
        program("nginx")
    }

    /// Starts it with what is in its http block; `PORT` stands for where it listens, `CACHE` for a folder.
    pub(super) fn start(program: &Path, folder: &Path, http: &str) -> Result<Self> {
        let port = e2e::ports::free_port()?;
        let shown = folder.display();
        let http = http
            .replace("PORT", &format!("127.0.0.1:{port}"))
            .replace("CACHE", &format!("{shown}/cache"));
        let user = if is_root() { "user root;" } else { "" };
        let text = format!(
            "{user} daemon off; worker_processes 1; pid {shown}/nginx.pid; events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {shown}/body;
    proxy_temp_path {shown}/proxy;
    fastcgi_temp_path {shown}/fastcgi;
    uwsgi_temp_path {shown}/uwsgi;
    scgi_temp_path {shown}/scgi;
{http}
}}
"
        );
        std::fs::write(folder.join("nginx.conf"), text)?;
        let mut command = Command::new(program);
        command
            .arg("-p")
            .arg(folder)
            .args(["-c", "nginx.conf", "-e", "error.log"]);
        let process = Process::start("nginx", &mut command, &folder.join("nginx.log"))?;
        let address = (Ipv4Addr::LOCALHOST, port).into();
        wait::until("nginx", || TcpStream::connect(address).ok())?;
        Ok(Self {
            address,
            _process: process,
        })
    }
}

/// Who starts nginx as root must say that its worker stays root: the folder is closed to others.
fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}
