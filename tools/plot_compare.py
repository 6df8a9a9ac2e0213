#!/usr/bin/env python3
"""Draws perplexity, divergence and size of a few models beside each other.

  tools/plot_compare.py MODELS.json [--output compare.png]

MODELS.json is a list as
  [{"name": "dense", "parameters": 6738415616, "perplexity": 5.5, "kl": 0.0}, ...]
where "kl" may be left out or null. The order is kept. Needs matplotlib.
"""

import argparse
from pathlib import Path

from plot_common import COLOURS, PlotError, main_of, read_json, save, short_number, start


def read_models(path):
    models = read_json(path)
    if not isinstance(models, list) or not models:
        raise PlotError(f"{path} is not a list of models")
    for number, model in enumerate(models, 1):
        try:
            str(model["name"])
            good = float(model["parameters"]) > 0 and float(model["perplexity"]) > 0
            good = good and float(model.get("kl") or 0) >= 0
        except (KeyError, TypeError, ValueError, AttributeError):
            good = False
        if not good:
            raise PlotError(f"{path}, model {number}: needs a name, parameters and a perplexity "
                            "above 0, and no negative kl")
    return models


def bars(axis, values, colour, label):
    """One bar a model; a logarithmic scale where the values are far apart."""
    rows = range(len(values))
    axis.barh(rows, [value or 0 for value in values], color=colour, height=0.62)
    shown = [value for value in values if value]
    logarithmic = bool(shown) and max(shown) > 20 * min(shown)
    if logarithmic:
        axis.set_xscale("log")
        axis.set_xlim(min(shown) / 2, max(shown) * 4)
    else:
        axis.set_xlim(0, 1.22 * max(shown, default=1))
        axis.locator_params(axis="x", nbins=4)
    for row, value in zip(rows, values):
        text = "not measured" if value is None else f" {value:.4g}"
        axis.annotate(text, (value or axis.get_xlim()[0], row), xytext=(3, 0),
                      textcoords="offset points", va="center", fontsize=8)
    axis.grid(axis="y", visible=False)
    axis.set_xlabel(label + (", logarithmic" if logarithmic else ""))


def run():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", metavar="MODELS.json", type=Path)
    parser.add_argument("--output", metavar="PNG", type=Path, default=Path("compare.png"))
    arguments = parser.parse_args()

    models = read_models(arguments.models)
    plt = start()
    divergences = [None if model.get("kl") is None else float(model["kl"]) for model in models]
    columns = 3 if any(value is not None for value in divergences) else 2
    figure, axes = plt.subplots(1, columns, sharey=True,
                                figsize=(1.5 + 3.1 * columns, 1.2 + 0.42 * len(models)))
    bars(axes[0], [float(model["perplexity"]) for model in models], COLOURS[0],
         "perplexity (lower is better)")
    if columns == 3:
        bars(axes[1], divergences, COLOURS[1], "KL from the dense model (nats per token)")
    parameters = [float(model["parameters"]) for model in models]
    largest = max(parameters)
    axes[-1].barh(range(len(models)), [100 * value / largest for value in parameters],
                  color=COLOURS[2], height=0.62)
    for row, value in enumerate(parameters):
        axes[-1].annotate(f"{short_number(value)}", (100 * value / largest, row), xytext=(3, 0),
                          textcoords="offset points", va="center", fontsize=8)
    axes[-1].set_xlim(0, 122)
    axes[-1].set_xticks(range(0, 101, 25))
    axes[-1].grid(axis="y", visible=False)
    axes[-1].set_xlabel("parameters (% of the largest)")
    axes[0].set_yticks(range(len(models)), [model["name"] for model in models])
    axes[0].set_ylim(len(models) - 0.4, -0.6)
    save(plt, figure, arguments.output)


if __name__ == "__main__":
    main_of("plot_compare", run)
