"""Samples to a page. Pure, but for reading the template.

In: the JSON of a run. Out: Markdown tables, put where RESULTS.in.md names them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Callable

from .goals import PAIRED, PKTINFO_FLOOR, all_goals
from .stats import Samples, Spread, ratio

# A generator that used this much of one CPU was itself the limit.
SATURATED = 0.93


def page(run: dict, template: Path) -> str:
    """The whole page; a table that has no samples says so."""
    samples = Samples(run["samples"])
    tables: dict[str, Callable[[], str]] = {
        "machine": lambda: machine(run),
        "goals": lambda: goals(samples),
        "exec": lambda: rates(samples.where(section="exec"), "bare spawn"),
        "exec_latency": lambda: latencies(samples.where(section="exec")),
        "exec_cpu": lambda: cpu(samples.where(section="exec", clients=16)),
        "default": lambda: rates(samples.where(section="default"), "bare spawn"),
        "textbook": lambda: rates(samples.where(section="textbook"), "bare spawn"),
        "burst": lambda: bursts(samples.where(burst=True), run["plan"]["bursts"]),
        "capture": lambda: rates(samples.where(section="capture"), "floor: accept"),
        "capture_cpu": lambda: cpu(samples.where(section="capture", clients=256)),
        "capture_latency": lambda: latencies(samples.where(section="capture")),
        "datagram": lambda: rates(samples.where(section="datagram"), PKTINFO_FLOOR),
        "datagram_cpu": lambda: cpu(samples.where(section="datagram", clients=256)),
        "datagram_latency": lambda: latencies(samples.where(section="datagram")),
        "units": lambda: units(samples),
        "memory": lambda: memory(samples.where(section="memory")),
        "startup": lambda: startup(samples.where(section="startup")),
        "fleet": lambda: fleet(samples.where(section="fleet")),
        "pairs": lambda: rates(samples.where(section="pairs"), PAIRED),
        "million": lambda: fleet(samples.where(section="million")),
        "names": lambda: names(samples.where(section="names")),
        "ssh": lambda: fleet(samples.where(section="ssh")),
        "left_out": lambda: left_out(run),
    }
    fill = lambda match: tables[match[1]]() or "Not measured in this run.\n"
    return re.sub(r"\{\{(\w+)\}\}\n", fill, template.read_text())


def table(head: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return ""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def figure(value: float | None) -> str:
    """Three figures that mean something, and no more."""
    if value is None:
        return "–"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def shown(spread: Spread | None) -> str:
    if spread is None:
        return "–"
    if spread.count == 1:
        return figure(spread.middle)
    return f"{figure(spread.middle)} ({figure(spread.least)}–{figure(spread.most)})"


def rates(samples: Samples, base: str) -> str:
    """Answers a second by series and clients, with the ratio to the base of the same round."""
    counts = sorted(samples.values("clients"))
    head = ["answers a second"] + [f"{n:,} client{'s' if n > 1 else ''}" for n in counts]
    rows = []
    for series in ordered(samples):
        row = [series]
        for clients in counts:
            here = samples.where(clients=clients)
            ours = here.where(series=series)
            text = shown(ours.spread("rate"))
            share = ratio(ours, here.where(series=base))
            if share and series != base:
                text += f" = {share.middle:.2f}"
            busy = ours.spread("generator_share")
            if busy and busy.middle >= SATURATED:
                text += " †"
            if failed := ours.total("failed"):
                text += f", {100 * failed / max(ours.total('asked'), 1):.2g} % lost"
            row.append(text)
        rows.append(row)
    return table(head, rows)


def ordered(samples: Samples) -> list[str]:
    """The series: floors, ours, peers by their rate, the textbook's."""
    kinds = {"floor": 0, "ours": 1, "peer": 2, "textbook": 3}

    def key(series: str):
        here = samples.where(series=series)
        rate = here.spread("rate")
        kind = here.records[0].get("kind", "ours")
        # Ours and the floors stay in the order in which they were defined.
        return kinds[kind], -(rate.middle if rate and kind == "peer" else 0)

    return sorted(samples.values("series"), key=key)


def latencies(samples: Samples) -> str:
    names = {"p50": "median", "p90": "90 %", "p99": "99 %", "p999": "99.9 %", "max": "slowest"}
    rows = []
    for clients in sorted(samples.values("clients")):
        for series in ordered(samples.where(clients=clients)):
            here = samples.where(clients=clients, series=series)
            cells = [here.spread("latency_us", name) for name in names]
            if any(cells):
                cells = [figure(cell.middle / 1000 if cell else None) for cell in cells]
                rows.append([series, f"{clients:,}", *cells])
    return table(["latency in ms", "clients", *names.values()], rows)


