//! The servers that others would take instead: nginx with proxy_cache, and Varnish. Both keep what they store in memory (nginx in
//! files, which the page cache holds), write no access log, and keep connections to the origin open.

use crate::contenders::Cores;
use crate::target::Peer;
use e2e::Result;
use e2e::machine::program;
use e2e::ports::free_port;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// nginx with one worker; `None` = it is not installed.
pub(crate) fn nginx(folder: &Path, cores: &Cores, origin: SocketAddr) -> Result<Option<Peer>> {
    let Some(program) = program("nginx") else {
        return Ok(None);
    };
    let folder = made(folder, "nginx")?;
    let port = free_port()?;
    std::fs::write(folder.join("nginx.conf"), nginx_conf(&folder, port, origin))?;
    let command = words(&program, &["-p", ".", "-c", "nginx.conf", "-e", "error.log"]);
    Peer::start("nginx", &command, port, &folder, cores).map(Some)
}

/// Varnish; `None` = it is not installed.
pub(crate) fn varnish(folder: &Path, cores: &Cores, origin: SocketAddr) -> Result<Option<Peer>> {
    let Some(program) = program("varnishd") else {
        return Ok(None);
    };
    let folder = made(folder, "varnish")?;
    let port = free_port()?;
    let vcl = format!(
        "vcl 4.1;\nbackend origin {{ .host = \"{}\"; .port = \"{}\"; }}\n",
        origin.ip(),
        origin.port()
    );
    std::fs::write(folder.join("origin.vcl"), vcl)?;
    let address = format!("127.0.0.1:{port}");
    let vcl = folder.join("origin.vcl").display().to_string();
    let work = folder.join("work").display().to_string();
    // -j none: its files are in a folder that only the user of the benchmark may enter.
    let command = words(
        &program,
        &[
            "-j",
            "none",
            "-F",
            "-a",
            &address,
            "-f",
            &vcl,
            "-n",
            &work,
            "-s",
            "malloc,256m",
            // Else, once its cache is full of small responses, a large one is cut off for want of room.
            "-p",
            "nuke_limit=100000",
        ],
    );
    Peer::start("Varnish", &command, port, &folder, cores).map(Some)
}

fn nginx_conf(folder: &Path, port: u16, origin: SocketAddr) -> String {
    let folder = folder.display();
    // Who starts it as root must say that its worker stays root: the folder is closed to others.
    let user = if rustix::process::getuid().is_root() {
        "user root;"
    } else {
        ""
    };
    format!(
        "{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    open_file_cache max=1000 inactive=60s;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    proxy_cache_path {folder}/cache levels=1:2 keys_zone=cache:64m max_size=256m use_temp_path=off;
    upstream origin {{ server {origin}; keepalive 64; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_cache cache;
            proxy_cache_lock on;
            add_header X-Cache $upstream_cache_status;
        }}
    }}
}}
"
    )
}

fn made(folder: &Path, name: &str) -> Result<PathBuf> {
    let folder = folder.join(name);
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn words(program: &Path, arguments: &[&str]) -> Vec<String> {
    let program = program.display().to_string();
    std::iter::once(program)
        .chain(arguments.iter().map(|argument| (*argument).to_owned()))
        .collect()
}
