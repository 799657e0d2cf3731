#!/usr/bin/env python3
"""Counts the instructions per request of a bearer-proxy binary, in user space, with one figure per workload.

The figures repeat to about one in a hundred. Given two binaries, the script compares them.
"""

import argparse

from rig import counters, load, origin, report
from rig.process import Rig
from rig.proxies import Proxies

WORKS = [("1k", 32, 0), ("64k", 32, 0), ("1k", 32, 4096), ("1k", 512, 0)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("binary", nargs="+")
    parser.add_argument("--http", default="auto", help="upstream.http: auto, 1 or 2")
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--callgrind", action="store_true", help="simulate by valgrind instead of counting by perf")
    options = parser.parse_args()
    if not options.callgrind and not counters.perf_counts():
        parser.error("perf is not installed, or this machine counts no instructions: use --callgrind")
    columns = []
    with Rig() as rig:
        source = origin.start(rig)
        for binary in options.binary:
            proxies = Proxies(rig, source, binary, http=options.http)
            columns.append([one(rig, proxies, work, options) for work in WORKS])
    lines = []
    for work, *figures in zip(WORKS, *columns):
        size, connections, post = work
        change = [f"{(figures[-1] / figures[0] - 1) * 100:+.1f} %"] if len(figures) > 1 else []
        name = f"{size}, {connections} connections" + (f", POST {post}" if post else "")
        lines.append([name, *(report.whole(figure) for figure in figures), *change])
    print(report.table(["instructions per request", *options.binary, *(["change"] if len(options.binary) > 1 else [])], lines))


def one(rig, proxies, work, options):
    size, connections, post = work
    setup = proxies.ours()
    if options.callgrind:
        return counters.callgrind(rig, setup, size, connections, post)
    running = proxies.start("bearer-proxy", setup)
    run = lambda wrapper=(), s=options.seconds: load.wrk(rig, running.port, size, connections, s, post, wrapper=wrapper)
    run(s=1)
    figure = load.middle([counters.instructions(rig, running, run) for _ in range(options.rounds)])
    rig.stop(running.process)
    return figure


if __name__ == "__main__":
    main()
