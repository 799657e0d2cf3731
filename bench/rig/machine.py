"""Describes what was measured, when, and on which machine."""

import datetime
import os
import platform
import re
import subprocess
from pathlib import Path


def describe():
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": model.group(1) if model else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory.group(1)) / (1 << 20)) if memory else None,
        "kernel": platform.release().split("-")[0],
        "commit": commit(),
        # More than about 0.2 before the start means that other programs ran, too.
        "load_before": os.getloadavg()[0],
    }


def commit():
    answer = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=Path(__file__).parent)
    return answer.stdout.strip() or None


def sentence(machine, versions):
    listed = ", ".join(f"{name} {number}" for name, number in versions.items())
    return (
        f"{machine['date']}; {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"Linux {machine['kernel']}; {listed}"
    )
