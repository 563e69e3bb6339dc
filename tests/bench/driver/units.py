"""Measures units of a booted systemd. Started by container.py, in mount and PID namespaces of its own.

In: one JSON object as the only argument. Out: samples on standard output, one JSON object a line. Plain units beside
ours show what `Accept=yes` and uptime alone do; the same with our sandbox, what the sandbox costs them.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SYSTEM = HERE.parent.parent / "system"
sys.path.insert(0, str(SYSTEM))

import roots  # noqa: E402
import suite  # noqa: E402
from machine import Machine  # noqa: E402

CLIENTS = 16
# Of a service these lines are its own; all others of ours are the sandbox and its bounds.
OWN = ("Type=", "ExecStart=", "Restart", "WatchdogSec=", "KillMode=", "TimeoutStopSec=", "OOMPolicy=")
OURS = Path("/usr/lib/systemd/system")

ACCEPT = """\
[Socket]
ListenStream=127.0.0.1:{port}
Accept=yes
Backlog=4096
MaxConnections=4096
MaxConnectionsPerSource=4096
TriggerLimitIntervalSec=0
"""

ACCEPTED = """\
[Unit]
CollectMode=inactive-or-failed
[Service]
ExecStart=-/usr/bin/uptime
StandardInput=socket
Environment=LC_ALL=C
"""

HELD = """\
[Socket]
ListenStream=127.0.0.1:{port}
Backlog=4096
TriggerLimitIntervalSec=0
"""

HOLDER = """\
[Unit]
StartLimitIntervalSec=0
[Service]
Type=notify
ExecStart=/usr/sbin/ruptimed
"""


class Unit:
    """One way to answer in the machine: its socket unit, its port, and how to bring it back to cold."""

    def __init__(self, name: str, socket: str, port: int, accepts: bool):
        self.name = name
        self.socket = socket
        self.port = port
        stem = socket.removesuffix(".socket")
        self.service = f"{stem}@*.service" if accepts else f"{stem}.service"


def unit_files(sandbox: str) -> dict[str, str]:
    """The units beside ours, by file name."""
    return {
        "bench-plain.socket": ACCEPT.format(port=20001),
        "bench-plain@.service": ACCEPTED,
        "bench-sandboxed.socket": ACCEPT.format(port=20002),
        "bench-sandboxed@.service": ACCEPTED + sandbox,
        "bench-held.socket": HELD.format(port=20003),
        "bench-held.service": HOLDER,
    }


# ruptime-inetd.socket conflicts with ruptime.socket and has its port: it goes last.
UNITS = [
    Unit("ruptime.socket", "ruptime.socket", 10513, False),
    Unit("the same without a sandbox", "bench-held.socket", 20003, False),
    Unit("plain Accept=yes unit", "bench-plain.socket", 20001, True),
    Unit("sandboxed Accept=yes unit", "bench-sandboxed.socket", 20002, True),
    Unit("ruptime-inetd.socket", "ruptime-inetd.socket", 10513, True),
]


def sandbox_of(service: str) -> str:
    """The lines of a service's sandbox."""
    _, _, section = service.partition("[Service]\n")
    section = section.partition("\n[")[0]
    kept = [line for line in section.splitlines() if line and not line.startswith(("#", *OWN))]
    return "".join(f"{line}\n" for line in kept)


