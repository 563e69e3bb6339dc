"""The client over many hosts, against xargs and nc.

In: a number of hosts. Out: seconds, CPU seconds and peak memory. The whole of 127.0.0.0/8 is this machine, so one
server on a wildcard address that is bound to the loopback device plays all hosts and is reachable from nowhere else.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

from .measure import Bench, interleaved
from .process import Failed, Process, installed, located
from .servers import MATCHED, Programs, activated, datagram_socket, floor

# As many nc at once as the daemon runs commands.
PARALLEL = 64
LIMIT = 300.0
# A reply as it came, or a row of the table.
ANSWER = re.compile(rb"load average|  up +.* load ")


def addresses(count: int) -> list[str]:
    """Addresses of the loopback network, none twice, none ending in 0 or 255."""
    return [f"127.{1 + i // 63504}.{1 + i // 252 % 252}.{1 + i % 252}" for i in range(count)]


def fleet_section(bench: Bench) -> None:
    local = ["accept", "--listen", "0.0.0.0:0", "--only-loopback"]
    with tempfile.TemporaryDirectory(prefix="ruptime-bench.") as folder:
        for round_ in range(bench.plan.rounds):
            bench.say(f"fleet: round {round_ + 1} of {bench.plan.rounds}")
            for count in bench.plan.hosts:
                hosts = Path(folder) / "hosts"
                hosts.write_text("".join(f"{address}\n" for address in addresses(count)))
                with floor(bench.programs, "", "floor", *local).start(MATCHED) as running:
                    port = running.target.rpartition(":")[2]
                    for name, argv in interleaved(contestants(bench, hosts, port), round_):
                        run(bench, name, argv, count, round_)
                datagrams(bench, hosts, count, round_)


def million_section(bench: Bench) -> None:
    """As many hosts as a list may hold: whether time stays in proportion, and memory small. Once, not every round."""
    with tempfile.TemporaryDirectory(prefix="ruptime-bench.") as folder:
        hosts = Path(folder) / "hosts"
        for count in bench.plan.many_hosts:
            with hosts.open("w") as file:
                file.writelines(f"{address}\n" for address in addresses(count))
            local = ["accept", "--listen", "0.0.0.0:0", "--only-loopback"]
            with floor(bench.programs, "", "floor", *local).start(MATCHED) as running:
                port = running.target.rpartition(":")[2]
                ruptime = [str(bench.programs.ruptime), "--timeout", "30", "--port", port, "-f", str(hosts)]
                for format_ in ("jsonl", "table"):
                    run(bench, f"ruptime, {format_}", [*ruptime, "-o", format_], count, 0, section="million")


def contestants(bench: Bench, hosts: Path, port: str) -> list[tuple[str, list[str]]]:
    ruptime = [str(bench.programs.ruptime), "--timeout", "10", "--port", port, "-f", str(hosts)]
    found = [
        ("ruptime, text", [*ruptime, "-o", "text"]),
        ("ruptime, jsonl", [*ruptime, "-o", "jsonl"]),
    ]
    if installed("nc"):
        # -d: nothing is read from standard input; nc then reads the connection to its end.
        each = ["-P", str(PARALLEL), "-I", "{}", located("nc"), "-d", "-w", "10", "{}", port]
        found.append((f"xargs -P {PARALLEL} nc", ["xargs", "-a", str(hosts), *each]))
    else:
        bench.leave_out("xargs with nc", "nc is not installed", "apt-get install netcat-openbsd")
    if installed("pdsh"):
        each = ["-R", "exec", "-N", "-f", str(PARALLEL), "-w", f"^{hosts}"]
        found.append((f"pdsh -R exec -f {PARALLEL} nc", ["pdsh", *each, located("nc"), "-d", "%h", port]))
    else:
        bench.leave_out("pdsh", "not installed", "apt-get install pdsh")
    return found


def datagrams(bench: Bench, hosts: Path, count: int, round_: int) -> None:
    """The client's datagrams against our own daemon: nc cannot tell when a datagram answer is over."""
    with datagram_socket("0.0.0.0", b"lo") as bound:
        port = str(bound.getsockname()[1])
        argv = [str(bench.programs.ruptimed), "--rate-limit", "0", "--max-age", "1"]
        try:
            with activated(argv, MATCHED, bound):
                client = [str(bench.programs.ruptime), "--udp", "--timeout", "10", "--port", port]
                run(bench, "ruptime --udp, text", [*client, "-f", str(hosts), "-o", "text"], count, round_)
        except Failed as e:
            bench.leave_out(f"ruptime --udp over {count} hosts", e)


def run(
    bench: Bench,
    name: str,
    argv: list[str],
    count: int,
    round_: int,
    section: str = "fleet",
    env: dict | None = None,
) -> None:
    try:
        sample = once(bench.programs, argv, env)
    except Failed as e:
        bench.leave_out(f"{name} over {count} hosts", e)
        return
    bench.keep(section, name, hosts=count, round=round_, **sample)
    bench.say(f"  {section} {name:28} {count:7} hosts {sample['seconds']:8.3f} s, {sample['lines']} answers")


def once(programs: Programs, argv: list[str], env: dict | None = None) -> dict:
    """One run: its time, its CPU seconds (children it waited for included), its memory, its answers."""
    # A memory of its own: neither the user's is read, nor is it written.
    with tempfile.TemporaryDirectory(prefix="ruptime-bench.") as home, tempfile.TemporaryFile() as out:
        env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": home, **(env or {})}
        with Process([str(programs.floor), "weigh", "--", *argv], env, stdout=out) as process:
            status, _ = process.finish(LIMIT)
            out.seek(0)
            answers, weight = 0, b""
            for line in out:
                answers += ANSWER.search(weight) is not None
                weight = line
            if status != 0 or answers == 0:
                raise Failed(process.complaint())
    found = json.loads(weight)
    # That some hosts did not answer shows in the number of answers.
    found.pop("status")
    return {**found, "lines": answers}
