"""The proxies, each in its best configuration for one job: put a Bearer header on, and forward over verified TLS.

All keep connections to the origin alive without an end, use one thread, write no access log, and buffer nothing on disk.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from .origin import TOKEN, Origin
from .process import PROXY_CPU, Process, Rig, free_port, program

BENCH = Path(__file__).resolve().parent.parent

# `pip install --target` puts Envoy and Caddy there.
PEERS = Path(os.environ.get("BENCH_PEERS", BENCH / ".peers"))

OURS = "bearer-proxy"
# Built by `cargo build --release`, for the comparison with bare hyper, which is built like this.
PLAIN = "bearer-proxy-plain"


@dataclass
class Setup:
    """How a proxy is started."""

    command: list
    port: int
    environment: dict = field(default_factory=dict)


@dataclass
class Running:
    name: str
    process: Process
    port: int


class Proxies:
    """Creates setups by name. `binary` and `plain` are two builds of this program; `layers` is the example with bare hyper."""

    def __init__(self, rig: Rig, origin: Origin, binary, layers=None, http="auto", plain=None):
        self.rig, self.origin, self.http = rig, origin, http
        self.binary = Path(binary).resolve()
        self.plain = plain and Path(plain).resolve()
        self.layers = layers and Path(layers).resolve()
        self.makers = {
            OURS: self.ours,
            PLAIN: lambda: self.ours(binary=self.plain) if self.plain else None,
            "bearer-proxy-h1": lambda: self.ours(http="1"),
            "hyper-h1": lambda: self.layer("hyper", "1"),
            "hyper-h2": lambda: self.layer("hyper", "2"),
            "nginx": self.nginx,
            "haproxy-h1": lambda: self.haproxy("http/1.1"),
            "haproxy-h2": lambda: self.haproxy("h2"),
            "envoy-h1": lambda: self.envoy("http_protocol_options"),
            "envoy-h2": lambda: self.envoy("http2_protocol_options"),
            "caddy": self.caddy,
        }

    def start(self, name, setup=None, cpus=PROXY_CPU):
        """Starts a proxy, or returns None if it is not installed."""
        setup = setup or self.makers[name]()
        if setup is None:
            print(f"{name}: not installed, left out", file=sys.stderr)
            return None
        process = self.rig.spawn(setup.command, cpus, setup.environment)
        if not process.answers(setup.port):
            sys.exit(f"{name} did not start: {self.rig.tail()}")
        return Running(name, process, setup.port)

    def start_all(self, names):
        return [running for name in names if (running := self.start(name))]

    def configuration(self, http=None, extra="", grant=None, upstream=None):
        """This program with its defaults, plus addresses, trust and the grant."""
        port, admin = free_port(), free_port()
        grant = grant or f'[oauth]\ngrant = "static"\naccess_token_file = "{self.origin.token}"\n'
        text = f"""
profile = "custom"
listen = "127.0.0.1:{port}"
[outbound]
ca_file = "{self.origin.ca}"
[upstream]
url = "https://localhost:{upstream or self.origin.port}"
http = "{http or self.http}"
[admin]
listen = "127.0.0.1:{admin}"
{grant}
{extra}
"""
        return self.rig.write(f"ours-{port}.toml", text), port

    def ours(self, binary=None, **options):
        path, port = self.configuration(**options)
        return Setup([binary or self.binary, "serve", "--config", path], port)

    def with_stored_grant(self, **options):
        """With a stored token that is valid for a year."""
        store = Path(tempfile.mkdtemp(dir=self.rig.folder)) / "grant.json"
        grant = f"""[oauth]
client_id = "bench"
client_secret = "bench"
token_url = "https://localhost:{free_port()}/token"
[store]
path = "{store}"
"""
        setup = self.ours(grant=grant, **options)
        answer = {"access_token": TOKEN, "refresh_token": "bench", "token_type": "Bearer", "expires_in": 31536000}
        self.rig.run(self.binary, "import", "--config", setup.command[-1], input=json.dumps(answer).encode())
        return setup

    def layer(self, height, http=None):
        if not self.layers:
            return None
        path, port = self.configuration(http)
        return Setup([self.layers, height, "--config", path], port)

    def nginx(self):
        if not program("nginx"):
            return None
        port, folder = free_port(), self.rig.folder
        temporary = "\n".join(
            f"  {kind}_temp_path {folder}/p-{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        self.rig.write("nginx.conf", f"""
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 8192; }}
http {{
{temporary}
  access_log off; tcp_nodelay on; keepalive_requests 1000000000; keepalive_timeout 3600s;
  client_max_body_size 0; client_body_buffer_size 64k;
  proxy_buffer_size 16k; proxy_buffers 64 16k; proxy_busy_buffers_size 512k; proxy_max_temp_file_size 0;
  upstream origin {{ server 127.0.0.1:{self.origin.port}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass https://origin; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Authorization "Bearer {TOKEN}";
      proxy_ssl_name localhost; proxy_ssl_verify on; proxy_ssl_trusted_certificate ca.pem;
    }}
  }}
}}
""")
        return Setup([program("nginx"), "-p", folder, "-c", "nginx.conf"], port)

    def haproxy(self, alpn):
        if not program("haproxy"):
            return None
        port, name = free_port(), f"haproxy-{alpn.replace('/', '')}.cfg"
        self.rig.write(name, f"""
