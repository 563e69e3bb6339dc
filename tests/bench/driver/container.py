"""The units of a real systemd, measured in a booted container.

In: the programs. Out: samples of cold starts and of throughput. The machine itself is made by tests/system; the
measuring runs in a process of its own (units.py), in namespaces that end with it, so that no mount and no process
survives, however it ends.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from .measure import Bench
from .process import Failed, Process, installed

HERE = Path(__file__).resolve().parent
SYSTEM = HERE.parent.parent / "system"
NEEDED = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "nsenter": "util-linux",
    "unshare": "util-linux",
}
# To make a root where there is none yet, and to boot it.
PREPARE = 900.0
# A sandboxed Accept=yes unit needs more than a tenth of a second for a connection.
COLD = 2.0
POWER_OFF = 60.0


class Namespaced(Process):
    """A process that runs in a PID namespace of its own below unshare(1), which passes no signal on."""

    def stop(self) -> None:
        if self.alive():
            try:
                children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
                for child in children.split():
                    os.kill(int(child), signal.SIGTERM)
                self._popen.wait(POWER_OFF)
            except (OSError, subprocess.TimeoutExpired):
                pass
        super().stop()


def units_section(bench: Bench, release: str) -> None:
    """Cold starts and throughput of our units and of plain ones."""
    if reason := unavailable():
        raise Failed(reason)
    plan = bench.plan
    wanted = {
        "release": release,
        "load": str(bench.programs.load),
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "warmup": plan.warmup,
        "timeout": plan.timeout,
        "cold_starts": plan.cold_starts,
    }
    # fmt: off
    argv = [
        "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private",
        sys.executable, "-B", str(HERE / "units.py"), json.dumps(wanted),
    ]
    # fmt: on
    env = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "RUPTIME_BIN_DIR": str(bench.programs.ruptimed.parent),
        "RUPTIME_TEST_RUN": str(os.getpid()),
    }
    if cache := os.environ.get("RUPTIME_TEST_CACHE"):
        env["RUPTIME_TEST_CACHE"] = cache
    limit = PREPARE + plan.cold_starts * 6 * COLD + plan.rounds * 6 * (plan.seconds + plan.timeout)
    with Namespaced(argv, env, stdout=subprocess.PIPE, stderr=None) as process:
        take(bench, process, time.monotonic() + limit)


def take(bench: Bench, process: Process, deadline: float) -> None:
    """Keeps the samples as they come, one JSON object a line; each line is followed by another or by the end."""
    for line in process.stdout:
        sample = json.loads(line)
        if "left_out" in sample:
            bench.leave_out(sample["left_out"], sample["why"])
        else:
            bench.samples.append(sample)
            figure = f"{sample['ms']:9.1f} ms" if "ms" in sample else f"{sample['rate']:9.0f}/s"
            bench.say(f"  {sample['section']} {sample['series']:32} {figure}")
        if time.monotonic() > deadline:
            raise Failed("the machine took too long")
    status, _ = process.finish(POWER_OFF)
    if status != 0:
        raise Failed(f"measuring in the container ended with status {status}; it said why above")


def unavailable() -> str | None:
    """Why no machine can be booted here, if so."""
    if os.geteuid() != 0:
        return "booting a systemd needs root"
    if not (SYSTEM / "machine.py").exists():
        return "tests/system, which boots it, is not there"
    missing = sorted({package for program, package in NEEDED.items() if not installed(program)})
    return f"not installed: apt-get install {' '.join(missing)}" if missing else None
