#!/usr/bin/env python3
"""Measures what each layer costs: CPU and instructions per request, with the stack built up one layer at a time.

perf counts the instructions in user space, under the same load as the CPU time. Where perf cannot count, and with --callgrind,
valgrind simulates a fixed number of requests instead. That is slower, and gives the same result on each machine.
"""

import argparse
import subprocess
import sys

from rig import counters, load, machine, origin, report
from rig.process import Rig
from rig.proxies import OURS, Proxies, versions

HEIGHTS = {
    "hyper": "bare hyper: TLS and the header",
    "server": "+ listener, connection deadlines, drain, event batching",
    "pool": "+ pool of upstream connections",
    "guard": "+ guard",
    "bearer": "+ header hygiene, live token, refusals, kept body, idle limits",
    "forward": "+ limit on the wait for a response",
    "limit": "+ bound on requests in flight",
    "observe": "+ metrics, log of requests",
    OURS: "the program: + reload, admin, refresher",
}


def measure(rig, proxies, http, size, connections, seconds, rounds, post=0, callgrind=False):
    """`{"counted_by", "heights": {height: {"cpu_us", "instructions"}}}`, medians of the rounds."""
    setups = {height: proxies.ours(http=http) if height == OURS else proxies.layer(height, http) for height in HEIGHTS}
    instrument = "callgrind" if callgrind else counters.instrument()
    running = [proxies.start(height, setup) for height, setup in setups.items()]
    cpu, instructions = ({height: [] for height in setups} for _ in range(2))
    for round_number in range(rounds):
        for one in running:
            run = lambda wrapper=(), s=seconds: load.wrk(rig, one.port, size, connections, s, post, wrapper=wrapper)
            if round_number == 0:
                run(s=1)
            cpu[one.name].append(load.cost(one.process, run).cpu_us)
            if instrument == "perf":
                instructions[one.name].append(counters.instructions(rig, one, run))
    for one in running:
        rig.stop(one.process)
    if instrument == "callgrind":
        for height, setup in setups.items():
            try:
                instructions[height].append(counters.callgrind(rig, setup, size, connections, post))
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                # With --callgrind this is the result. Otherwise the other columns are worth more than this one.
                if callgrind:
                    raise
                print(f"{height}: instructions not simulated: {error}", file=sys.stderr)
    heights = {
        height: {"cpu_us": load.middle(cpu[height]), "instructions": load.middle(instructions[height])} for height in setups
    }
    return {"counted_by": instrument, "heights": heights}


# How to read the figures of each instrument.
INSTRUMENTS = {
    "perf": "Instructions are counted by perf, in user space, under load.",
    "callgrind": "Instructions are counted in user space and simulated by callgrind. They repeat to one in a hundred; CPU time does "
    "not. The simulated processor has no AVX-512, with which ciphers take fewer instructions.",
}


def markdown(measured):
    lines, below = [], None
    for height, row in measured["heights"].items():
        step = {key: None if below is None or row[key] is None else row[key] - below[key] for key in row}
        lines.append(
            [
                height,
                HEIGHTS[height],
                report.whole(row["instructions"]),
                signed(step["instructions"], ",.0f"),
                report.number(row["cpu_us"]),
                signed(step["cpu_us"], ".2f"),
            ]
        )
        below = row
    note = INSTRUMENTS.get(measured["counted_by"])
    table = report.table(["layer", "what it adds", "instructions", "more", "CPU, µs", "more"], lines, numbers_from=2)
    return f"{table}\n\n{note}" if note else table


def signed(value, form):
    return None if value is None else format(value, "+" + form)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--binary", required=True, help="bearer-proxy's release binary")
    parser.add_argument("--layers", required=True, help="the release build of the example `layers`")
    parser.add_argument("--http", default="2", help="the upstream's protocol: 1 or 2")
    parser.add_argument("--size", default="1k")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--post", type=int, default=0, metavar="BYTES")
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--callgrind", action="store_true", help="simulate instead of counting")
    options = parser.parse_args()
    with Rig() as rig:
        proxies = Proxies(rig, origin.start(rig), options.binary, options.layers)
        measured = measure(
            rig, proxies, options.http, options.size, options.connections, options.seconds, options.rounds, options.post,
            options.callgrind,
        )
    print(machine.sentence(machine.describe(), versions(options.binary)), "\n")
    print(f"A request, HTTP/{options.http} upstream, {options.size}, {options.connections} connections:\n")
    print(markdown(measured))


if __name__ == "__main__":
    main()
