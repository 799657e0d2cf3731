#!/usr/bin/env python3
"""Measures how CPU per request grows with connections, body sizes and the latency of the upstream; writes tables and a chart.

The chart shows bare hyper and a peer for comparison. A step that they share comes from the system; any other step is a cliff.
"""

import argparse

from rig import chart, load, machine, origin, report
from rig.origin import SIZES
from rig.process import Rig
from rig.proxies import OURS, Proxies, versions

DRAWN = [OURS, "hyper-h2", "nginx"]
CONNECTIONS = [1, 4, 16, 64, 256, 500, 1000, 2000]
BODIES = list(SIZES)
LATENCIES = [0, 5, 20, 50, 100, 200]

# Connections of the latency runs: enough to keep the proxy busy at 200 ms.
WAITING = 256

# The maximum bytes and requests of a run over body sizes.
VOLUME, MOST = 1 << 30, 6000


def over_connections(rig, running, seconds):
    figures = {one.name: [] for one in running}
    for connections in CONNECTIONS:
        for one in running:
            load.wrk(rig, one.port, "1k", connections, 1)
            figures[one.name].append(sound(load.cost(one.process, lambda: load.wrk(rig, one.port, "1k", connections, seconds))))
    return figures


def over_bodies(rig, running, sent):
    """With `sent`, the request has the body and the response has 1 KiB. Otherwise the response has the body."""
    figures = {one.name: [] for one in running}
    for size in BODIES:
        # A fixed count: few large bodies fit into a second, and those cut off at its end would not count.
        count = max(min(VOLUME // max(SIZES[size], 1), MOST), 16)
        path, body = ("take/1k", rig.folder / "www" / size) if sent else (size, None)
        for one in running:
            run = lambda count: load.counted(one.port, path, count, 8, body)
            run(8)
            figures[one.name].append(sound(load.cost(one.process, lambda: run(count))))
    return figures


def over_latency(rig, proxies, names, seconds):
    figures = {name: [] for name in names}
    for milliseconds in LATENCIES:
        upstream = origin.start_delayed(rig, proxies.origin, milliseconds)
        # New processes, because connections to the stopped origin are broken.
        for one in proxies.start_all(names):
            load.wrk(rig, one.port, "1k", WAITING, 1)
            figures[one.name].append(sound(load.cost(one.process, lambda: load.wrk(rig, one.port, "1k", WAITING, seconds))))
            rig.stop(one.process)
        rig.stop(upstream)
    return figures


def sound(cost):
    """CPU per request, or None if more than one in a thousand failed."""
    return cost.cpu_us if cost.load.failed * 1000 <= cost.load.requests else None


def measure(binary, layers, seconds, names=None):
    names = [name for name in names or DRAWN if layers or not name.startswith("hyper")]
    with Rig() as rig:
        proxies = Proxies(rig, origin.start(rig), binary, layers)
        running = proxies.start_all(names)
        result = {
            "connections": {"x": list(map(str, CONNECTIONS)), "cpu_us": over_connections(rig, running, seconds)},
            "response": {"x": BODIES, "cpu_us": over_bodies(rig, running, sent=False)},
            "request": {"x": BODIES, "cpu_us": over_bodies(rig, running, sent=True)},
        }
    with Rig() as rig:
        proxies = Proxies(rig, origin.prepare(rig), binary, layers)
        names = [one for one in names if one in result["connections"]["cpu_us"]]
        result["latency"] = {"x": list(map(str, LATENCIES)), "cpu_us": over_latency(rig, proxies, names, seconds)}
    for panel in result.values():
        panel["steepest"] = steepest(panel["cpu_us"])
    return result


def steepest(figures):
    """The largest growth between neighbours, divided by that of bare hyper: 1 means no step of our own."""
    ours, bare = figures.get(OURS, []), figures.get("hyper-h2", [])
    growth = lambda line, i: line[i + 1] / line[i] if line[i] and line[i + 1] else None
    steps = [(growth(ours, i), growth(bare, i)) for i in range(min(len(ours), len(bare)) - 1)]
    return max((mine / others for mine, others in steps if mine and others), default=None)


TITLES = {
    "connections": ("Client connections, 1 KiB", "connections"),
    "response": ("Response body, 8 connections", "bytes"),
    "request": ("Request body, 8 connections", "bytes"),
    "latency": (f"Upstream latency, {WAITING} connections, 1 KiB", "ms"),
}


def draw(result):
    panels = [chart.Panel(*TITLES[name], panel["x"], panel["cpu_us"]) for name, panel in result.items()]
    return chart.svg(panels, "CPU per request, µs")


def markdown(result):
    parts = []
    for name, panel in result.items():
        lines = [[who, *map(report.number, line)] for who, line in panel["cpu_us"].items()]
        note = "" if panel["steepest"] is None else f" (steepest step beyond bare hyper's: {panel['steepest']:.2f})"
        parts.append(f"{TITLES[name][0]}: CPU per request, µs{note}\n\n" + report.table(["", *panel["x"]], lines))
    return "\n\n".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--binary", required=True, help="bearer-proxy's release binary")
    parser.add_argument("--layers", help="the release build of the example `layers`: adds bare hyper")
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--svg", metavar="FILE", help="draw the chart here")
    options = parser.parse_args()
    result = measure(options.binary, options.layers, options.seconds)
    if options.json:
        head = {"machine": machine.describe(), "versions": versions(options.binary)}
        report.write_json(options.json, {**head, **result})
    if options.svg:
        report.Path(options.svg).write_text(draw(result))
    print(markdown(result))


if __name__ == "__main__":
    main()
