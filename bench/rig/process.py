"""Starts processes on given CPUs, measures them from outside, and ends them with the rig."""

import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# The proxy has a CPU to itself; origin and load share the other.
CPUS = sorted(os.sched_getaffinity(0))[:2]
PROXY_CPU, LOAD_CPU, ALL_CPUS = {CPUS[0]}, {CPUS[-1]}, set(CPUS)

# Packages install servers there; it is not in the PATH of every user.
SEARCH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"


def program(name):
    """The path of an installed program, or None."""
    return shutil.which(name, path=SEARCH)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def children(pid):
    """A process and all its descendants, because nginx and launchers start others."""
    found, todo = [], [pid]
    while todo:
        pid = todo.pop()
        found.append(pid)
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                todo += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
        except OSError:
            pass  # It has ended.
    return found


def inherited():
    """This process's environment, without variables that override the configuration of a proxy."""
    proxies = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
    return {key: value for key, value in os.environ.items() if key.upper() not in proxies and not key.startswith("BEARER_PROXY_")}


def on(cpus):
    """A `preexec_fn` that restricts the process and its children to these CPUs."""
    return lambda: os.sched_setaffinity(0, cpus)


class Process:
    def __init__(self, popen):
        self.popen = popen
        self.pid = popen.pid

    def threads(self):
        """CPU seconds by thread id. The scheduler counts nanoseconds, not ticks."""
        seconds = {}
        for pid in children(self.pid):
            try:
                for task in os.listdir(f"/proc/{pid}/task"):
                    stat = Path(f"/proc/{pid}/task/{task}/schedstat").read_text()
                    seconds[int(task)] = int(stat.split()[0]) / 1e9
            except OSError:
                pass
        return seconds

    def cpu_seconds(self):
        return sum(self.threads().values())

    def memory_kib(self, field):
        """`VmRSS` (now) or `VmHWM` (peak) of the process and its descendants."""
        total = 0
        for pid in children(self.pid):
            try:
                total += int(re.search(rf"{field}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()).group(1))
            except (OSError, AttributeError):
                pass
        return total

    def answers(self, port, seconds=10):
        """Waits until the port accepts connections."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.popen.poll() is None:
            with socket.socket() as s:
                s.settimeout(0.2)
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    return True
            time.sleep(0.02)
        return False

    def stop(self):
        if self.popen.poll() is None:
            self.popen.terminate()
        try:
            self.popen.wait(5)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()


class Rig:
    """A directory for configurations and logs, and the processes that use it. Ends them on exit."""

    def __init__(self, keep=False):
        self.keep = keep
        self.processes = []

    def __enter__(self):
        # By default, SIGTERM would end Python without ending the processes.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        self.folder = Path(tempfile.mkdtemp(prefix="bench-"))
        # A proxy has two sockets per client, and the limit of a shell is 1,024.
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        # The workers of nginx run as another user.
        self.folder.chmod(0o755)
        self.log = open(self.folder / "log", "ab")
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.stop()
        self.log.close()
        if self.keep:
            print(f"configurations and logs: {self.folder}", file=sys.stderr)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return path

    def run(self, *command, **options):
        subprocess.run(command, check=True, cwd=self.folder, stdout=self.log, stderr=self.log, env=inherited(), **options)

    def spawn(self, command, cpus, environment=None):
        popen = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            cwd=self.folder,
            env={**inherited(), **(environment or {})},
            preexec_fn=on(cpus),
        )
        process = Process(popen)
        self.processes.append(process)
        return process

    def stop(self, process):
        self.processes.remove(process)
        process.stop()

    def tail(self):
        return (self.folder / "log").read_text(errors="replace")[-2000:]
