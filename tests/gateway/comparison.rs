//! Sends the table of raw HTTP/1 requests through nginx and HAProxy too, and prints where the three differ.
//!
//! `.ci/compare-raw` runs it. `docs/explanation/malformed-requests.md` explains its output.

use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::raw_http1::strict::Strict;
use crate::raw_http1::table::{self, Row};
use testkit::connection::connect;
use testkit::raw::Raw;
use testkit::stage::before;

/// Another gateway. It ends when dropped.
struct Other {
    address: SocketAddr,
    _child: Child,
    _folder: TempDir,
}

/// The responses and what the upstream saw, as a line.
async fn outcome(address: SocketAddr, row: &Row, upstream: &Strict) -> String {
    let mut raw = Raw::new(connect(address, None).await);
    raw.send(&row.sent).await;
    // A gateway that waits for the rest of a message gives up within a second.
    let waits = row.answers.is_empty() || row.answers.contains(&408);
    let quiet = Duration::from_millis(if waits { 2500 } else { 400 });
    let mut answers = Vec::new();
    let end = loop {
        match timeout(quiet, raw.read_status()).await {
            Ok(Some((status, _))) => answers.push(status.to_string()),
            Ok(None) => break "closed",
            Err(_) => break "open",
        }
    };
    let mut seen = upstream.take();
    seen.extend(upstream.take_violations().into_iter().map(|violation| format!("MALFORMED {violation}")));
    let seen: Vec<String> = seen.iter().map(|seen| seen.chars().take(100).collect()).collect();
    format!("{} {end}; {}", answers.join(" "), if seen.is_empty() { "nothing".to_owned() } else { seen.join(", ") })
}

async fn start(program: &str, arguments: &[&str], file: &str, text: String, address: SocketAddr) -> Other {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(file);
    std::fs::write(&path, text.replace("{folder}", folder.path().to_str().unwrap())).unwrap();
    let mut command = Command::new(program);
    command.args(arguments).arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.kill_on_drop(true).spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
    while TcpStream::connect(address).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Other { address, _child: child, _folder: folder }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

async fn nginx(upstream: SocketAddr) -> Other {
    let address = free_address();
    let text = format!(
        "daemon off; master_process off; pid {{folder}}/pid; error_log stderr crit;
         events {{ }}
         http {{
           access_log off;
           client_body_temp_path {{folder}}/body; proxy_temp_path {{folder}}/proxy; fastcgi_temp_path {{folder}}/fastcgi;
           uwsgi_temp_path {{folder}}/uwsgi; scgi_temp_path {{folder}}/scgi;
           client_header_timeout 1s; client_body_timeout 1s; client_max_body_size 1m;
           upstream origin {{ server {upstream}; keepalive 8; }}
           server {{ listen {address} default_server; return 421; }}
           server {{
             listen {address}; server_name localhost [::1];
             location / {{
               proxy_pass http://origin; proxy_http_version 1.1; proxy_request_buffering off;
               proxy_set_header Host {upstream}; proxy_set_header Connection '';
               proxy_set_header Authorization 'Bearer x'; proxy_set_header Via '1.1 nginx';
             }}
           }}
         }}"
    );
    start("/usr/sbin/nginx", &["-c"], "nginx.conf", text, address).await
}

async fn haproxy(upstream: SocketAddr) -> Other {
    let address = free_address();
    let text = format!(
        "defaults
           mode http
           timeout connect 1s
           timeout client 1s
           timeout server 5s
           timeout http-request 1s
         frontend clients
           bind {address}
           acl ours hdr(host),host_only -i localhost [::1]
           http-request return status 421 unless ours
           http-request set-header Host {upstream}
           http-request set-header Authorization 'Bearer x'
           http-request set-header Via '1.1 haproxy'
           default_backend origin
         backend origin
           server origin {upstream}
"
    );
    // HAProxy does not accept indented sections.
    let text = text.lines().map(|line| line.strip_prefix("         ").unwrap_or(line)).collect::<Vec<_>>().join("\n");
    start("/usr/sbin/haproxy", &["-db", "-f"], "haproxy.cfg", text + "\n", address).await
}

#[tokio::test]
#[ignore = "needs nginx and HAProxy, and minutes: .ci/compare-raw runs it"]
#[allow(clippy::print_stdout, reason = "printing is what it is for")]
async fn where_three_gateways_differ() {
    let upstream = Strict::start().await;
    let proxy = before(&upstream.url())
        .await
        .set("GUARD__MAX_BODY_SIZE", "1MiB")
        .set("GUARD__HEADER_TIMEOUT", "1s")
        .set("UPSTREAM__IDLE_TIMEOUT", "1s")
        .start()
        .await;
    proxy.ready().await;
    let (nginx, haproxy) = (nginx(upstream.address()).await, haproxy(upstream.address()).await);
    let rows = table::read();
    let mut differ = 0;
    for row in &rows {
        let ours = outcome(proxy.address(), row, &upstream).await;
        let nginx = outcome(nginx.address, row, &upstream).await;
        let haproxy = outcome(haproxy.address, row, &upstream).await;
        if ours != nginx || ours != haproxy {
            differ += 1;
            println!(
                "{} ({})\n  bearer-proxy  {ours}\n  nginx         {nginx}\n  HAProxy       {haproxy}",
                row.name, row.rule
            );
        }
    }
    println!("{differ} of {} rows differ", rows.len());
}
