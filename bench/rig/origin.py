"""The origin: TLS, HTTP/1.1 and HTTP/2, a file of each size, and 401 without a token.

A request's body is thrown away, and its answer may come before its end. Below `/take/` it is read whole first.
"""

import sys
from dataclasses import dataclass

from .process import LOAD_CPU, Rig, free_port, program

# As long as a token with claims.
TOKEN = "eyJhbGciOiJSUzI1NiJ9." + "a" * 900 + ".c2ln"

SIZES = {"0": 0, "1k": 1 << 10, "16k": 16 << 10, "64k": 64 << 10, "256k": 256 << 10, "1m": 1 << 20, "8m": 8 << 20, "64m": 64 << 20}

NGINX = """
worker_processes 1; daemon off; pid {folder}/origin.pid; error_log {folder}/origin.log;
events {{ worker_connections 8192; }}
http {{
  access_log off; sendfile on; tcp_nodelay on; open_file_cache max=100; default_type application/json;
  keepalive_requests 1000000000; keepalive_timeout 3600s; client_max_body_size 0; client_body_buffer_size 1m;
  client_body_temp_path {folder}/o1; proxy_temp_path {folder}/o2; fastcgi_temp_path {folder}/o3;
  uwsgi_temp_path {folder}/o4; scgi_temp_path {folder}/o5;
  server {{
    listen 127.0.0.1:{port} ssl http2; ssl_certificate origin.pem; ssl_certificate_key origin.key; root {folder}/www;
    if ($http_authorization !~ "^Bearer ey") {{ return 401; }}
    error_page 405 =200 $uri;
    location /take/ {{
      proxy_pass http://files/; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_method GET; proxy_pass_request_body off; proxy_set_header Content-Length "";
    }}
  }}
  upstream files {{ server unix:{folder}/files.sock; keepalive 64; keepalive_requests 1000000000; }}
  server {{ listen unix:{folder}/files.sock; root {folder}/www; }}
}}
"""

# HAProxy, because nginx cannot wait.
DELAYED = """
global
  maxconn 8192
  nbthread 1
  lua-load {folder}/delay.lua
defaults
  mode http
  timeout connect 5s
  timeout client 3600s
  timeout server 3600s
frontend origin
  bind 127.0.0.1:{port} ssl crt {folder}/origin.both alpn h2,http/1.1
  http-request deny deny_status 401 unless {{ req.hdr(authorization) -m beg "Bearer ey" }}
  http-request lua.delay
  http-request return status 200 content-type application/json file {folder}/www/1k
"""

DELAY = """
core.register_action("delay", {{ "http-req" }}, function() if {milliseconds} > 0 then core.msleep({milliseconds}) end end)
"""


@dataclass
class Origin:
    port: int
    ca: str
    token: str


def prepare(rig: Rig) -> Origin:
    """Certificates, files, the token and the port of the origin."""
    (rig.folder / "www").mkdir()
    for name, size in SIZES.items():
        (rig.folder / "www" / name).write_bytes(b"x" * size)
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    rig.run("openssl", "req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=bench")
    rig.run("openssl", "req", *new_key, "-keyout", "origin.key", "-out", "origin.csr", "-subj", "/CN=localhost")
    rig.write("names", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    signed_by = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names"]
    rig.run("openssl", "x509", "-req", "-in", "origin.csr", "-out", "origin.pem", *signed_by)
    rig.write("origin.both", (rig.folder / "origin.pem").read_text() + (rig.folder / "origin.key").read_text())
    rig.write("token", TOKEN)
    return Origin(free_port(), str(rig.folder / "ca.pem"), str(rig.folder / "token"))


def start(rig: Rig, cpus=LOAD_CPU) -> Origin:
    origin = prepare(rig)
    rig.write("origin.conf", NGINX.format(folder=rig.folder, port=origin.port))
    process = rig.spawn([program("nginx") or "nginx", "-p", rig.folder, "-c", "origin.conf"], cpus)
    if not process.answers(origin.port):
        sys.exit(f"the origin did not start: {rig.tail()}")
    return origin


def start_delayed(rig: Rig, origin: Origin, milliseconds):
    """Serves on the origin's port until it is stopped, and delays each response."""
    rig.write("delay.lua", DELAY.format(milliseconds=milliseconds))
    rig.write("delayed.cfg", DELAYED.format(folder=rig.folder, port=origin.port))
    process = rig.spawn([program("haproxy") or "haproxy", "-db", "-f", "delayed.cfg"], LOAD_CPU)
    if not process.answers(origin.port):
        sys.exit(f"the delayed origin did not start: {rig.tail()}")
    return process
