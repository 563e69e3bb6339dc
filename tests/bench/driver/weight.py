"""What the programs weigh: memory idle, busy and after many answers; time to start.

In: servers. Out: samples in KiB and milliseconds. Memory that grows with the number of answers would be a leak,
memory that grows with the number of waiting clients has to be bounded: both are looked at.
"""

from __future__ import annotations

import threading
import time

from .measure import Bench, load, spawn
from .process import Failed, Process, memory
from .servers import MATCHED, Ours, Server, floor, notify_socket, wait_ready

GLANCE = 0.1


class Watch(threading.Thread):
    """Looks at a process's memory ten times a second and keeps the largest that it saw."""

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self.pid = pid
        self.done = threading.Event()
        self.largest: dict[str, int] = {}

    def __enter__(self) -> "Watch":
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.done.set()
        self.join()

    def run(self) -> None:
        while True:
            try:
                for name, value in memory(self.pid).items():
                    self.largest[name] = max(value, self.largest.get(name, 0))
            except OSError:
                return
            if self.done.wait(GLANCE):
                return


def memory_section(bench: Bench, peers: list[Server]) -> None:
    """Each server idle, busy, after a tenth and after all of the answers."""
    ours = Ours(bench.programs)
    every = bench.plan.answers
    for server, answers in [
        (ours.stream("ruptimed exec"), every),
        (ours.stream("ruptimed capture", "--handoff", "capture"), every),
        (ours.datagram("ruptimed datagram"), every),
        # For the peers it is enough to know their size, with as many clients as none of them loses.
        *((peer, every // 20) for peer in peers),
    ]:
        try:
            weigh(bench, server, max(answers, 100))
        except (Failed, OSError, ValueError) as e:
            bench.leave_out(f"memory of {server.name}", e)


def weigh(bench: Bench, server: Server, answers: int) -> None:
    with server.start(MATCHED) as running:
        idle = memory(running.pid)
        stages = {}
        with Watch(running.pid) as watch:
            for stage, count in (("tenth", answers // 10), ("all", answers - answers // 10)):
                ask(bench, running.target, count, 256 if server.kind == "ours" else 16)
                stages[stage] = memory(running.pid)
        busy = watch.largest
        crowd = {}
        if server.kind == "ours":
            with Watch(running.pid) as watch:
                clients = max(bench.plan.bursts)
                ask(bench, running.target, clients, clients)
            crowd = watch.largest
    bench.keep(
        "memory",
        server.name,
        kind=server.kind,
        answers=answers,
        idle=idle,
        busy=busy,
        after_tenth=stages["tenth"],
        after_all=stages["all"],
        crowd=crowd,
    )
    bench.say(f"  memory {server.name:28} idle {idle} after {answers}: {stages['all']}")


def ask(bench: Bench, target: str, count: int, clients: int) -> None:
    # Enough for 100 answers a second, ten times slower than any server here should be.
    limit = count / 100 + 60
    options = ["--clients", str(clients), "--count", str(count), "--for", str(limit)]
    result = load(bench, target, *options, "--timeout", "10", limit=limit + 30)
    if result["answered"] < count * 0.9:
        raise Failed(f"{count} asked, {result['answered']} answered: {result['failures']}")


def startup_section(bench: Bench) -> None:
    """How long each program takes: to say its version, to be ready, to ask one host."""
    for round_ in range(bench.plan.rounds):
        for name, argv in [
            ("true", ["/usr/bin/true"]),
            ("ruptimed --version", [str(bench.programs.ruptimed), "--version"]),
            ("ruptime --version", [str(bench.programs.ruptime), "--version"]),
        ]:
            run_alone(bench, name, argv, round_)
        with floor(bench.programs, "", "floor", "accept").start(MATCHED) as running:
            port = running.target.rpartition(":")[2]
            address = f"127.0.0.1:{port}"
            run_alone(bench, "ruptime, one host", [str(bench.programs.ruptime), address], round_)
            run_alone(bench, "nc, one host", ["/bin/nc", "-d", "127.0.0.1", port], round_)
        try:
            keep_start(bench, "ruptimed until READY=1", round_, 1000 * until_ready(bench))
        except Failed as e:
            bench.leave_out("ruptimed until READY=1", e)


def run_alone(bench: Bench, name: str, argv: list[str], round_: int) -> None:
    """One after the other on one core: milliseconds for each run, wait included."""
    try:
        result = spawn(bench, MATCHED, bench.plan.seconds / 2, "--workers", "1", "--", *argv)
    except Failed as e:
        bench.leave_out(f"start-up: {name}", e)
        return
    keep_start(bench, name, round_, 1000 / result["rate"])


def keep_start(bench: Bench, name: str, round_: int, ms: float) -> None:
    bench.keep("startup", name, round=round_, ms=ms)
    bench.say(f"  startup {name:28} {ms:8.2f} ms")


def until_ready(bench: Bench) -> float:
    """Seconds from the daemon's start to its READY=1, with a listener of its own; the median of ten."""

    def once() -> float:
        with notify_socket() as (path, messages):
            env = dict(MATCHED, NOTIFY_SOCKET=path)
            begin = time.monotonic()
            argv = [str(bench.programs.ruptimed), "--listen", "127.0.0.1:0"]
            with Process(argv, env) as process:
                wait_ready(messages, process)
                return time.monotonic() - begin

    return sorted(once() for _ in range(10))[5]

