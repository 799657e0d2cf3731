"""Counts instructions per request. They repeat to about one in a hundred; CPU time does not."""

import re
import shutil
import signal
import subprocess

from . import load
from .process import PROXY_CPU, Rig


def perf_counts():
    """Whether this machine counts instructions. Many virtual machines do not."""
    if not shutil.which("perf"):
        return False
    out = subprocess.run(["perf", "stat", "-x,", "-e", "instructions:u", "true"], capture_output=True, text=True).stderr
    return bool(re.search(r"^\d+,,instructions:u", out, re.M))


def instrument():
    """The instrument of this machine: `perf` counts instructions, `callgrind` simulates them, or None."""
    return "perf" if perf_counts() else "callgrind" if shutil.which("valgrind") else None


def instructions(rig: Rig, running, run) -> float:
    """Counts in user space, while `run(wrapper)` runs wrk under perf."""
    out = rig.folder / "perf.csv"
    wrapper = ["perf", "stat", "-x,", "-o", out, "-e", "instructions:u", "-p", running.process.pid]
    requests = run(wrapper).requests
    counted = re.search(r"^(\d+),,instructions:u", out.read_text(), re.M)
    return int(counted.group(1)) / max(requests, 1)


def callgrind(rig: Rig, setup, path, connections, post=0, requests=2000) -> float:
    """Simulates in user space: the difference of two runs, divided by the difference of their requests.

    So the start is left out, and no counter of the machine is needed. The simulated processor has no AVX-512, with which
    ciphers are quicker: hold the figure against another of the same kind only.
    """
    body = rig.write(f"body-{post}", "p" * post) if post else None
    requests -= requests % connections
    first, second = (collected(rig, setup, path, connections, count, body) for count in (requests, 2 * requests))
    return (second - first) / requests


def collected(rig: Rig, setup, path, connections, requests, body):
    log = rig.folder / "callgrind.log"
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", f"--log-file={log}", *map(str, setup.command)]
    process = rig.spawn(command, PROXY_CPU)
    try:
        if not process.answers(setup.port, 60):
            raise RuntimeError(f"nothing listens under valgrind: {log.read_text()}")
        answered = load.counted(setup.port, path, requests, connections, body)
        process.popen.send_signal(signal.SIGTERM)
        process.popen.wait(60)
    finally:
        rig.stop(process)
    if answered.failed:
        raise RuntimeError(f"{answered.failed} requests failed under valgrind")
    return int(re.search(r"Collected : (\d+)", log.read_text()).group(1))
