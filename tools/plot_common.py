"""What the plot_*.py scripts share: reading run directories, errors, colours."""

import csv
import json
import sys
from pathlib import Path

# Okabe and Ito's colours without the yellow, which is too pale on white: they differ for all common
# kinds of colour blindness.
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]
GREY = "#6E6E6E"


class PlotError(Exception):
    """An input that cannot be plotted; its text is the one line that the user sees."""


def start():
    """Matplotlib without a display, in the style of all figures."""
    try:
        import matplotlib
    except ImportError:
        raise PlotError("matplotlib is missing: pip install matplotlib") from None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({
        "figure.dpi": 150, "savefig.dpi": 150, "font.size": 9, "axes.titlesize": 10,
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
        "grid.color": "#E3E3E3", "grid.linewidth": 0.6, "axes.axisbelow": True,
        "legend.frameon": False, "figure.constrained_layout.use": True,
    })
    return plt


def main_of(name, run):
    """Runs a script; an error is one line and exit code 3 (a bad input file)."""
    try:
        run()
    except PlotError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(3)
    except OSError as error:
        print(f"{name}: {error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(3)


def save(plt, figure, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    plt.close(figure)
    print(path)


def read_text(path):
    if not path.is_file():
        raise PlotError(f"{path} is missing")
    text = path.read_text(encoding="utf-8", errors="replace")
    if not text.strip():
        raise PlotError(f"{path} is empty")
    return text


def read_json(path):
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise PlotError(f"{path}, line {error.lineno}: not JSON") from None


class Run:
    """A run directory of `galapagos search`.

    islands: for each island its generations in order, as dicts of metrics.jsonl
    comparisons: the lines of metrics.jsonl in which the islands were compared
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise PlotError(f"{folder} is not a folder")
        self.name = self.folder.resolve().name
        self._read_metrics(self.folder / "metrics.jsonl")

    def _read_metrics(self, path):
        text = read_text(path)
        rows, comparisons = {}, {}
        lines = text.split("\n")
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                generation = int(row["generation"])
                if "comparison" in row:
                    float(row["fitness"])
                    comparisons[generation] = row
                    continue
                float(row["best"]), float(row["elapsed"]), int(row["evaluations"])
                # A run that was killed and resumed repeats generations; the last word counts.
                rows[int(row["island"]), generation] = row
            except (ValueError, KeyError, TypeError):
                if number == len(lines):  # cut short where the run was killed
                    continue
                raise PlotError(f"{path}, line {number}: not a line of metrics") from None
        if not rows:
            raise PlotError(f"{path} holds no generation yet")
        self.islands = {}
        for island, generation in sorted(rows):
            self.islands.setdefault(island, []).append(rows[island, generation])
        self.comparisons = [comparisons[generation] for generation in sorted(comparisons)]

    def manifest(self):
        return read_json(self.folder / "manifest.json")

    def best(self):
        """Levels of best.txt: {"attn": {layer: level}, "ffn": {layer: level}}."""
        path = self.folder / "best.txt"
        levels = {"attn": {}, "ffn": {}}
        for number, line in enumerate(read_text(path).splitlines(), 1):
            if not line.strip():
                continue
            try:
                name, level = line.split(":")
                words = name.strip().split(".")
                kind = {"o_proj": "attn", "down_proj": "ffn"}[words[-1]]
                levels[kind][int(words[words.index("layers") + 1])] = int(level)
            except (ValueError, KeyError, IndexError):
                raise PlotError(f"{path}, line {number}: not 'model.layers.N...: level'") from None
        return levels

    def migrations(self):
        """Rows (generation, from, to, fitness) of migrations.csv."""
        path = self.folder / "migrations.csv"
        rows = []
        for number, row in enumerate(csv.DictReader(read_text(path).splitlines()), 2):
            try:
                rows.append((int(row["generation"]), int(row["from"]), int(row["to"]),
                             float(row["fitness"])))
            except (ValueError, KeyError, TypeError):
                raise PlotError(f"{path}, line {number}: not a migration") from None
        return rows

    def mean_over_islands(self):
        """For each generation that all islands have done: evaluations of all together, seconds, and
        the mean fitness of their parents."""
        by_generation = {}
        for rows in self.islands.values():
            for row in rows:
                by_generation.setdefault(int(row["generation"]), []).append(row)
        return {generation: (sum(int(row["evaluations"]) for row in rows),
                             max(float(row["elapsed"]) for row in rows),
                             sum(float(row["best"]) for row in rows) / len(rows))
                for generation, rows in sorted(by_generation.items())
                if len(rows) == len(self.islands)}

    def compared(self):
        """Where the islands were compared: (evaluations of all, seconds, fitness of the best)."""
        table = self.mean_over_islands()
        return [(*table[int(row["generation"])][:2], float(row["fitness"]))
                for row in self.comparisons if int(row["generation"]) in table]


def time_unit(seconds):
    """The unit for an axis that reaches so far: (its length in seconds, its name)."""
    if seconds > 2 * 86400:
        return 86400.0, "days"
    if seconds > 2 * 3600:
        return 3600.0, "hours"
    if seconds > 300:
        return 60.0, "minutes"
    return 1.0, "s"


def short_number(number):
    """1234567 as 1.23M."""
    for limit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= limit:
            return f"{number / limit:.3g}{letter}"
    return f"{number:.3g}"