class Measuring:
    """A booted machine and what is wanted of it."""

    def __init__(self, machine: Machine, wanted: dict):
        self.machine = machine
        self.wanted = wanted

    def prepare(self) -> None:
        shipped = self.machine.path(str(OURS / "ruptime-inetd@.service")).read_text()
        folder = self.machine.path("/etc/systemd/system")
        for name, text in unit_files(sandbox_of(shipped)).items():
            (folder / name).write_text(text)
        self.machine.systemctl("daemon-reload")

    def load(self, unit: Unit, *options: str) -> dict:
        """Runs the load generator in the machine's network and nothing else of the machine's."""
        inside = ["nsenter", "-t", str(self.machine.init), "-n", self.wanted["load"]]
        argv = [*inside, "--timeout", str(self.wanted["timeout"]), *options, f"tcp:127.0.0.1:{unit.port}"]
        limit = self.wanted["seconds"] + self.wanted["warmup"] + self.wanted["timeout"] + 30
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit, check=False
        )
        if done.returncode not in (0, 1):
            raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def running(self, unit: Unit) -> str:
        """The service's processes that are there, as systemctl lists their units."""
        states = "--state=active,activating,deactivating,reloading"
        return self.machine.systemctl("list-units", "--no-legend", "--plain", states, unit.service).strip()

    def cool(self, unit: Unit) -> None:
        """No process of the service is there any more; its socket listens."""
        self.machine.systemctl("stop", unit.service)
        deadline = time.monotonic() + 30
        while self.running(unit):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{unit.service} did not stop")
            time.sleep(0.02)

    def cold_start(self, unit: Unit, round_: int) -> None:
        self.cool(unit)
        result = self.load(unit, "--burst")
        if result["answered"] != 1:
            leave_out(f"cold start of {unit.name}", str(result["failures"]))
            return
        ms = result["latency_us"]["max"] / 1000
        keep(section="cold start", series=unit.name, kind="ours", round=round_, ms=ms)

    def throughput(self, unit: Unit, round_: int) -> None:
        """The rate once the service runs, where it is one that stays."""
        self.load(unit, "--burst")
        span = ["--for", str(self.wanted["seconds"]), "--warmup", str(self.wanted["warmup"])]
        result = self.load(unit, "--clients", str(CLIENTS), *span)
        kept = ("asked", "answered", "failed", "failures", "rate", "latency_us", "window_s", "total_s")
        keep(
            section="unit throughput",
            series=unit.name,
            kind="ours" if "Accept" not in unit.name else "peer",
            clients=CLIENTS,
            round=round_,
            memory=self.memory(unit),
            **{key: result[key] for key in kept},
        )

    def memory(self, unit: Unit) -> dict:
        """Memory of a service that stays, in KiB."""
        if "@" in unit.service:
            return {}
        pid = self.machine.show(unit.service, "MainPID")
        wanted = {"VmRSS": "rss_kib", "RssAnon": "anon_kib"}
        lines = self.machine.path(f"/proc/{pid}/status").read_text().splitlines()
        found = (line.split() for line in lines if line.partition(":")[0] in wanted)
        return {wanted[name.rstrip(":")]: int(value) for name, value, *_ in found}

    def run(self) -> None:
        self.prepare()
        for action, count in ((self.cold_start, self.wanted["cold_starts"]), (self.throughput, self.wanted["rounds"])):
            for round_ in range(count):
                for unit in UNITS:
                    self.machine.systemctl("start", unit.socket)
                    try:
                        action(unit, round_)
                    except (RuntimeError, OSError, subprocess.SubprocessError) as e:
                        leave_out(unit.name, str(e))
                    finally:
                        self.machine.systemctl("stop", unit.socket)
                        self.cool(unit)


def keep(**sample) -> None:
    print(json.dumps(sample), flush=True)


def leave_out(what: str, why: str) -> None:
    print(json.dumps({"left_out": what, "why": why}), flush=True)


def interrupted(number: int, _frame) -> None:
    sys.exit(128 + number)


def main() -> None:
    wanted = json.loads(sys.argv[1])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, interrupted)
    # What the harness prints is no sample.
    samples, sys.stdout = sys.stdout, sys.stderr
    release = wanted["release"]
    with roots.ready([release]):
        suite.private_mounts()
        suite.install(release)
        machine = Machine(f"bench-{release}", roots.path(release), suite.INSTALLED / release)
        try:
            machine.boot()
            sys.stdout = samples
            Measuring(machine, wanted).run()
        finally:
            machine.power_off()


if __name__ == "__main__":
    main()
