"""The load: wrk at full speed, hey at a fixed rate or with a fixed count, and idle connections."""

import re
import socket
import subprocess
from dataclasses import dataclass
from statistics import median

from .process import LOAD_CPU, Process, Rig, on, program

UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60000.0}


@dataclass
class Load:
    requests: int
    rate: float
    failed: int
    p50_ms: float | None
    p99_ms: float | None


@dataclass
class Cost:
    """What a load cost the proxy."""

    cpu_us: float
    load: Load


def wrk(rig: Rig, port, path, connections, seconds, post=0, cpus=LOAD_CPU, wrapper=()) -> Load:
    """Runs wrk. `post` is the size of the request body in bytes. `wrapper` is a command that runs wrk, such as perf."""
    script = []
    if post:
        text = f'wrk.method = "POST"\nwrk.body = string.rep("p", {post})\nwrk.headers["Content-Type"] = "application/json"\n'
        script = ["-s", rig.write(f"post-{post}.lua", text)]
    command = [*wrapper, "wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--latency", "--timeout", "10s", *script]
    out = output([*map(str, command), f"http://127.0.0.1:{port}/{path}"], cpus)
    requests, rate = re.search(r"(\d+) requests in", out), re.search(r"Requests/sec:\s+([\d.]+)", out)
    if not requests or not rate:
        raise RuntimeError(f"wrk said nothing of use: {out!r}")
    failed = sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", out)))
    for errors in re.findall(r"Socket errors: (.*)", out):
        failed += sum(map(int, re.findall(r"\d+", errors)))
    return Load(int(requests.group(1)), float(rate.group(1)), failed, percentile(out, 50), percentile(out, 99))


def output(command, cpus=LOAD_CPU):
    return subprocess.run(command, capture_output=True, text=True, preexec_fn=on(cpus)).stdout


def percentile(out, share):
    found = re.search(rf"\s{share}%\s+([\d.]+)(us|ms|s|m)\b", out)
    return float(found.group(1)) * UNITS[found.group(2)] if found else None


def paced(port, path, rate, connections, seconds) -> dict:
    """Latencies in milliseconds at a fixed rate."""
    every = str(rate / connections)
    command = ["hey", "-cpus", "1", "-z", f"{seconds}s", "-c", str(connections), "-q", every]
    out = output([*command, f"http://127.0.0.1:{port}/{path}"])
    found = {share: re.search(rf"{share}% in ([\d.]+) secs", out) for share in (50, 95, 99)}
    return {f"p{share}": float(match.group(1)) * 1000 for share, match in found.items() if match}


def counted(port, path, requests, connections, body=None) -> Load:
    """Sends exactly this many requests, each with the content of the file `body`."""
    send = ["-m", "POST", "-D", str(body)] if body else []
    command = ["hey", "-cpus", "1", "-n", str(requests), "-c", str(connections), "-t", "60", *send]
    out = output([*command, f"http://127.0.0.1:{port}/{path}"])
    answered = sum(map(int, re.findall(r"\[200\]\s+(\d+) responses", out)))
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    # hey sends the same number of requests on each connection, and therefore may send a few less.
    made = requests // connections * connections
    return Load(answered, float(rate.group(1)) if rate else 0.0, made - answered, None, None)


def cost(process: Process, load) -> Cost:
    """Runs a load, and divides the CPU time of the process by the requests."""
    before = process.cpu_seconds()
    result = load()
    return Cost((process.cpu_seconds() - before) / max(result.requests, 1) * 1e6, result)


def missing():
    return [name for name in ("wrk", "hey", "openssl", "nginx", "haproxy") if not program(name)]


class IdleConnections:
    """Open connections that have each had one response."""

    REQUEST = b"GET /1k HTTP/1.1\r\nHost: localhost\r\n\r\n"

    def __init__(self, port, count):
        self.sockets = []
        for _ in range(count):
            self.sockets.append(self.one(port))

    @classmethod
    def one(cls, port):
        s = socket.create_connection(("127.0.0.1", port), timeout=10)
        s.sendall(cls.REQUEST)
        answer = b""
        while b"\r\n\r\n" not in answer or len(answer.split(b"\r\n\r\n", 1)[1]) < 1024:
            piece = s.recv(65536)
            if not piece:
                raise ConnectionError("the proxy closed an idle connection")
            answer += piece
        if not answer.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(f"the proxy answered {answer[:60]!r}")
        return s

    def close(self):
        for s in self.sockets:
            s.close()


def middle(values):
    """The median of the values that are not None."""
    values = [value for value in values if value is not None]
    return median(values) if values else None
