#!/usr/bin/env python3
"""Draws how the search scales, from the run directories below one folder.

  tools/plot_scaling.py STUDY_DIR [--output DIR]

STUDY_DIR is what jobs/scaling.sh leaves: one run directory per number of ranks, population and
seed. Where a population was run on several numbers of ranks: ranks.png, with time, speed-up and
efficiency. Where it was run on the same ranks in replicas of several numbers of shards: shards.png,
with the time. Where there are several populations: population.png, with the fitness they reach against
their size and against the candidates evaluated. They go to STUDY_DIR/plots, or to --output. Needs
matplotlib.
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

from plot_common import (COLOURS, GREY, MARKERS, PlotError, Run, main_of, save, short_number, start,
                         time_unit)


class StudyRun(Run):
    def __init__(self, folder):
        super().__init__(folder)
        manifest = self.manifest()
        try:
            self.ranks = int(manifest["ranks"])
            self.shards = int(manifest.get("shards", 1))
            self.population = (int(manifest["islands"]), int(manifest["options"]["offspring"]))
            self.seed = int(manifest["seed"])
            self.evaluations = int(manifest["evaluations"])
            self.seconds = float(manifest["seconds"])
            self.fitness = float(manifest["best"]["fitness"])
        except (KeyError, TypeError, ValueError) as error:
            raise PlotError(f"{self.folder / 'manifest.json'}: missing or wrong: {error}") from None
        if self.ranks < 1 or self.evaluations < 1 or self.seconds <= 0:
            raise PlotError(f"{self.folder / 'manifest.json'}: the run has done nothing")

    def best_so_far(self):
        """(candidates evaluated by all islands, fitness). Comparisons of the islands all use the
        same tokens, so they are taken where there are enough; else the parents' mean."""
        rows = self.compared()
        if len(rows) < 3:
            rows = self.mean_over_islands().values()
        return [(row[0], row[2]) for row in rows]


