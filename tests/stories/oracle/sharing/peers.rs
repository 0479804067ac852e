//! nginx with `proxy_cache` and Varnish in front of the origin, as they come: neither is told to ignore anything.

use e2e::machine::program;
use e2e::ports::free_port;
use e2e::process::Process;
use e2e::{Result, wait};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

/// A running cache.
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    _process: Process,
}

impl Peer {
    fn start(name: &str, command: &mut Command, port: u16, folder: &Path) -> Result<Self> {
        let address = (Ipv4Addr::LOCALHOST, port).into();
        let process = Process::start(name, command, &folder.join(format!("{name}.log")))?;
        wait::until(name, || TcpStream::connect(address).ok())?;
        Ok(Self {
            address,
            _process: process,
        })
    }
}

/// nginx; `None` = it is not installed.
pub(super) fn nginx(folder: &Path, origin: SocketAddr) -> Result<Option<Peer>> {
    let Some(program) = program("nginx") else {
        return Ok(None);
    };
    let folder = folder.join("nginx");
    std::fs::create_dir_all(&folder)?;
    let port = free_port()?;
    std::fs::write(folder.join("nginx.conf"), nginx_conf(&folder, port, origin))?;
    let mut command = Command::new(program);
    command
        .arg("-p")
        .arg(&folder)
        .args(["-c", "nginx.conf", "-e", "error.log"]);
    Peer::start("nginx", &mut command, port, &folder).map(Some)
}

/// Varnish; `None` = it is not installed.
pub(super) fn varnish(folder: &Path, origin: SocketAddr) -> Result<Option<Peer>> {
    let Some(program) = program("varnishd") else {
        return Ok(None);
    };
    let folder = folder.join("varnish");
    std::fs::create_dir_all(&folder)?;
    let port = free_port()?;
    let vcl = folder.join("origin.vcl");
    let backend = format!(".host = \"{}\"; .port = \"{}\";", origin.ip(), origin.port());
    std::fs::write(&vcl, format!("vcl 4.1;\nbackend origin {{ {backend} }}\n"))?;
    let mut command = Command::new(program);
    command.args([
        "-j",
        "none",
        "-F",
        "-a",
        &format!("127.0.0.1:{port}"),
        "-s",
        "malloc,64m",
        "-f",
    ]);
    command.arg(&vcl).arg("-n").arg(folder.join("work"));
    Peer::start("varnishd", &mut command, port, &folder).map(Some)
}

fn nginx_conf(folder: &Path, port: u16, origin: SocketAddr) -> String {
    let user = if is_root() { "user root;" } else { "" };
    let folder = folder.display();
    format!(
        "{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    proxy_cache_path {folder}/cache keys_zone=cache:8m use_temp_path=off;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://{origin};
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_set_header Host $host;
            proxy_cache cache;
            proxy_cache_key $scheme$host$request_uri;
            proxy_cache_revalidate on;
            proxy_cache_use_stale updating;
            proxy_cache_background_update on;
        }}
    }}
}}
"
    )
}

/// Who starts nginx as root must say that its worker stays root: the folder is closed to others.
fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}
