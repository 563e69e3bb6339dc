"""One measurement: a fresh server, a load, a sample.

In: a server, an environment, a number of clients. Out: one flat record, kept as JSON. Every measurement starts its
own server, so that none inherits what an earlier one left behind (memory, a backlog, a tripped limit).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterable

from .goals import CEILING
from .process import Cpu, Failed, Process, memory
from .servers import MATCHED, Programs, Server

# Where each answer is a command of its own, a run with so many clients is a burst (every client asks once, all at
# the same moment): 4,000 clients in a closed loop would need half a minute before one of them asked twice.
BURST_FROM = 1000
# Long enough for 4,000 answers at a third of what the command allows on two cores, and for a connect that the
# kernel tries a fourth time (after 1, 3, 7 and 15 s): what is not answered by then is lost, not slow.
BURST_TIMEOUT = 30.0


@dataclass
class Plan:
    """How much to measure."""

    rounds: int
    # Of one measurement, of the time before it, and for one request, in seconds.
    seconds: float
    warmup: float
    timeout: float
    # Clients at once, where each answer is a command of its own, and where answers are shared.
    stream_clients: list[int]
    shared_clients: list[int]
    # Requests at the same moment.
    bursts: list[int]
    # Answers after which memory is looked at.
    answers: int
    # Our server and the best of the others, one after the other, in alternating order.
    pairs: int
    # Hosts that the client asks; in the end, as many as it takes; by name, through servers so many milliseconds
    # away; by ssh.
    hosts: list[int]
    many_hosts: list[int]
    names: int
    name_delays: list[int]
    ssh_hosts: int
    # Cold starts of each unit.
    cold_starts: int


@dataclass
class Bench:
    """What all measurements share, and the samples so far."""

    plan: Plan
    programs: Programs
    out: Path
    samples: list[dict] = field(default_factory=list)
    left_out: list[dict] = field(default_factory=list)

    def keep(self, section: str, series: str, **values) -> None:
        self.samples.append({"section": section, "series": series, **values})

    def leave_out(self, what: str, why: object, remedy: str | None = None) -> None:
        """Nothing is left out silently: it is told now, and again in the report."""
        self.say(f"left out: {what}: {why}")
        entry = {"what": what, "why": str(why), "remedy": remedy}
        if entry not in self.left_out:
            self.left_out.append(entry)

    @staticmethod
    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def load(bench: Bench, target: str, *options: str, limit: float, prefix: Iterable[str] = ()) -> dict:
    """Runs the load generator; its JSON. `limit` bounds the whole run in seconds, `prefix` is put before it."""
    argv = [*prefix, str(bench.programs.load), *options, target]
    with Process(argv, {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, stdout=subprocess.PIPE) as process:
        status, out = process.finish(limit)
    if status not in (0, 1):
        raise Failed(f"{' '.join(argv)}: exit status {status}")
    return json.loads(out)


def load_options(bench: Bench, clients: int, burst: bool, timeout: float) -> tuple[list[str], float]:
    """The options for a number of clients, and how long that may take."""
    plan = bench.plan
    common = ["--clients", str(clients), "--timeout", str(timeout)]
    if burst:
        return [*common, "--burst"], timeout + 30
    span = ["--for", str(plan.seconds), "--warmup", str(plan.warmup)]
    return [*common, *span], plan.seconds + plan.warmup + timeout + 30


def measure(
    bench: Bench,
    section: str,
    server: Server,
    env: dict,
    clients: int,
    round_: int,
    *,
    burst: bool = False,
    cpu: int | None = None,
    timeout: float | None = None,
) -> None:
    """Starts the server, loads it, keeps a sample; what cannot be measured is told and left out."""
    patience = timeout or (BURST_TIMEOUT if burst else bench.plan.timeout)
    options, limit = load_options(bench, clients, burst, patience)
    if cpu is not None:
        options += ["--cpu", str(cpu)]
    try:
        with server.start(env) as running:
            before = Cpu.of(running.pid)
            result = load(bench, running.target, *options, limit=limit)
            spent = Cpu.of(running.pid) - before
            used = memory(running.pid)
    except (Failed, OSError, ValueError) as e:
        bench.leave_out(f"{server.name}, {clients} clients ({section})", e)
        return
    answered = max(result["answered"], 1)
    bench.keep(
        section,
        server.name,
        kind=server.kind,
        clients=clients,
        round=round_,
        burst=burst,
        own_ms=1000 * spent.own / answered,
        children_ms=1000 * spent.children / answered,
        generator_share=result["own_cpu_s"] / max(result["total_s"], 1e-9),
        memory=used,
        **{key: result[key] for key in KEPT},
    )
    p50 = result["latency_us"]["p50"]
    bench.say(
        f"  {section} {server.name:28} {clients:5} clients {result['rate']:9.0f}/s "
        f"p50 {0 if p50 is None else p50 / 1000:8.2f} ms  {result['failures'] or ''}"
    )


KEPT = (
    "asked",
    "answered",
    "failed",
    "failures",
    "surplus",
    "first_wrong",
    "rate",
    "latency_us",
    "window_s",
    "total_s",
)


def measure_spawn(bench: Bench, section: str, env: dict, clients: int, round_: int) -> None:
    """The bare cost of the command on every core, in the same minute as the servers it is compared with."""
    # A single client never has two commands under way.
    workers = min(clients, len(os.sched_getaffinity(0)))
    result = spawn(bench, env, bench.plan.seconds, "--workers", str(workers))
    bench.keep(
        section,
        "bare spawn",
        kind="floor",
        clients=clients,
        round=round_,
        burst=False,
        rate=result["rate"],
    )
    bench.say(f"  {section} {'bare spawn':28} {clients:5} clients {result['rate']:9.0f}/s")


def measure_ceiling(bench: Bench, section: str, clients: int, round_: int) -> None:
    """What a shared run allows when no answer may be older than its question.

    Every answer then holds one whole run of the command, so that N clients get N answers a run at the most.
    """
    runs = spawn(bench, MATCHED, bench.plan.seconds / 2, "--workers", "1")["rate"]
    rate = clients * runs
    bench.keep(section, CEILING, kind="floor", clients=clients, round=round_, burst=False, rate=rate)
    bench.say(f"  {section} {CEILING:28} {clients:5} clients {rate:9.0f}/s")


def spawn(bench: Bench, env: dict, seconds: float, *options: str) -> dict:
    """Runs `floor spawn`; its JSON."""
    argv = [str(bench.programs.floor), "spawn", "--for", str(seconds), *options]
    with Process(argv, env, stdout=subprocess.PIPE) as process:
        status, out = process.finish(seconds + 30)
    if status != 0:
        raise Failed(f"{' '.join(argv)}: exit status {status}")
    return json.loads(out)


def interleaved(items: list, round_: int) -> list:
    """The items in an order of their own in each round, so that none always runs after the same one."""
    if not items:
        return []
    turn = round_ % len(items)
    turned = items[turn:] + items[:turn]
    return turned if round_ % 2 == 0 else turned[::-1]

