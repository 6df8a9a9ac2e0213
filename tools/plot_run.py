#!/usr/bin/env python3
"""Draws what a search did, from its run directory.

  tools/plot_run.py RUN_DIR... [--output DIR]

For each run: fitness.png (fitness of the islands against evaluations and time), levels.png (levels
of the best assignment) and, where islands exchanged candidates, migrations.png, and where the
database has end losses, prediction.png (how well offspring were ranked before they were measured).
They go to RUN_DIR/plots, or to --output. Several runs besides give runs.png, which compares them. Needs
matplotlib.
"""

import argparse
from pathlib import Path

from plot_common import (COLOURS, GREY, MARKERS, PlotError, Run, main_of, save, start, time_unit)

FITNESS = "fitness (lower is better)"


def island_colours(plt, count):
    """Few islands get colours that are told apart by name, many a scale."""
    if count <= len(COLOURS):
        return COLOURS[:count]
    return [plt.get_cmap("viridis")(0.92 * index / (count - 1)) for index in range(count)]


def plot_fitness(plt, run, path):
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True)
    unit, unit_name = time_unit(max(float(rows[-1]["elapsed"]) for rows in run.islands.values()))
    colours = island_colours(plt, len(run.islands))
    for (island, rows), colour in zip(run.islands.items(), colours):
        best = [float(row["best"]) for row in rows]
        style = {"color": colour, "linewidth": 0.9, "alpha": 0.7, "label": f"island {island}"}
        axes[0].plot([int(row["evaluations"]) for row in rows], best, **style)
        axes[1].plot([float(row["elapsed"]) / unit for row in rows], best, **style)

    mean = list(run.mean_over_islands().values())
    islands = len(run.islands)
    if islands > 1:
        style = {"color": "black", "linewidth": 2.2, "label": "mean of the islands"}
        axes[0].plot([row[0] / islands for row in mean], [row[2] for row in mean], **style)
        axes[1].plot([row[1] / unit for row in mean], [row[2] for row in mean], **style)

    # Comparisons measure on tokens of their own, so they are not on the curves.
    points = run.compared()
    if points:
        style = {"color": "black", "marker": "D", "markersize": 5, "markerfacecolor": "white",
                 "linestyle": "none", "label": "best island on the common tokens", "zorder": 3}
        axes[0].plot([row[0] / islands for row in points], [row[2] for row in points], **style)
        axes[1].plot([row[1] / unit for row in points], [row[2] for row in points], **style)

    axes[0].set_xlabel("candidates evaluated per island")
    axes[0].set_ylabel(FITNESS)
    axes[1].set_xlabel(f"time since the search began ({unit_name})")
    for axis in axes:
        axis.set_xlim(left=0)
    handles, labels = axes[1].get_legend_handles_labels()
    if islands > len(COLOURS):
        handles, labels = handles[islands:], labels[islands:]
        scale = plt.cm.ScalarMappable(cmap="viridis")
        scale.set_clim(0, (islands - 1) / 0.92)
        bar = figure.colorbar(scale, ax=axes, label="island")
        bar.ax.set_ylim(0, islands - 1)
    figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)))
    figure.suptitle(f"{run.name}: fitness of each island's parent")
    save(plt, figure, path)


def plot_levels(plt, run, path):
    levels = run.best()
    layers = sorted(set(levels["attn"]) | set(levels["ffn"]))
    if not layers:
        raise PlotError(f"{run.folder / 'best.txt'} names no module")
    table = [[levels[kind].get(layer, float("nan")) for layer in layers]
             for kind in ("attn", "ffn")]
    highest = max(max(level for level in levels[kind].values()) for kind in levels if levels[kind])

    cell, size = (0.27, 7) if len(layers) <= 40 else (0.17, 5)
    figure, axis = plt.subplots(figsize=(max(5.0, cell * len(layers) + 2), 1.9))
    colours = plt.get_cmap("YlGnBu", highest + 1)
    image = axis.pcolormesh(table, cmap=colours, vmin=-0.5, vmax=highest + 0.5, edgecolor="white",
                            linewidth=0.6)
    for row, values in enumerate(table):
        for column, value in enumerate(values):
            if value == value:
                axis.text(column + 0.5, row + 0.5, int(value), ha="center", va="center",
                          fontsize=size, color="white" if value > 0.6 * highest else "black")
    axis.grid(False)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.set_ylim(2, 0)
    axis.set_yticks([0.5, 1.5], ["attention", "ffn"])
    shown = range(0, len(layers), 1 if len(layers) <= 24 else 4)
    axis.set_xticks([at + 0.5 for at in shown], [layers[at] for at in shown])
    axis.set_xlabel("layer")
    ticks = range(0, highest + 1, 1 if highest <= 10 else 5)
    bar = figure.colorbar(image, ax=axis, label="level", ticks=list(ticks), pad=0.015)
    bar.ax.tick_params(labelsize=7, length=0)
    axis.set_title(f"{run.name}: levels of the best assignment (0: not pruned)")
    save(plt, figure, path)


