"""Tests of the driver's pure parts: a wrong median or ratio would be believed.

    python3 -m unittest discover -s tests/bench -t tests/bench
"""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

from . import fleet, goals, plot, report
from .measure import interleaved
from .process import Failed, Process, free_port, wait_for
from .stats import Samples, Spread, best_peer, in_turn, ratio

TEMPLATE = Path(__file__).resolve().parent.parent / "RESULTS.in.md"


def sample(series: str, rate: float, round_: int = 0, **values) -> dict:
    made = {"section": "exec", "series": series, "kind": "peer", "clients": 16, "round": round_, "rate": rate}
    made |= {"asked": 100, "answered": 100, "failed": 0, "failures": {}, "burst": False}
    made |= {"latency_us": dict.fromkeys(("mean", "p50", "p90", "p99", "p999", "max"), 1000.0)}
    made |= {"own_ms": 0.1, "children_ms": 2.0, "generator_share": 0.5, "window_s": 1.0}
    return made | values


class Stats(unittest.TestCase):
    def test_a_ratio_is_taken_within_a_round(self):
        # The second round's machine is half as fast: the ratio is 0.9 all the same.
        samples = Samples(
            [sample("a", 90, 0), sample("b", 100, 0), sample("a", 45, 1), sample("b", 50, 1), sample("a", 7, 2)]
        )
        found = ratio(samples.where(series="a"), samples.where(series="b"))
        self.assertEqual(found, Spread(0.9, 0.9, 0.9, 2))

    def test_what_happens_in_turn_takes_the_time_of_both(self):
        both = in_turn(Samples([sample("a", 60, 0), sample("a", 60, 1)]), Samples([sample("b", 30, 0)]))
        self.assertEqual([record["rate"] for record in both.records], [20])

    def test_a_ratio_to_nothing_is_none(self):
        samples = Samples([sample("a", 90), sample("zero", 0)])
        self.assertIsNone(ratio(samples.where(series="a"), samples.where(series="b")))
        self.assertIsNone(ratio(samples.where(series="a"), samples.where(series="zero")))

    def test_values_within_values_are_found_or_missing(self):
        samples = Samples([sample("a", 1), {"section": "exec", "series": "bare"}])
        self.assertEqual(samples.spread("latency_us", "p50").count, 1)
        self.assertIsNone(samples.spread("latency_us", "p42"))

    def test_the_best_peer_is_no_floor_and_not_ours(self):
        samples = Samples(
            [sample("ruptimed exec", 900, kind="ours"), sample("bare spawn", 999, kind="floor"),
             sample("x", 700), sample("y", 800)]
        )  # fmt: skip
        self.assertEqual(best_peer(samples, "exec", 16), "y")
        self.assertIsNone(best_peer(samples, "exec", 1))


class Goals(unittest.TestCase):
    def verdicts(self, *records: dict) -> dict[str, str]:
        return {goal.text: goal.verdict for goal in goals.all_goals(Samples(records))}

    def test_without_samples_nothing_is_met(self):
        self.assertEqual(set(self.verdicts().values()), {"not measured"})

    def test_met_and_missed(self):
        text = "exec / bare spawn, 16 clients"
        bare = sample("bare spawn", 100, kind="floor")
        self.assertEqual(self.verdicts(bare, sample("ruptimed exec", 85, kind="ours"))[text], "met")
        self.assertEqual(self.verdicts(bare, sample("ruptimed exec", 84, kind="ours"))[text], "**missed**")

    def test_datagrams_are_held_against_what_floor_and_run_allow_in_turn(self):
        text = "datagram / what its floor and the run allow in turn, 64 clients"
        datagram = {"section": "datagram", "clients": 64, "kind": "floor"}
        floors = [sample(goals.PKTINFO_FLOOR, 100, **datagram), sample(goals.CEILING, 100, **datagram)]
        for rate, verdict in ((43, "met"), (42, "**missed**")):
            ours = sample(goals.DATAGRAM, rate, **datagram | {"kind": "ours"})
            self.assertEqual(self.verdicts(*floors, ours)[text], verdict)

    def test_a_million_hosts_may_take_ten_times_as_long_as_a_tenth(self):
        text = "a million hosts, jsonl: time / that of ten calls with 100,000"
        calls = {"section": "million", "series": "ruptime, jsonl", "round": 0, "peak_kib": 1}
        tenth = calls | {"hosts": 100_000, "seconds": 4.0}
        for seconds, verdict in ((43.9, "met"), (44.1, "**missed**")):
            million = calls | {"hosts": 1_000_000, "seconds": seconds}
            self.assertEqual(self.verdicts(tenth, million)[text], verdict)

    def test_one_bad_round_is_a_loss(self):
        burst = {"section": "burst", "clients": 256, "kind": "ours", "burst": True}
        rounds = [sample("ruptimed exec", 1, i, **burst, failed=int(i == 1)) for i in range(5)]
        found = self.verdicts(*(record | burst for record in rounds))
        self.assertEqual(found["exec: requests lost of 256 at once, worst round"], "**missed**")


