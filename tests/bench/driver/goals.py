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
# The least that a server which runs a command for each connection can do, its clients beside it.
LEAST = "floor: accept, run, close"
DATAGRAM_FLOOR = "floor: datagram"
PKTINFO_FLOOR = "floor: datagram, from the address asked"
# The best of the others on every machine so far.
PAIRED = "tcpserver"
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
        *fleet_goals(samples),
        *unit_goals(samples),
    ]


def stream_goals(samples: Samples) -> Iterator[Goal]:
    for clients in (16, 256):
        here = samples.where(section="exec", clients=clients)
        ours, bare = here.where(series=EXEC), here.where(series="bare spawn")
        bound = ratio(here.where(series=LEAST), bare)
        note = f"the least such server: {bound.middle:.2f}" if bound else ""
        yield at_least(f"exec / bare spawn, {clients} clients", 0.85, ratio(ours, bare), note)
        yield at_least(f"exec / the least such server, {clients} clients", 0.95, ratio(ours, here.where(series=LEAST)))
        yield against_best(samples, "exec", clients, 1.0, "environments matched")
    here = samples.where(section="pairs")
    found = ratio(here.where(series=EXEC), here.where(series=PAIRED))
    yield at_least(f"exec / {PAIRED}, 16 clients, pairs in alternating order", 1.0, found)
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
    for clients, share in {64: 0.65, 256: 0.80}.items():
        here = samples.where(section="capture", clients=clients)
        mine, floor = here.where(series=CAPTURE), here.where(series="floor: accept")
        bound = ratio(mine, in_turn(floor, here.where(series=CEILING)))
        note = f"{bound.middle:.2f} of what the floor and the run allow in turn" if bound else ""
        yield at_least(f"capture / its floor, {clients} clients", share, ratio(mine, floor), note)
        aged = ratio(here.where(series=CAPTURE + AGED), floor)
        yield at_least(f"capture{AGED} / its floor, {clients} clients", 0.90, aged)
    for clients in (64, 256):
        here = samples.where(section="datagram", clients=clients)
        mine, floor = here.where(series=DATAGRAM), here.where(series=PKTINFO_FLOOR)
        # Every client waits for the run, so that its time and that of the exchanges add up.
        found = ratio(mine, in_turn(floor, here.where(series=CEILING)))
        yield at_least(f"datagram / what its floor and the run allow in turn, {clients} clients", 0.85, found)
        aged = ratio(here.where(series=DATAGRAM + AGED), floor)
        yield at_least(f"datagram{AGED} / its floor, {clients} clients", 0.95, aged)
    best = best_peer(samples, "exec", 256)
    capture = samples.where(section="capture", clients=256, series=CAPTURE)
    peer = samples.where(section="exec", clients=256, series=best)
    found = ratio(capture, peer) if best else None
    yield at_least("capture / best peer's stream rate, 256 clients", 14.0, found, best or "")
    here = samples.where(section="datagram")
    mine = here.where(series=DATAGRAM, clients=256)
    found = ratio(mine, here.where(series="textbook datagram", clients=16))
    yield at_least("datagram, 256 clients / the textbook's server, 16 clients", 80.0, found)


def fleet_goals(samples: Samples) -> Iterator[Goal]:
    """The client over a million hosts, over names, and by ssh."""
    many = samples.where(section="million")
    for format_, most in (("jsonl", 48.0), ("table", 160.0)):
        here = many.where(series=f"ruptime, {format_}")
        million = here.where(hosts=1_000_000)
        yield at_most(f"a million hosts, {format_}: peak memory, MiB", most, mib(million, "peak_kib"))
        tenfold = ratio(million, here.where(hosts=100_000), "seconds")
        text = f"a million hosts, {format_}: time / that of ten calls with 100,000"
        yield at_most(text, 1.1, tenfold.map(lambda times: times / 10) if tenfold else None)
    names = samples.where(section="names", series="ruptime, text", hosts=5_000)
    for delay, most in ((20, 0.5), (50, 1.0)):
        text = f"5,000 names, the name server {delay} ms away: seconds"
        yield at_most(text, most, names.where(delay_ms=delay).spread("seconds"))
    ssh = samples.where(section="ssh")
    loop = next((name for name in ssh.values("series") if name.startswith("xargs")), None)
    found = ratio(ssh.where(series="ruptime --ssh, text"), ssh.where(series=loop), "seconds") if loop else None
    # The same ssh does the work: no more than what two runs of one differ by.
    yield at_most("ssh: time / that of xargs with ssh", 1.1, found)


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
