"""What the figures have to reach, each a ratio within one run. Pure.

In: samples. Out: rows of goal, wanted, found, met or not. A goal whose samples are missing is not met: it is said
to be unmeasured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

from .stats import Samples, Spread, best_peer, in_turn, ratio

EXEC = "ruptimed exec"
CAPTURE = "ruptimed capture"
DATAGRAM = "ruptimed datagram"
CEILING = "ceiling: one run an answer"
AGED = ", max-age 1"


@dataclass(frozen=True)
class Goal:
    """One line of the table."""

    text: str
    # ">=" or "<="
    relation: str
    wanted: float
    found: float | None
    detail: str = ""

    @property
    def verdict(self) -> str:
        if self.found is None:
            return "not measured"
        met = self.found >= self.wanted if self.relation == ">=" else self.found <= self.wanted
        return "met" if met else "**missed**"


def at_least(text: str, wanted: float, spread: Spread | None, note: str = "") -> Goal:
    return Goal(text, ">=", wanted, spread.middle if spread else None, detail(spread, note))


def at_most(text: str, wanted: float, spread: Spread | None, note: str = "") -> Goal:
    return Goal(text, "<=", wanted, spread.middle if spread else None, detail(spread, note))


def detail(spread: Spread | None, note: str) -> str:
    range_ = f"{spread.least:.2f} to {spread.most:.2f}" if spread and spread.count > 1 else ""
    return "; ".join(part for part in (range_, note) if part)


def all_goals(samples: Samples) -> list[Goal]:
    return [
        *stream_goals(samples),
        *shared_goals(samples),
        *loss_goals(samples),
        *weight_goals(samples),
        *unit_goals(samples),
    ]


def stream_goals(samples: Samples) -> Iterator[Goal]:
    for clients in (16, 256):
        here = samples.where(section="exec", clients=clients)
        ours, bare = here.where(series=EXEC), here.where(series="bare spawn")
        yield at_least(f"exec / bare spawn, {clients} clients", 0.85, ratio(ours, bare))
        yield against_best(samples, "exec", clients, 1.0, "environments matched")
    for clients in (16, 256):
        yield against_best(samples, "default", clients, 1.10, "each by default, with a LANG")
    here = samples.where(section="exec", clients=1)
    median = ratio(here.where(series=EXEC), here.where(series="tcpserver"), "latency_us", "p50")
    yield at_most("exec, one client: median latency / tcpserver's", 1.0, median)
    here = samples.where(section="exec", clients=16, series=EXEC)
    shares = Spread.of(r["own_ms"] / r["children_ms"] for r in here.records if r["children_ms"])
    yield at_most("exec, 16 clients: daemon's CPU / its children's", 0.05, shares)


def against_best(samples: Samples, section: str, clients: int, wanted: float, note: str) -> Goal:
    best = best_peer(samples, section, clients)
    here = samples.where(section=section, clients=clients)
    found = ratio(here.where(series=EXEC), here.where(series=best)) if best else None
    return at_least(f"exec / best peer, {clients} clients, {note}", wanted, found, best or "")


def shared_goals(samples: Samples) -> Iterator[Goal]:
    for section, ours, base, wanted in (
        ("capture", CAPTURE, "floor: accept", {64: 0.65, 256: 0.80}),
        ("datagram", DATAGRAM, "floor: datagram", {64: 0.45, 256: 0.85}),
    ):
        for clients, share in wanted.items():
            here = samples.where(section=section, clients=clients)
            mine = here.where(series=ours)
            floor = here.where(series=base)
            found = ratio(mine, floor)
            # Every client waits for the run, so that its time and that of the exchanges add up.
            bound = ratio(mine, in_turn(floor, here.where(series=CEILING)))
            note = f"{bound.middle:.2f} of what the floor and the run allow in turn" if bound else ""
            yield at_least(f"{ours[9:]} / its floor, {clients} clients", share, found, note)
        aged = 0.90 if section == "capture" else 0.95
        for clients in wanted:
            here = samples.where(section=section, clients=clients)
            yield at_least(
                f"{ours[9:]}{AGED} / its floor, {clients} clients",
                aged,
                ratio(here.where(series=ours + AGED), here.where(series=base)),
            )
    best = best_peer(samples, "exec", 256)
    capture = samples.where(section="capture", clients=256, series=CAPTURE)
    peer = samples.where(section="exec", clients=256, series=best)
    found = ratio(capture, peer) if best else None
    yield at_least("capture / best peer's stream rate, 256 clients", 14.0, found, best or "")
    here = samples.where(section="datagram")
    mine = here.where(series=DATAGRAM, clients=256)
    found = ratio(mine, here.where(series="textbook datagram", clients=16))
    yield at_least("datagram, 256 clients / the textbook's server, 16 clients", 80.0, found)


def loss_goals(samples: Samples) -> Iterator[Goal]:
    for series in (EXEC, CAPTURE):
        for clients in (256, 4000):
            here = samples.where(burst=True, series=series, clients=clients)
            lost = Spread.of(record["failed"] for record in here.records)
            worst = Spread(lost.most, lost.least, lost.most, lost.count) if lost else None
            yield at_most(f"{series[9:]}: requests lost of {clients} at once, worst round", 0, worst)


def weight_goals(samples: Samples) -> Iterator[Goal]:
    here = samples.where(section="memory", series=EXEC)
    yield at_most("exec: resident memory while serving, MiB", 3.0, mib(here, "busy", "rss_kib"))
    yield at_most("exec: anonymous memory while serving, MiB", 0.3, mib(here, "busy", "anon_kib"))
    for series in (EXEC, CAPTURE, DATAGRAM):
        record = samples.where(section="memory", series=series).records
        grown = [r["after_all"]["anon_kib"] - r["after_tenth"]["anon_kib"] for r in record]
        text = f"{series[9:]}: anonymous memory grown over the last nine tenths of the answers, KiB"
        # A page or two may be touched for the first time at any time.
        yield at_most(text, 16, Spread.of(grown))


def mib(samples: Samples, *path: str) -> Spread | None:
    spread = samples.spread(*path)
    return spread.map(lambda kib: kib / 1024) if spread else None


def unit_goals(samples: Samples) -> Iterator[Goal]:
    warm = samples.where(section="unit throughput")
    ours = warm.where(series="ruptime.socket")
    for name, wanted in (
        ("plain Accept=yes unit", 4.0),
        ("sandboxed Accept=yes unit", 50.0),
        ("ruptime-inetd.socket", 20.0),
    ):
        found = ratio(ours, warm.where(series=name))
        yield at_least(f"ruptime.socket, warm, 16 clients / {name}", wanted, found)
    cold = samples.where(section="cold start")
    found = ratio(cold.where(series="ruptime.socket"), cold.where(series="ruptime-inetd.socket"), "ms")
    yield at_most("cold start in the sandbox / the same unit's Accept=yes start", 1.0, found)
