"""Figures of tools/scaling_study.py: quality and diversity. Those over ranks are tools/plot_scaling.py's."""

from collections import defaultdict

from plot_common import COLOURS, MARKERS, save
from plot_scaling import mean, name_of, plain_ticks, plot_ranks, same_results
from study_runs import least_ranks

LINES = ["-", "--", ":", "-."]


def grouped(runs):
    """{(strategy, population): runs}, with a style for each: strategies differ in line, populations in colour."""
    groups = defaultdict(list)
    for run in runs:
        groups[run.strategy, run.population].append(run)
    strategies = sorted({strategy for strategy, _ in groups})
    populations = sorted({population for _, population in groups}, key=lambda one: (one[0] * one[1], one))
    for (strategy, population), some in sorted(groups.items()):
        at, line = populations.index(population), strategies.index(strategy)
        yield some, {"color": COLOURS[at % len(COLOURS)], "linestyle": LINES[line % len(LINES)],
                     "label": f"{strategy} {name_of(population)}"}


def averaged(curves):
    """Point by point over seeds, as far as all of them go."""
    for points in zip(*curves):
        yield [mean(values) for values in zip(*points)]


def legend_of(figure, axis):
    figure.legend(*axis.get_legend_handles_labels(), title="strategy, islands x offspring",
                  loc="outside right center", fontsize=7)


def plot_curves(plt, runs, path):
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True)
    for some, style in grouped(least_ranks(runs)):
        points = list(averaged([run.curve() for run in some]))
        for axis, place in ((axes[0], 0), (axes[1], 1)):
            axis.plot([point[place] for point in points], [point[2] for point in points], linewidth=1.1, marker=".",
                      markersize=3, **style)
    axes[0].set_xlabel("evaluations of all islands")
    axes[1].set_xlabel("node-hours")
    axes[1].set_xscale("log")
    plain_ticks(axes[1].xaxis)
    axes[0].set_ylabel("fitness of the islands' bests on their own tokens")
    legend_of(figure, axes[1])
    figure.suptitle("on the way: mean of islands and seeds, on the fewest ranks")
    save(plt, figure, path)


def plot_quality(plt, runs, path):
    held_out = all(run.held_out is not None for run in runs)
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.2), sharey=True)
    marker = {strategy: MARKERS[at % len(MARKERS)]
              for at, strategy in enumerate(sorted({run.strategy for run in runs}))}
    for some, style in grouped(runs):
        style = {"color": style["color"], "label": style["label"], "marker": marker[some[0].strategy],
                 "linestyle": "none"}
        once = least_ranks(some)
        points = [[(run.evaluations, run.quality) for run in once], [(run.node_hours, run.quality) for run in some],
                  [(run.population[0] * run.population[1], run.quality) for run in once]]
        for axis, pairs in zip(axes, points):
            axis.plot(*zip(*pairs), markersize=4, alpha=0.4, **{**style, "label": None})
            if axis is not axes[1]:
                axis.plot(*[mean(values) for values in zip(*pairs)], markersize=8, markeredgecolor="black", **style)
    for axis, label in zip(axes, ("evaluations of all islands", "node-hours, each run",
                                  "offspring of all islands in a generation")):
        axis.set_xscale("log")
        axis.set_xlabel(label)
        plain_ticks(axis.xaxis)
    sizes = sorted({run.population[0] * run.population[1] for run in runs})
    axes[2].set_xticks(sizes, sizes)
    axes[0].set_ylabel("KL on held-out text" if held_out else "fitness of the best, compared on common tokens")
    legend_of(figure, axes[2])
    figure.suptitle("at the end; large: mean of the seeds")
    save(plt, figure, path)


def plot_diversity(plt, runs, path):
    figure, axis = plt.subplots(figsize=(7.5, 4))
    drawn = False
    for some, style in grouped(least_ranks(runs)):
        points = list(averaged([run.diversity() for run in some]))
        if points:
            axis.plot(*zip(*points), **style)
            drawn = True
    if not drawn:  # one island each
        plt.close(figure)
        return
    axis.set_ylim(bottom=0)
    axis.set_xlabel("evaluations of all islands")
    axis.set_ylabel("modules in which two islands' bests differ")
    legend_of(figure, axis)
    save(plt, figure, path)


def plot_efficiency(plt, runs, path):
    same_results(runs)
    plot_ranks(plt, runs, path)
