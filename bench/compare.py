#!/usr/bin/env python3
"""Compares bearer-proxy with nginx, HAProxy, Envoy, Caddy and bare hyper, for the same work, in one run.

Each proxy has CPU 0 to itself; the origin (nginx, TLS) and the load share CPU 1. The result is CPU per request: the time that the
scheduler gave the threads of the proxy, divided by the answered requests, as a ratio to the best peer in the same run. Each round
measures all proxies in turn, so that a slow minute of the machine affects all of them.
"""

import argparse
from dataclasses import dataclass

from rig import load, machine, origin, report
from rig.process import Rig
from rig.proxies import OURS, PLAIN, Proxies, Running, versions

PEERS = ["nginx", "haproxy-h1", "haproxy-h2", "envoy-h1", "envoy-h2", "caddy"]
HYPER = ["hyper-h1", "hyper-h2"]


@dataclass
class Work:
    """`size`: of the response; `post`: bytes of the request's body."""

    size: str
    connections: int = 32
    post: int = 0

    @property
    def name(self):
        post = f", POST {self.post:,} B" if self.post else ""
        return f"{self.size}, {self.connections} connections{post}"


def compare(rig: Rig, proxies: list[Running], work: Work, rounds, seconds):
    """CPU per request, throughput and latency of each, medians of the rounds."""
    costs = {running.name: [] for running in proxies}
    for round_number in range(rounds):
        for running in proxies:
            run = lambda seconds: load.wrk(rig, running.port, work.size, work.connections, seconds, work.post)
            if round_number == 0:
                run(1)
            costs[running.name].append(load.cost(running.process, lambda: run(seconds)))
    rows = {}
    for name, each in costs.items():
        rows[name] = {
            "cpu_us": load.middle([cost.cpu_us for cost in each]),
            "rate": load.middle([cost.load.rate for cost in each]),
            "p50_ms": load.middle([cost.load.p50_ms for cost in each]),
            "p99_ms": load.middle([cost.load.p99_ms for cost in each]),
            "failed": sum(cost.load.failed for cost in each),
        }
    return {"rows": rows, **ratios(rows, "cpu_us")}


def compare_paced(proxies: list[Running], size, rate, connections, rounds, seconds):
    """Latency at a fixed rate, medians of the rounds."""
    samples = {running.name: [] for running in proxies}
    for _ in range(rounds):
        for running in proxies:
            samples[running.name].append(load.paced(running.port, size, rate, connections, seconds))
    rows = {name: {share: load.middle([s.get(share) for s in each]) for share in ("p50", "p95", "p99")} for name, each in samples.items()}
    return {"rate": rate, "rows": rows, "p50": ratios(rows, "p50"), "p99": ratios(rows, "p99")}


def ratios(rows, key):
    """The ratio of this program to the best peer, and to bare hyper with the same protocol and build."""
    found = {}
    ours = rows.get(OURS, {}).get(key)
    sound = {name: row[key] for name, row in rows.items() if row[key] and not row.get("failed")}
    peers = {name: value for name, value in sound.items() if name in PEERS}
    if ours and peers:
        found["best_peer"] = min(peers, key=peers.get)
        found["to_best_peer"] = ours / peers[found["best_peer"]]
    like_hyper = sound.get(PLAIN) if PLAIN in rows else ours
    if like_hyper and "hyper-h2" in sound:
        found["to_hyper"] = like_hyper / sound["hyper-h2"]
    return found


def markdown(result):
    """One table of CPU per request, with a column for each work."""
    works = result["works"]
    names = list(dict.fromkeys(name for work in works.values() for name in work["rows"]))
    lines = [[name, *(cell(work["rows"].get(name)) for work in works.values())] for name in names]
    lines.append(["**to the best peer**", *(bold(work.get("to_best_peer")) for work in works.values())])
    same = ", both without PGO" if PLAIN in names else ""
    lines.append([f"**to bare hyper (h2)**{same}", *(bold(work.get("to_hyper")) for work in works.values())])
    text = "CPU per request, µs:\n\n" + report.table(["", *works], lines)
    if paced := result.get("paced"):
        head = ["", "p50, ms", "p95, ms", "p99, ms"]
        lines = [[name, *(report.number(row[key]) for key in ("p50", "p95", "p99"))] for name, row in paced["rows"].items()]
        lines.append(["**to the best peer**", bold(paced["p50"].get("to_best_peer")), None, bold(paced["p99"].get("to_best_peer"))])
        text += f"\n\nLatency at {paced['rate']:,} requests per second:\n\n" + report.table(head, lines)
    return text


def cell(row):
    if row is None:
        return None
    return report.number(row["cpu_us"]) + (f" ({row['failed']} failed)" if row["failed"] else "")


def bold(value):
    return None if value is None else f"**{value:.2f}**"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--binary", required=True, help="bearer-proxy's release binary")
    parser.add_argument("--layers", help="the release build of the example `layers`: adds bare hyper")
    parser.add_argument("--peers", default=",".join(PEERS), help="default: %(default)s")
    parser.add_argument("--http", default="auto", help="upstream.http of bearer-proxy: auto, 1 or 2")
    parser.add_argument("--sizes", default="1k,64k,1m", help="sizes of the response, from: " + ", ".join(origin.SIZES))
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2, help="duration of one measurement")
    parser.add_argument("--post", type=int, default=0, metavar="BYTES", help="send POST requests with a body of this size")
    parser.add_argument("--paced", type=int, default=0, metavar="RATE", help="also measure the latency at this many requests per second")
    parser.add_argument("--json", metavar="FILE", help="also write the results to this file")
    parser.add_argument("--markdown", metavar="FILE", help="write the tables to this file instead of the terminal")
    parser.add_argument("--keep", action="store_true", help="keep configurations and logs")
    options = parser.parse_args()

    result = {"machine": machine.describe(), "versions": versions(options.binary), "works": {}}
    with Rig(options.keep) as rig:
        made = Proxies(rig, origin.start(rig), options.binary, options.layers, options.http)
        proxies = made.start_all([OURS, *(HYPER if options.layers else []), *filter(None, options.peers.split(","))])
        for size in options.sizes.split(","):
            work = Work(size, options.connections, options.post)
            result["works"][work.name] = compare(rig, proxies, work, options.rounds, options.seconds)
        if options.paced:
            rounds = max(options.rounds, 5)
            result["paced"] = compare_paced(proxies, "1k", options.paced, options.connections, rounds, options.seconds)
    if options.json:
        report.write_json(options.json, result)
    text = machine.sentence(result["machine"], result["versions"]) + "\n\n" + markdown(result) + "\n"
    if options.markdown:
        report.Path(options.markdown).write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