class Report(unittest.TestCase):
    def page(self, *records: dict) -> str:
        run = {"samples": records, "machine": {"cores": 2}, "versions": {}, "left_out": [], "plan": {"bursts": [256]}}
        return report.page(run, TEMPLATE)

    def test_every_place_of_the_template_is_filled(self):
        for text in (self.page(), self.page(sample("ruptimed exec", 900, kind="ours"))):
            self.assertNotIn("{{", text)

    def test_losses_and_a_busy_generator_are_marked(self):
        text = self.page(
            sample("bare spawn", 1000, kind="floor"),
            sample("ruptimed exec", 900, kind="ours", generator_share=0.97, failed=5),
        )
        self.assertIn("| ruptimed exec | 900 = 0.90 †, 5 % lost |", text)

    def test_figures_have_three_that_mean_something(self):
        shown = [report.figure(value) for value in (None, 0.1234, 12.34, 123.4, 12345.6)]
        self.assertEqual(shown, ["–", "0.12", "12.3", "123", "12,346"])


class Rest(unittest.TestCase):
    def test_the_plot_has_each_series_once_with_its_points(self):
        records = [sample("it's", rate, clients=n) for n, rate in ((1, 10.0), (16, 100.0))]
        text = plot.script(Samples(records), Path("a'b.svg"))
        self.assertIn("1 10.0\n16 100.0\nEOD", text)
        self.assertIn("set output 'a''b.svg'", text)
        self.assertIn("title 'it''s'", text)
        with self.assertRaises(Failed):
            plot.script(Samples([]), Path("x.svg"))

    def test_the_fleet_is_as_large_as_wanted(self):
        found = fleet.addresses(70_000)
        self.assertEqual(len(set(found)), 70_000)
        for address in found:
            first, second, third, last = map(int, address.split("."))
            self.assertTrue(first == 127 and second < 256 and third < 256 and 0 < last < 255, address)

    def test_rounds_differ_in_their_order_and_not_in_what_they_hold(self):
        items = list("abcde")
        orders = [interleaved(items, round_) for round_ in range(5)]
        self.assertEqual({tuple(sorted(order)) for order in orders}, {tuple(items)})
        self.assertEqual(len({tuple(order) for order in orders}), 5)

    def test_a_process_is_stopped_with_its_children(self):
        with tempfile.TemporaryDirectory() as folder:
            child = Path(folder, "child")
            script = f"trap '' TERM; sleep 1000 & echo $! >{child}.new; mv {child}.new {child}; exit 1"
            with Process(["sh", "-c", script], {"PATH": "/usr/bin:/bin"}) as process:
                wait_for("a child", child.exists)
                wait_for("the end of the shell", lambda: not process.alive())
            pid = int(child.read_text())
            wait_for("the end of the child", lambda: state(pid) in ("gone", "Z"))

    def test_what_a_process_said_last_is_kept(self):
        with Process(["sh", "-c", "echo one >&2; echo two >&2"], {"PATH": "/usr/bin:/bin"}) as process:
            process.finish(10)
            self.assertEqual(process.complaint(), "two")

    def test_a_wait_is_bounded(self):
        with self.assertRaises(Failed):
            wait_for("never", lambda: False, patience=0.01)
        self.assertGreater(free_port(), 0)


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "gone"


if __name__ == "__main__":
    unittest.main()
