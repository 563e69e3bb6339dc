"""Samples to numbers. Pure.

In: the flat records of a run. Out: medians, spreads, and ratios taken within a round.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Callable, Iterable

Sample = dict


@dataclass(frozen=True)
class Spread:
    """A median with the least and the greatest beside it."""

    middle: float
    least: float
    most: float
    count: int

    @staticmethod
    def of(values: Iterable[float]) -> "Spread | None":
        values = [value for value in values if value is not None]
        if not values:
            return None
        return Spread(median(values), min(values), max(values), len(values))

    def map(self, change: Callable[[float], float]) -> "Spread":
        ends = sorted((change(self.least), change(self.most)))
        return Spread(change(self.middle), ends[0], ends[1], self.count)


class Samples:
    """The records of one run."""

    def __init__(self, records: Iterable[Sample]):
        self.records = list(records)

    def where(self, **wanted) -> "Samples":
        """The records that have all of these values."""
        hit = lambda record: all(record.get(key) == value for key, value in wanted.items())
        return Samples(record for record in self.records if hit(record))

    def __bool__(self) -> bool:
        return bool(self.records)

    def values(self, key: str) -> list:
        """The different values of a key, in the order of their first appearance."""
        return list(dict.fromkeys(record[key] for record in self.records if key in record))

    def spread(self, *path: str) -> Spread | None:
        """Median and spread of a value, which may lie within a record of the record."""
        return Spread.of(dig(record, path) for record in self.records)

    def total(self, *path: str) -> int:
        return sum(dig(record, path) or 0 for record in self.records)


def dig(record: Sample, path: Iterable[str]):
    value = record
    for key in path:
        if not isinstance(value, dict) or key not in value:
            return None
        value = value[key]
    return value


def ratio(upper: Samples, lower: Samples, *path: str) -> Spread | None:
    """Upper over lower, round by round: two figures of different rounds are figures of different machines."""
    path = path or ("rate",)
    below = {record["round"]: dig(record, path) for record in lower.records}
    ratios = []
    for record in upper.records:
        value, base = dig(record, path), below.get(record["round"])
        if value is not None and base:
            ratios.append(value / base)
    return Spread.of(ratios)


def in_turn(first: Samples, second: Samples) -> Samples:
    """The rate of what takes the time of both, round by round."""
    others = {record["round"]: record["rate"] for record in second.records}
    return Samples(
        {"round": record["round"], "rate": 1 / (1 / record["rate"] + 1 / others[record["round"]])}
        for record in first.records
        if record["rate"] and others.get(record["round"])
    )


def best_peer(samples: Samples, section: str, clients: int) -> str | None:
    """The peer with the highest median rate among those that were measured."""
    peers = samples.where(section=section, clients=clients, kind="peer")
    rated = {name: peers.where(series=name).spread("rate") for name in peers.values("series")}
    rated = {name: spread.middle for name, spread in rated.items() if spread}
    return max(rated, key=rated.__getitem__) if rated else None
