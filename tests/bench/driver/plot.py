"""Samples to a picture: answers a second against clients, both axes logarithmic, drawn by gnuplot as SVG.

In: samples. Out: an SVG file. The data and the script go to gnuplot on its standard input; nothing is left behind.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from .process import Failed, located
from .stats import Samples

# Ours in strong colours, floors dashed and black, everybody else thin.
STYLES = {
    "ours": ["lw 3 lc rgb '#0050b0' pt 7", "lw 3 lc rgb '#00a0e0' pt 5", "lw 3 lc rgb '#208040' pt 9",
             "lw 3 lc rgb '#60c020' pt 11", "lw 3 lc rgb '#c04000' pt 13"],
    "floor": ["dt 2 lc rgb '#000000' pt 1", "dt 3 lc rgb '#000000' pt 2", "dt 4 lc rgb '#606060' pt 3"],
    "peer": [f"lw 1 lc rgb '{colour}' pt {4 + 2 * i % 10}" for i, colour in enumerate(
        ["#806000", "#a05080", "#7070a0", "#909000", "#a08060", "#b07070", "#708070"])],
    "textbook": ["dt 5 lc rgb '#a00000' pt 12", "dt 5 lc rgb '#d06060' pt 14"],
}  # fmt: skip

HEAD = """\
set terminal svg size 960,640 dynamic background rgb 'white' font 'sans-serif,13'
set output {output}
set title 'uptime over a socket: answers a second against clients at once'
set xlabel 'clients at once'
set ylabel 'answers a second'
set logscale xy
set grid xtics ytics lc rgb '#dddddd'
set xtics ({ticks})
set format y "%'.0f"
set decimalsign locale 'C'
set key outside right top noenhanced
"""


def curves(samples: Samples) -> list[tuple[str, str, list[tuple[int, float]]]]:
    """Name, kind and points (clients, median rate) of each series that has two points or more."""
    found = []
    for section in ("datagram", "capture", "exec"):
        here = samples.where(section=section)
        for series in here.values("series"):
            mine = here.where(series=series)
            points = []
            for clients in sorted(mine.values("clients")):
                rate = mine.where(clients=clients).spread("rate")
                if rate and rate.middle > 0:
                    points.append((clients, rate.middle))
            if len(points) > 1:
                found.append((series, mine.records[0]["kind"], points))
    return found


def script(samples: Samples, output: Path) -> str:
    """The whole gnuplot script, data included."""
    found = curves(samples)
    if not found:
        raise Failed("no series has two points")
    counts = sorted({clients for _, _, points in found for clients, _ in points})
    ticks = ", ".join(f"'{n:,}' {n}" for n in counts)
    drawn, data, used = [], [], dict.fromkeys(STYLES, 0)
    for i, (series, kind, points) in enumerate(found):
        style = STYLES[kind][used[kind] % len(STYLES[kind])]
        used[kind] += 1
        data.append(f"$d{i} << EOD\n" + "".join(f"{n} {rate}\n" for n, rate in points) + "EOD\n")
        drawn.append(f"$d{i} using 1:2 with linespoints title {quoted(series)} {style}")
    head = HEAD.format(output=quoted(str(output)), ticks=ticks)
    return head + "".join(data) + "plot " + ", \\\n     ".join(drawn) + "\n"


def quoted(text: str) -> str:
    """A gnuplot string in single quotes, where a quote is written twice."""
    return "'" + text.replace("'", "''") + "'"


def draw(samples: Samples, output: Path) -> None:
    text = script(samples, output)
    done = subprocess.run(
        [located("gnuplot")], input=text, text=True, capture_output=True, timeout=60, check=False
    )
    if done.returncode != 0:
        raise Failed(f"gnuplot: {done.stderr.strip()}")