def cpu(samples: Samples) -> str:
    rows = []
    for series in ordered(samples):
        here = samples.where(series=series)
        own, children = here.spread("own_ms"), here.spread("children_ms")
        if own and children:
            share = f"{100 * own.middle / children.middle:.1f} %" if children.middle else "–"
            rows.append([series, shown(own), shown(children), share])
    head = ["CPU seconds for 1,000 answers", "the server alone", "its children", "the first of the second"]
    return table(head, rows)


def bursts(samples: Samples, counts: list[int]) -> str:
    """Whoever lost any, of the bursts of all sections."""
    head = ["at once"]
    for clients in counts:
        head += [f"{clients:,}: lost", "seconds to the last answer"]
    rows = []
    for series in ordered(samples):
        row = [series]
        for clients in counts:
            here = samples.where(series=series, clients=clients)
            if not here:
                row += ["–", "–"]
                continue
            kinds = sorted({kind for record in here.records for kind in record["failures"]})
            lost = ", ".join(f"{here.total('failures', kind)} {kind}" for kind in kinds)
            row.append(f"{lost} of {here.total('asked'):,}" if lost else f"0 of {here.total('asked'):,}")
            row.append(shown(here.spread("window_s")))
        rows.append(row)
    return table(head, rows)


def memory(samples: Samples) -> str:
    stages = {
        "idle": "idle",
        "busy": "busy",
        "after_tenth": "after a tenth",
        "after_all": "after all",
        "crowd": "4,000 at once",
    }
    rows = []
    for record in samples.records:
        cells = []
        for stage in stages:
            found = record[stage]
            cells.append(f"{found['rss_kib']:,} / {found['anon_kib']:,}" if found else "–")
        rows.append([record["series"], f"{record['answers']:,}", *cells])
    return table(["KiB resident / anonymous", "answers", *stages.values()], rows)


def startup(samples: Samples) -> str:
    rows = [
        [series, shown(samples.where(series=series).spread("ms"))]
        for series in samples.values("series")
    ]
    return table(["start to end", "ms"], rows)


def spent(samples: Samples) -> list[str]:
    """The client's time, its CPU time and its memory."""
    cpu_s, peak = samples.spread("cpu_s"), samples.spread("peak_kib")
    return [shown(samples.spread("seconds")), figure(cpu_s.middle), figure(peak.middle / 1024)]


def fleet(samples: Samples) -> str:
    rows = []
    for hosts in samples.values("hosts"):
        for series in samples.values("series"):
            here = samples.where(hosts=hosts, series=series)
            if here:
                answers = min(record["lines"] for record in here.records)
                rows.append([series, f"{hosts:,}", f"{answers:,}", *spent(here)])
    head = ["asking", "hosts", "answers (fewest)", "seconds", "CPU seconds", "peak MiB, largest process"]
    return table(head, rows)


def names(samples: Samples) -> str:
    rows = []
    for delay in samples.values("delay_ms"):
        for series in samples.values("series"):
            here = samples.where(delay_ms=delay, series=series)
            if here:
                hosts = here.records[0]["hosts"]
                rows.append([series, f"{hosts:,}", f"{delay}", *spent(here)])
    head = ["asking", "names", "name server away, ms", "seconds", "CPU seconds", "peak MiB"]
    return table(head, rows)


def units(samples: Samples) -> str:
    cold, warm = samples.where(section="cold start"), samples.where(section="unit throughput")
    rows = []
    for series in dict.fromkeys([*cold.values("series"), *warm.values("series")]):
        here = warm.where(series=series)
        rows.append(
            [
                series,
                shown(cold.where(series=series).spread("ms")),
                shown(here.spread("rate")),
                f"{here.total('failed'):,} of {here.total('asked'):,}" if here else "–",
            ]
        )
    head = ["unit", "cold start, connect to last byte, ms", "answers a second, 16 clients, warm", "lost"]
    return table(head, rows)


def goals(samples: Samples) -> str:
    sign = {">=": "≥", "<=": "≤"}
    rows = [
        [
            goal.text,
            f"{sign[goal.relation]} {goal.wanted:g}",
            figure(goal.found) if goal.found != 0 else "0",
            goal.detail,
            goal.verdict,
        ]
        for goal in all_goals(samples)
    ]
    return table(["goal", "wanted", "found", "rounds", ""], rows)


def machine(run: dict) -> str:
    rows = [[name, str(value)] for name, value in run["machine"].items()]
    rows += [[name, value] for name, value in run["versions"].items()]
    return table(["", ""], rows)


def left_out(run: dict) -> str:
    rows = [[e["what"], e["why"], e["remedy"] or ""] for e in run["left_out"]]
    return table(["left out", "why", "remedy"], rows) or "Nothing was left out.\n"
