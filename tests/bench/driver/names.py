"""The client over many names, through name servers that are near and far away.

In: delays. Out: seconds, CPU seconds and peak memory for each. Everything runs in a network and a mount namespace
that unshare(1) makes, in which a name server of ours is the only one, and every name is the loopback address.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from .container import Namespaced
from .fleet import once
from .measure import Bench
from .process import Failed, Process
from .servers import MATCHED, Programs, floor

PREPARE = 30.0
LIMIT = 120.0


def names_section(bench: Bench) -> None:
    if os.geteuid() != 0:
        raise Failed("a network namespace with a name server of its own needs root")
    for round_ in range(bench.plan.rounds):
        for delay in bench.plan.name_delays:
            bench.say(f"names: round {round_ + 1} of {bench.plan.rounds}")
            for sample in measured(bench, delay):
                bench.keep("names", hosts=bench.plan.names, delay_ms=delay, round=round_, **sample)
                bench.say(f"  names {sample['series']:28} {delay} ms away {sample['seconds']:8.3f} s")


def measured(bench: Bench, delay: int) -> list[dict]:
    """Runs this file in namespaces of its own; what it found."""
    wanted = {
        "names": bench.plan.names,
        "delay_ms": delay,
        "programs": {name: str(path) for name, path in vars(bench.programs).items()},
    }
    # fmt: off
    argv = [
        "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private",
        sys.executable, "-B", "-m", "driver.names", json.dumps(wanted),
    ]
    # fmt: on
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    with Namespaced(argv, env, stdout=-1) as process:
        status, out = process.finish(PREPARE + 2 * LIMIT)
        if status != 0:
            raise Failed(process.complaint())
    return json.loads(out)


def inside(wanted: dict) -> list[dict]:
    """In the namespaces: a name server, a listener, and the client."""
    programs = Programs(**{name: Path(path) for name, path in wanted["programs"].items()})
    with tempfile.TemporaryDirectory(prefix="ruptime-bench.") as folder:
        run(["ip", "link", "set", "lo", "up"])
        for name, text in (("resolv.conf", "nameserver 127.0.0.1\n"), ("nsswitch.conf", "hosts: files dns\n")):
            file = Path(folder) / name
            file.write_text(text)
            run(["mount", "--bind", str(file), f"/etc/{name}"])
        delay = str(wanted["delay_ms"] / 1000)
        server = floor(programs, "", "floor", "names", "--listen", "127.0.0.1:53", "--delay", delay)
        listener = floor(programs, "", "floor", "accept")
        with server.start(MATCHED), listener.start(MATCHED) as running:
            port = running.target.rpartition(":")[2]
            hosts = Path(folder) / "hosts"
            hosts.write_text("".join(f"web{n}.test\n" for n in range(wanted["names"])))
            ruptime = [str(programs.ruptime), "--timeout", "30", "--port", port, "-f", str(hosts), "-o", "text"]
            return [
                {"series": "ruptime, text", **once(programs, ruptime)},
                {"series": "ruptime -4, text", **once(programs, [*ruptime, "-4"])},
            ]


def run(argv: list[str]) -> None:
    with Process(argv, {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}) as process:
        status, _ = process.finish(PREPARE)
        if status != 0:
            raise Failed(f"{' '.join(argv)}: {process.complaint()}")


if __name__ == "__main__":
    print(json.dumps(inside(json.loads(sys.argv[1]))))