def name_of(population, shards=1):
    name = f"{population[0]} x {population[1]}"
    return name if shards == 1 else f"{name}, {shards} shards"


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def plain_ticks(axis):
    """1, 2, 5, 10, ... on a logarithmic axis, also where it covers less than a power of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    axis.set_minor_locator(NullLocator())


def plot_ranks(plt, runs, path):
    """Strong scaling: the same population on more ranks. False where there is no such series."""
    series = defaultdict(lambda: defaultdict(list))
    for run in runs:
        series[run.population, run.shards][run.ranks].append(run)
    series = {which: by_ranks for which, by_ranks in series.items() if len(by_ranks) > 1}
    if not series:
        return False

    figure, axes = plt.subplots(1, 3, figsize=(12, 3.8))
    slowest = max(run.seconds for by_ranks in series.values() for some in by_ranks.values()
                  for run in some)
    unit, unit_name = time_unit(slowest)
    all_ranks = sorted({ranks for by_ranks in series.values() for ranks in by_ranks})
    for index, (which, by_ranks) in enumerate(sorted(series.items())):
        ranks = sorted(by_ranks)
        # Time per candidate, so that runs which did not do equally many can be compared.
        cost = [mean(run.seconds / run.evaluations for run in by_ranks[count]) for count in ranks]
        candidates = mean(run.evaluations for some in by_ranks.values() for run in some)
        speedup = [ranks[0] * cost[0] / value for value in cost]
        style = {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)],
                 "label": name_of(*which), "zorder": 3}
        axes[0].plot(ranks, [value * candidates / unit for value in cost], **style)
        axes[0].plot(ranks, [cost[0] * ranks[0] / count * candidates / unit for count in ranks],
                     color=GREY, linestyle=":", linewidth=1)
        axes[1].plot(ranks, speedup, **style)
        axes[2].plot(ranks, [100 * value / count for value, count in zip(speedup, ranks)], **style)
    axes[1].plot(all_ranks, all_ranks, color=GREY, linestyle=":", linewidth=1, label="ideal")
    axes[2].axhline(100, color=GREY, linestyle=":", linewidth=1)

    axes[0].set_ylabel(f"time of the search ({unit_name})")
    first = "1 rank" if all_ranks[0] == 1 else f"{all_ranks[0]} ranks, taken as {all_ranks[0]}"
    axes[1].set_ylabel(f"speed-up (against {first})")
    axes[2].set_ylabel("efficiency (%)")
    axes[2].set_ylim(0, 115)
    for axis in axes:
        axis.set_xscale("log", base=2)
        axis.set_xticks(all_ranks, all_ranks)
        axis.minorticks_off()
        axis.set_xlabel("MPI ranks")
    for axis in axes[:2]:
        axis.set_yscale("log", base=2 if axis is axes[1] else 10)
    axes[1].set_yticks(all_ranks, all_ranks)
    axes[1].minorticks_off()
    plain_ticks(axes[0].yaxis)
    axes[1].legend(title="islands x offspring")
    figure.suptitle("the same search on more ranks (dotted: ideal)")
    save(plt, figure, path)
    return True


def plot_shards(plt, runs, path):
    """The same population and ranks, replicas of more shards. False where there is no such series."""
    series = defaultdict(lambda: defaultdict(list))
    for run in runs:
        series[run.population, run.ranks][run.shards].append(run)
    series = {which: by_shards for which, by_shards in series.items() if len(by_shards) > 1}
    if not series:
        return False

    figure, axis = plt.subplots(figsize=(5.5, 4))
    for index, ((population, ranks), by_shards) in enumerate(sorted(series.items())):
        shards = sorted(by_shards)
        axis.plot(shards, [mean(run.seconds / run.evaluations for run in by_shards[count])
                           for count in shards],
                  color=COLOURS[index % len(COLOURS)], marker=MARKERS[index % len(MARKERS)],
                  label=f"{name_of(population)}, {ranks} ranks")
    every = sorted({shards for by_shards in series.values() for shards in by_shards})
    axis.set_xscale("log", base=2)
    axis.set_xticks(every, every)
    axis.minorticks_off()
    axis.set_ylim(bottom=0)
    axis.set_xlabel("shards of a replica")
    axis.set_ylabel("seconds of the search per candidate")
    axis.legend(title="islands x offspring")
    save(plt, figure, path)
    return True


def plot_population(plt, runs, path):
    """Quality over population size. False where there is only one population."""
    populations = defaultdict(dict)
    for run in sorted(runs, key=lambda run: run.ranks):
        # The number of ranks does not change a result; one run for each seed.
        populations[run.population].setdefault(run.seed, run)
    if len(populations) < 2:
        return False
    populations = dict(sorted(populations.items(),
                              key=lambda item: (item[0][0] * item[0][1], item[0])))

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2))
    scale = plt.get_cmap("viridis")
    for index, (population, by_seed) in enumerate(populations.items()):
        colour = scale(0.9 * index / (len(populations) - 1))
        marker = MARKERS[index % len(MARKERS)]
        size = population[0] * population[1]
        fitness = [run.fitness for run in by_seed.values()]
        axes[0].plot([size] * len(fitness), fitness, linestyle="none", marker=marker, color=colour,
                     alpha=0.45, markersize=4)
        axes[0].plot(size, mean(fitness), marker=marker, color=colour, markersize=8,
                     markeredgecolor="black", linestyle="none")
        axes[0].annotate(name_of(population), (size, mean(fitness)), xytext=(7, 5),
                         textcoords="offset points", fontsize=8)

        curves = [run.best_so_far() for run in by_seed.values()]
        points = list(zip(*curves))
        done = [mean(point[0] for point in some) for some in points]
        axes[1].plot(done, [mean(point[1] for point in some) for some in points], color=colour,
                     marker=marker, markevery=max(1, len(points) // 6), markersize=4,
                     label=name_of(population))
        if len(curves) > 1:
            axes[1].fill_between(done, [min(point[1] for point in some) for some in points],
                                 [max(point[1] for point in some) for some in points], color=colour,
                                 alpha=0.15, linewidth=0)

    axes[0].set_xscale("log", base=2)
    sizes = sorted({population[0] * population[1] for population in populations})
    axes[0].set_xticks(sizes, sizes)
    axes[0].minorticks_off()
    axes[0].margins(x=0.14)
    axes[0].set_xlabel("population: offspring of all islands per generation")
    axes[0].set_ylabel("fitness at the end (lower is better)")
    axes[0].set_title("small: each seed; large: mean of the seeds")
    axes[1].set_xscale("log")
    plain_ticks(axes[1].xaxis)
    axes[1].set_xlabel("candidates evaluated by all islands together")
    axes[1].set_ylabel("fitness (lower is better)")
    axes[1].set_title("mean of the seeds, shaded from the least to the largest")
    axes[1].legend(title="islands x offspring", loc="lower left")
    save(plt, figure, path)
    return True


def same_results(runs):
    """Says where the number of ranks changed a result, which it must not; shards change the rounding."""
    by_search = defaultdict(dict)
    for run in runs:
        by_search[run.population, run.shards, run.seed, run.evaluations].setdefault(run.fitness, run.name)
    for found in by_search.values():
        if len(found) > 1:
            print("plot_scaling: different fitness from the same search: "
                  + ", ".join(f"{name} {fitness}" for fitness, name in found.items()),
                  file=sys.stderr)


def run():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", metavar="STUDY_DIR", type=Path)
    parser.add_argument("--output", metavar="DIR", type=Path)
    arguments = parser.parse_args()

    if not arguments.study.is_dir():
        raise PlotError(f"{arguments.study} is not a folder")
    runs = []
    for folder in sorted(arguments.study.iterdir()):
        if not folder.is_dir() or folder.name in ("plots", "logs"):
            continue
        if not (folder / "best.txt").is_file():
            print(f"plot_scaling: {folder} is not finished, so it is left out", file=sys.stderr)
            continue
        runs.append(StudyRun(folder))
    if not runs:
        raise PlotError(f"{arguments.study} holds no finished run")
    same_results(runs)

    plt = start()
    output = arguments.output or arguments.study / "plots"
    plotted = plot_ranks(plt, runs, output / "ranks.png")
    plotted = plot_shards(plt, runs, output / "shards.png") or plotted
    plotted = plot_population(plt, runs, output / "population.png") or plotted
    if not plotted:
        raise PlotError(f"{arguments.study}: all runs have the same ranks, shards and population")


if __name__ == "__main__":
    main_of("plot_scaling", run)