def plot_migrations(plt, run, path):
    migrations = run.migrations()
    if not migrations:
        return
    islands = sorted(set(run.islands).union(*({row[1], row[2]} for row in migrations)))
    last = max(int(rows[-1]["generation"]) for rows in run.islands.values())
    height = min(9.0, 1.6 + 0.42 * len(islands))
    figure, axis = plt.subplots(figsize=(10, height))
    for island in islands:
        axis.axhline(island, color="#C8C8C8", linewidth=0.8, zorder=1)
    improved = [(int(row["generation"]), island) for island, rows in run.islands.items()
                for row in rows if row.get("improved")]
    if improved:
        axis.scatter(*zip(*improved), s=7, color=GREY, zorder=2, linewidths=0,
                     label="the parent was replaced")

    # An arrow leans to the right, as migrants arrive one generation after they were copied, and is
    # bent a little, so that it does not run along the others.
    fitness = [row[3] for row in migrations]
    scale = plt.cm.ScalarMappable(cmap="viridis")
    scale.set_clim(min(fitness), max(fitness))
    lean = max(1.0, 0.012 * last)

    def bend(source, target):
        distance = abs(source - target)
        return 0.08 if distance <= 1 else 0.25 / distance

    for generation, source, target, value in migrations:
        axis.annotate("", xy=(generation + lean, target), xytext=(generation, source), zorder=3,
                      arrowprops={"arrowstyle": "-|>", "color": scale.to_rgba(value),
                                  "linewidth": 1.1, "mutation_scale": 8, "shrinkA": 0, "shrinkB": 1,
                                  "connectionstyle": f"arc3,rad={bend(source, target)}"})
    axis.set_xlim(0, last + 3 * lean)
    axis.set_ylim(max(islands) + 0.6, min(islands) - 0.6)
    step = 1 if len(islands) <= 20 else 4
    axis.set_yticks(islands[::step])
    axis.grid(False)
    axis.set_xlabel("generation")
    axis.set_ylabel("island")
    figure.colorbar(scale, ax=axis, label="fitness of the migrant", pad=0.015)
    if improved:
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0.1, handletextpad=0.1)
    axis.set_title(f"{run.name}: {len(migrations)} migrants")
    save(plt, figure, path)


def plot_prediction(plt, run, path):
    figure, axis = plt.subplots(figsize=(7, 4))
    drawn = False
    for key, colour, label in (("rank_correlation", GREY, "sum of end losses"),
                               ("surrogate_rank_correlation", COLOURS[0], "surrogate")):
        points = {}
        for rows in run.islands.values():
            for row in rows:
                value = row.get(key)
                if isinstance(value, (int, float)) and value == value:
                    points.setdefault(int(row["generation"]), []).append(value)
        if not points:
            continue
        drawn = True
        generations = sorted(points)
        means = [sum(points[at]) / len(points[at]) for at in generations]
        for at in generations:
            axis.scatter([at] * len(points[at]), points[at], s=8, color=colour, alpha=0.35, linewidths=0)
        axis.plot(generations, means, color=colour, linewidth=1.4, label=label)
    if drawn:
        axis.axhline(0, color="#C8C8C8", linewidth=0.8, zorder=1)
        axis.set_ylim(-1.05, 1.05)
        axis.set_xlim(left=0)
        axis.set_xlabel("generation")
        axis.set_ylabel("rank correlation with what was measured")
        axis.legend(loc="lower right")
        axis.set_title(f"{run.name}: offspring ranked before they were measured (mean of the islands)")
        save(plt, figure, path)


def plot_runs(plt, runs, path):
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True)
    tables = [list(run.mean_over_islands().values()) for run in runs]
    unit, unit_name = time_unit(max(table[-1][1] for table in tables))
    for index, (run, table) in enumerate(zip(runs, tables)):
        style = {"color": COLOURS[index % len(COLOURS)], "label": run.name, "linewidth": 1.4,
                 "marker": MARKERS[index % len(MARKERS)], "markevery": max(1, len(table) // 8),
                 "markersize": 4, "linestyle": ["-", "--", ":"][index // len(COLOURS) % 3]}
        axes[0].plot([row[0] for row in table], [row[2] for row in table], **style)
        axes[1].plot([row[1] / unit for row in table], [row[2] for row in table], **style)
    axes[0].set_xlabel("candidates evaluated by all islands together")
    axes[0].set_ylabel(FITNESS)
    axes[1].set_xlabel(f"time since the search began ({unit_name})")
    for axis in axes:
        axis.set_xlim(left=0)
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center",
                  ncols=min(4, len(runs)))
    figure.suptitle("mean fitness of the islands' parents")
    save(plt, figure, path)


def run():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", metavar="RUN_DIR", nargs="+")
    parser.add_argument("--output", metavar="DIR", type=Path)
    arguments = parser.parse_args()
    if len(arguments.runs) > 1 and arguments.output is None:
        parser.error("several runs need --output")

    runs = [Run(folder) for folder in arguments.runs]
    if len({run.name for run in runs}) < len(runs):
        raise PlotError("two runs have folders of the same name")
    plt = start()

    def path_of(one, figure):
        folder = arguments.output or one.folder / "plots"
        return folder / (f"{one.name}-{figure}" if len(runs) > 1 else figure)

    for one in runs:
        plot_fitness(plt, one, path_of(one, "fitness.png"))
        plot_migrations(plt, one, path_of(one, "migrations.png"))
        plot_prediction(plt, one, path_of(one, "prediction.png"))
    if len(runs) > 1:
        plot_runs(plt, runs, arguments.output / "runs.png")
    for one in runs:  # last, as a search that still runs may have no best.txt
        plot_levels(plt, one, path_of(one, "levels.png"))


if __name__ == "__main__":
    main_of("plot_run", run)