global
  nbthread 1
  maxconn 4000
defaults
  mode http
  http-reuse always
  timeout connect 5s
  timeout client 3600s
  timeout server 3600s
frontend clients
  bind 127.0.0.1:{port}
  http-request set-header Authorization "Bearer {TOKEN}"
  default_backend origin
backend origin
  server origin 127.0.0.1:{self.origin.port} ssl verify required ca-file {self.origin.ca} sni str(localhost) alpn {alpn} pool-max-conn 512
""")
        return Setup([program("haproxy"), "-db", "-f", name], port)

    def envoy(self, protocol):
        binary = PEERS / "envoy/_bin/envoy"
        if not binary.exists():
            return None
        binary.chmod(0o755)
        port = free_port()
        alpn = "alpn_protocols: [h2], " if protocol.startswith("http2") else ""
        self.rig.write("secret.yaml", f"""
resources:
- "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
  name: token
  generic_secret: {{ secret: {{ inline_string: "Bearer {TOKEN}" }} }}
""")
        path = self.rig.write(f"envoy-{protocol}.yaml", f"""
static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: clients
          route_config:
            virtual_hosts: [ {{ name: all, domains: ["*"], routes: [ {{ match: {{ prefix: "/" }}, route: {{ cluster: origin }} }} ] }} ]
          http_filters:
          - name: envoy.filters.http.credential_injector
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.credential_injector.v3.CredentialInjector
              overwrite: true
              credential:
                name: envoy.http.injected_credentials.generic
                typed_config:
                  "@type": type.googleapis.com/envoy.extensions.http.injected_credentials.generic.v3.Generic
                  credential: {{ name: token, sds_config: {{ path_config_source: {{ path: {self.rig.folder}/secret.yaml }} }} }}
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
  clusters:
  - name: origin
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ {protocol}: {{}} }}
    load_assignment:
      cluster_name: origin
      endpoints: [ {{ lb_endpoints: [ {{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {self.origin.port} }} }} }} }} ] }} ]
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: localhost
        common_tls_context: {{ {alpn}validation_context: {{ trusted_ca: {{ filename: {self.origin.ca} }} }} }}
""")
        options = ["--concurrency", "1", "-l", "error", "--service-node", "n", "--service-cluster", "c"]
        return Setup([binary, "-c", path, "--use-dynamic-base-id", *options], port)

    def caddy(self):
        binary = PEERS / "bin/caddy"
        if not binary.exists():
            return None
        port = free_port()
        path = self.rig.write("Caddyfile", f"""{{
  admin off
  auto_https off
}}
http://127.0.0.1:{port} {{
  reverse_proxy https://localhost:{self.origin.port} {{
    header_up Authorization "Bearer {TOKEN}"
    transport http {{
      tls_trust_pool file {self.origin.ca}
      keepalive_idle_conns_per_host 512
    }}
  }}
}}
""")
        command = [binary, "run", "--config", path, "--adapter", "caddyfile"]
        return Setup(command, port, {"HOME": str(self.rig.folder), "GOMAXPROCS": "1"})


def versions(binary):
    """The version of each program."""
    ask = {
        OURS: [binary, "--version"],
        "nginx": [program("nginx"), "-v"],
        "haproxy": [program("haproxy"), "-v"],
        "envoy": [PEERS / "envoy/_bin/envoy", "--version"],
        "caddy": [PEERS / "bin/caddy", "version"],
    }
    found = {}
    for name, command in ask.items():
        try:
            answer = subprocess.run(command, capture_output=True, text=True, timeout=10)
        except (OSError, TypeError):
            continue  # Not installed.
        number = re.search(r"\d+\.\d+\.\d+", answer.stdout + answer.stderr)
        if number:
            found[name] = number.group()
    return found
