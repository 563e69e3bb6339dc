"""Throughput and latency: which servers are measured, with how many clients, in which order.

In: what is installed. Out: samples. Within a round every server is measured once with the same number of clients,
one right after the other; a ratio is taken within a round, because on a shared machine the next minute is another
machine.
"""

from __future__ import annotations

import os

from .goals import DATAGRAM_FLOOR, LEAST, PAIRED, PKTINFO_FLOOR
from .measure import BURST_FROM, Bench, interleaved, measure, measure_ceiling, measure_spawn
from .process import Failed
from .servers import MATCHED, Ours, Server, floor

# How long a lost datagram is missed: as a monitoring client would have it, so that a loss costs its client
# something and not the whole run.
DATAGRAM_TIMEOUT = 0.5
# At some 400 answers a second, one after the other, more clients than this only miss theirs.
TEXTBOOK_CLIENTS = 64


def generator_cpu() -> int:
    """The CPU that the generator keeps to where it, and not a command, has most of the work."""
    return min(os.sched_getaffinity(0))


def exec_section(bench: Bench, peers: list[Server]) -> None:
    """A command for each connection: ours, every peer, and the bare cost of the command, environments matched."""
    least = floor(bench.programs, LEAST, "floor", "exec")
    servers = [least, Ours(bench.programs).stream("ruptimed exec"), *peers]
    rounds(bench, "exec", servers, bench.plan.stream_clients, MATCHED)


def pairs_section(bench: Bench, peers: list[Server]) -> None:
    """Ours and tcpserver, the best of the others, one right after the other and each as often the first: who is
    measured first in a round loses some percent."""
    peer = next((peer for peer in peers if peer.name == PAIRED), None)
    if peer is None:
        raise Failed(f"{PAIRED} is not installed")
    pair = [Ours(bench.programs).stream("ruptimed exec"), peer]
    for round_ in range(bench.plan.pairs):
        for server in pair if round_ % 2 == 0 else pair[::-1]:
            measure(bench, "pairs", server, MATCHED, 16, round_)


def default_section(bench: Bench, peers: list[Server]) -> None:
    """The same as each runs by default on a host with a LANG: only ours gives the command LC_ALL=C of itself."""
    lang = os.environ.get("LANG") or "C.UTF-8"
    env = {"LANG": lang, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    servers = [Ours(bench.programs).stream("ruptimed exec"), *peers]
    clients = [n for n in bench.plan.stream_clients if 16 <= n < 1000]
    rounds(bench, "default", servers, clients, env)


def rounds(bench: Bench, section: str, servers: list[Server], counts: list[int], env: dict) -> None:
    for round_ in range(bench.plan.rounds):
        bench.say(f"{section}: round {round_ + 1} of {bench.plan.rounds}")
        for clients in counts:
            for server in interleaved([None, *servers], round_):
                if server is None:
                    measure_spawn(bench, section, env, clients, round_)
                else:
                    burst = clients >= BURST_FROM
                    measure(bench, section, server, env, clients, round_, burst=burst)


def burst_section(bench: Bench, peers: list[Server]) -> None:
    """Many connections at the same moment, each with one request: who loses any?

    The large bursts of whoever runs a command for each are in the exec section already.
    """
    ours = Ours(bench.programs)
    capture = ours.stream("ruptimed capture", "--handoff", "capture")
    commands = [ours.stream("ruptimed exec"), *peers]
    for round_ in range(bench.plan.rounds):
        bench.say(f"burst: round {round_ + 1} of {bench.plan.rounds}")
        for clients in bench.plan.bursts:
            servers = [capture] if clients >= BURST_FROM else [capture, *commands]
            for server in interleaved(servers, round_):
                measure(bench, "burst", server, MATCHED, clients, round_, burst=True)


def capture_section(bench: Bench) -> None:
    """One run of the command for all who wait, against accept, send a constant, close."""
    ours = Ours(bench.programs)
    servers = [
        floor(bench.programs, "floor: accept", "floor", "accept"),
        ours.stream("ruptimed capture", "--handoff", "capture"),
        ours.stream("ruptimed capture, max-age 1", "--handoff", "capture", "--max-age", "1"),
    ]
    shared(bench, "capture", servers, None)


def datagram_section(bench: Bench) -> None:
    """Datagrams, against receive, send a constant (with and without the address that was asked), and against the
    textbook's server."""
    ours = Ours(bench.programs)
    size = ["--rcvbuf", str(1 << 20)]
    servers = [
        floor(bench.programs, DATAGRAM_FLOOR, "floor", "datagram", *size),
        floor(bench.programs, PKTINFO_FLOOR, "floor", "datagram-pktinfo", *size),
        ours.datagram("ruptimed datagram"),
        ours.datagram("ruptimed datagram, max-age 1", "--max-age", "1"),
        floor(bench.programs, "textbook datagram", "textbook", "textbook-datagram", *size),
    ]
    shared(bench, "datagram", servers, DATAGRAM_TIMEOUT)


def textbook_section(bench: Bench) -> None:
    """The textbook's serial stream servers, for the record, with one client and with 16."""
    servers = [
        Ours(bench.programs).stream("ruptimed exec"),
        floor(bench.programs, "textbook exec", "textbook", "textbook-exec"),
        floor(bench.programs, "textbook popen", "textbook", "textbook-popen"),
    ]
    rounds(bench, "textbook", servers, [n for n in bench.plan.stream_clients if n <= 16], MATCHED)


def shared(bench: Bench, section: str, servers: list[Server], timeout: float | None) -> None:
    """Servers that share a run, and beside their floor the ceiling that sharing itself has."""
    cpu = generator_cpu()
    for round_ in range(bench.plan.rounds):
        bench.say(f"{section}: round {round_ + 1} of {bench.plan.rounds}")
        for clients in bench.plan.shared_clients:
            for server in interleaved([None, *servers], round_):
                if server is None:
                    measure_ceiling(bench, section, clients, round_)
                elif server.kind != "textbook" or clients <= TEXTBOOK_CLIENTS:
                    measure(
                        bench, section, server, MATCHED, clients, round_, cpu=cpu, timeout=timeout
                    )
