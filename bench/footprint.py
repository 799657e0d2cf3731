#!/usr/bin/env python3
"""Measures everything but CPU time: memory, start time, the balance between two cores, the size of the binary."""

import argparse
import http.client
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from compare import PEERS, Work, compare
from rig import load, machine, origin, report
from rig.process import ALL_CPUS, PROXY_CPU, Rig
from rig.proxies import OURS, Proxies, versions

ROOT = Path(__file__).resolve().parent.parent
# "whole" is last, so that the target directory contains it afterwards.
FEATURES = {
    "without the simulator": ["--no-default-features", "--features", "postgres"],
    "without PostgreSQL": ["--no-default-features", "--features", "simulator"],
    "without both": ["--no-default-features"],
    "whole": [],
}


def under_many_connections(rig, proxies, names, connections, rounds, seconds):
    """CPU per request at 1 KiB, and peak memory from 1 KiB to 64 KiB, of new processes."""
    running = proxies.start_all(names)
    cpu = compare(rig, running, Work("1k", connections), rounds, seconds)
    for one in running:
        load.wrk(rig, one.port, "64k", connections, seconds)
    peak = {one.name: one.process.memory_kib("VmHWM") / 1024 for one in running}
    for one in running:
        rig.stop(one.process)
    peers = {name: peak[name] for name in peak if name in PEERS}
    best = min(peers, key=peers.get) if peers else None
    return cpu, {"connections": connections, "peak_mib": peak, "best_peer": best}


def idle_connections(rig, proxies, count):
    """Resident memory of each idle connection: one that had a response and waits for the client."""
    limits = f"[guard]\nmax_connections = {count + 100}\n"
    running = proxies.start(OURS, proxies.ours(extra=limits))
    load.wrk(rig, running.port, "1k", 32, 1)
    before = running.process.memory_kib("VmRSS")
    clients = load.IdleConnections(running.port, count)
    time.sleep(1)
    each = (running.process.memory_kib("VmRSS") - before) / count
    clients.close()
    rig.stop(running.process)
    return {"connections": count, "kib_each": each}


def start(rig, proxies, times):
    """The time from the start to the first 200 with a stored token, and the resident memory after that, without load."""
    setup = proxies.with_stored_grant()
    ready, resident, own = [], [], []
    for _ in range(times):
        began = time.perf_counter()
        process = rig.spawn(setup.command, ALL_CPUS)
        while not answers(setup.port):
            if process.popen.poll() is not None or time.perf_counter() - began > 10:
                raise RuntimeError(f"no start: {rig.tail()}")
        ready.append((time.perf_counter() - began) * 1000)
        time.sleep(0.5)
        resident.append(process.memory_kib("VmRSS") / 1024)
        own.append(process.memory_kib("RssAnon") / 1024)
        rig.stop(process)
    return {
        "ready_ms": load.middle(ready),
        "ready_ms_worst": max(ready),
        "idle_mib": load.middle(resident),
        "idle_own_mib": load.middle(own),
    }


def answers(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/1k")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def two_cores(binary, connections, seconds):
    """The largest share of the CPU time that one thread, and one core, has."""
    with Rig() as rig:
        proxies = Proxies(rig, origin.start(rig, ALL_CPUS), binary)
        running = proxies.start(OURS, cpus=ALL_CPUS)
        run = lambda seconds, wrapper=(): load.wrk(
            rig, running.port, "1k", connections, seconds, cpus=ALL_CPUS, wrapper=wrapper
        )
        run(1)
        samples = rig.folder / "cores.data"
        record = ["perf", "record", "-q", "-F", "999", "-e", "cpu-clock", "--sample-cpu", "-o", samples, "-p", running.process.pid]
        before = running.process.threads()
        run(seconds, [*record, "--"] if shutil.which("perf") else ())
        spent = {thread: now - before.get(thread, 0) for thread, now in running.process.threads().items()}
        result = {"connections": connections, "threads": max(spent.values()) / sum(spent.values()), "cores": None}
        if samples.exists():
            script = ["perf", "script", "-i", samples, "-F", "cpu"]
            cpus = re.findall(r"\[(\d+)\]", subprocess.run(script, capture_output=True, text=True).stdout)
            result["cores"] = max(map(cpus.count, set(cpus))) / len(cpus) if cpus else None
        return result


def build_sizes(target, jobs):
    """Size in MiB of the stripped binary, with and without its optional parts."""
    environment = {**os.environ, "CARGO_TARGET_DIR": str(target)}
    sizes = {}
    for name, features in FEATURES.items():
        command = ["cargo", "build", "--locked", "--release", "--quiet", f"-j{jobs}", "--bin", OURS, *features]
        subprocess.run(command, check=True, cwd=ROOT, env=environment)
        sizes[name] = mib(Path(target) / "release" / OURS)
    return sizes


def mib(path):
    return path.stat().st_size / (1 << 20)


def markdown(result):
    parts = []
    if many := result.get("many"):
        head = ["", "peak memory, MiB"]
        peak = sorted(many["peak_mib"].items(), key=lambda item: item[1])
        parts.append(f"{many['connections']} connections, 1 KiB to 64 KiB:\n\n" + report.table(head, [[n, f"{v:.1f}"] for n, v in peak]))
    rows = []
    if begun := result.get("start"):
        rows.append(["idle, MiB resident", f"{begun['idle_mib']:.1f}"])
        rows.append(["private part of it; the rest are pages of the program file, which processes share", f"{begun['idle_own_mib']:.1f}"])
        rows.append(["from the start to the first 200 with a stored token, ms", f"{begun['ready_ms']:.0f} (worst {begun['ready_ms_worst']:.0f})"])
    if idle := result.get("idle"):
        rows.append([f"each of {idle['connections']:,} idle client connections, KiB resident", f"{idle['kib_each']:.1f}"])
    for spread in result.get("cores", []):
        core = "" if spread["cores"] is None else f", one core {spread['cores']:.0%}"
        rows.append([f"two cores, {spread['connections']} connections: largest share of the CPU time", f"one thread {spread['threads']:.0%}{core}"])
    for name, size in result.get("sizes", {}).items():
        rows.append([f"stripped binary, {name}, MiB", f"{size:.2f}"])
    parts.append(report.table(["", ""], rows))
    return "\n\n".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True, help="bearer-proxy's release binary")
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--connections", type=int, default=512, help="for the peak memory")
    parser.add_argument("--idle", type=int, default=10_000, help="idle connections")
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--sizes", metavar="TARGET_DIR", help="build each set of features there, and list the sizes")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    result = {"machine": machine.describe(), "versions": versions(options.binary)}
    with Rig() as rig:
        proxies = Proxies(rig, origin.start(rig), options.binary)
        names = [OURS, *filter(None, options.peers.split(","))]
        _, result["many"] = under_many_connections(rig, proxies, names, options.connections, 1, options.seconds)
        result["idle"] = idle_connections(rig, proxies, options.idle)
        result["start"] = start(rig, proxies, 10)
    result["cores"] = [two_cores(options.binary, connections, options.seconds) for connections in (4, 400)]
    if options.sizes:
        result["sizes"] = build_sizes(options.sizes, os.cpu_count())
    if options.json:
        report.write_json(options.json, result)
    print(markdown(result))


if __name__ == "__main__":
    main()
