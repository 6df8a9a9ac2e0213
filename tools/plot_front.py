#!/usr/bin/env python3
"""Draws fronts: what is lost against what is left, of runs of `galapagos search --targets`.

  tools/plot_front.py RUN... [--output front.png]

Each RUN has a front.csv; a line a run, named by its folder. Where --eval-data was given, the perplexity on
its first file is drawn, too. Needs matplotlib.
"""

import argparse
import csv
from pathlib import Path

from plot_common import COLOURS, MARKERS, PlotError, main_of, read_text, save, short_number, start


def read_front(folder):
    """Points (parameters, fitness, perplexity or None), the largest model first, and that perplexity's name."""
    path = Path(folder) / "front.csv"
    rows = list(csv.reader(read_text(path).splitlines()))
    if rows[0][:4] != ["sparsity", "parameters", "fitness", "file"] or len(rows) < 2:
        raise PlotError(f"{path} is not the table of a front")
    points = []
    for number, row in enumerate(rows[1:], 2):
        try:
            if len(row) != len(rows[0]):
                raise ValueError
            points.append((int(row[1]), float(row[2]), float(row[4]) if len(row) > 4 else None))
        except ValueError:
            raise PlotError(f"{path}, line {number}: not a size of a front") from None
    return points, rows[0][4] if len(rows[0]) > 4 else None


def run():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path)
    parser.add_argument("--output", metavar="PNG", type=Path, default=Path("front.png"))
    arguments = parser.parse_args()

    fronts = [(folder.resolve().name, *read_front(folder)) for folder in arguments.runs]
    with_perplexity = all(name is not None for _, _, name in fronts)
    plt = start()
    figure, axes = plt.subplots(1, 2 if with_perplexity else 1, squeeze=False,
                                figsize=(8.4 if with_perplexity else 4.6, 3.2))
    for index, (name, points, _) in enumerate(fronts):
        style = {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)],
                 "label": name}
        sizes = [point[0] for point in points]
        axes[0][0].plot(sizes, [point[1] for point in points], **style)
        if with_perplexity:
            axes[0][1].plot(sizes, [point[2] for point in points], **style)
    axes[0][0].set_ylabel("fitness (lower is better)")
    if with_perplexity:
        axes[0][1].set_ylabel(fronts[0][2])
    for axis in axes[0]:
        axis.set_xlabel("parameters left")
        axis.xaxis.set_major_formatter(lambda value, _: short_number(value))
    if len(fronts) > 1:
        axes[0][0].legend()
    save(plt, figure, arguments.output)


if __name__ == "__main__":
    main_of("plot_front", run)
