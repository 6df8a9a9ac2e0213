"""The runs of a scaling study as they ended: what tools/scaling_study.py tabulates."""

import json
import sys
from collections import defaultdict
from itertools import combinations
from pathlib import Path


class StudyError(Exception):
    """An input that cannot be read; its text is the one line that the user sees."""


def main_of(name, run):
    """Runs a script; an error is one line and exit code 3 (a bad input file)."""
    try:
        run()
    except StudyError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(3)
    except OSError as error:
        print(f"{name}: {error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(3)


def read_text(path):
    if not path.is_file():
        raise StudyError(f"{path} is missing")
    text = path.read_text(encoding="utf-8", errors="replace")
    if not text.strip():
        raise StudyError(f"{path} is empty")
    return text


def read_json(path):
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise StudyError(f"{path}, line {error.lineno}: not JSON") from None


class Run:
    """A run directory of `galapagos search`.

    islands: for each island its generations in order, as dicts of metrics.jsonl
    comparisons: the lines of metrics.jsonl in which the islands were compared
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise StudyError(f"{folder} is not a folder")
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
                raise StudyError(f"{path}, line {number}: not a line of metrics") from None
        if not rows:
            raise StudyError(f"{path} holds no generation yet")
        self.islands = {}
        for island, generation in sorted(rows):
            self.islands.setdefault(island, []).append(rows[island, generation])
        self.comparisons = [comparisons[generation] for generation in sorted(comparisons)]

    def manifest(self):
        return read_json(self.folder / "manifest.json")

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
            raise StudyError(f"{self.folder / 'manifest.json'}: missing or wrong: {error}") from None
        if self.ranks < 1 or self.evaluations < 1 or self.seconds <= 0:
            raise StudyError(f"{self.folder / 'manifest.json'}: the run has done nothing")


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def ended(folder, generations):
    """Whether a search has come to its end: its manifest.json then says where the time went."""
    if not (folder / "manifest.json").is_file():
        return False
    manifest = read_json(folder / "manifest.json")
    return isinstance(manifest, dict) and "phases" in manifest and manifest.get("generations") == generations


class EndedRun(StudyRun):
    """held_out, held_out_perplexity: of its best on text that the search has not seen, or None."""

    def __init__(self, folder, ranks_per_node):
        super().__init__(Path(folder))
        manifest = self.manifest()
        try:
            self.strategy = str(manifest["strategy"])
            self.waiting = float(manifest["phases"].get("waiting", {}).get("share", 0))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StudyError(f"{self.folder / 'manifest.json'}: missing or wrong: {error}") from None
        self.nodes = self.ranks / ranks_per_node
        self.node_hours = self.nodes * self.seconds / 3600
        self.held_out = self.held_out_perplexity = None
        self.bests = self._bests()

    @property
    def search(self):
        """All but the ranks, which change no result."""
        return self.strategy, self.population, self.seed, self.shards

    @property
    def quality(self):
        return self.fitness if self.held_out is None else self.held_out

    @property
    def tokens(self):
        return sum(int(rows[-1].get("tokens", 0)) for rows in self.islands.values())

    def _bests(self):
        """{generation: {island: levels of its best}}, where the run says so."""
        found = defaultdict(dict)
        for island, rows in self.islands.items():
            for row in rows:
                if "levels" in row:
                    found[int(row["generation"])][island] = row["levels"]
        path = self.folder / "candidates.jsonl"
        if found or not path.is_file():
            return dict(found)
        least = {}
        lines = read_text(path).split("\n")
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                where = int(row["generation"]), int(row["island"])
                # Of the last stage the best, which becomes the parent.
                rank = -int(row["stage"]), float("inf") if row["fitness"] is None else float(row["fitness"])
                if where not in least or rank < least[where][0]:
                    least[where] = rank, row["levels"]
            except (ValueError, KeyError, TypeError):
                if number == len(lines):
                    continue
                raise StudyError(f"{path}, line {number}: not a candidate") from None
        for (generation, island), (_, levels) in least.items():
            found[generation][island] = levels
        return dict(found)

    def diversity(self):
        """[(evaluations of all islands, modules in which two islands' bests differ on average)]"""
        rows = []
        table = self.mean_over_islands()
        for generation, (evaluations, *_) in table.items():
            levels = list(self.bests.get(generation, {}).values())
            if len(levels) > 1:
                rows.append((evaluations, mean(sum(a != b for a, b in zip(one, other))
                                               for one, other in combinations(levels, 2))))
        return rows


def least_ranks(runs):
    """One run of each search: that on the fewest ranks."""
    found = {}
    for run in sorted(runs, key=lambda run: run.ranks):
        found.setdefault(run.search, run)
    return list(found.values())


def results_table(runs):
    base = {run.search: run for run in least_ranks(runs)}
    rows = []
    for run in sorted(runs, key=lambda run: (run.search, run.ranks)):
        first = base[run.search]
        cost = first.ranks * first.seconds / first.evaluations
        diversity = run.diversity()
        rows.append({
            "run": run.name, "strategy": run.strategy, "islands": run.population[0], "offspring": run.population[1],
            "ranks": run.ranks, "seed": run.seed, "evaluations": run.evaluations, "tokens": run.tokens,
            "seconds": f"{run.seconds:.3f}", "node_hours": f"{run.node_hours:.6g}",
            "own_best": run.fitness, "held_out_kl": "" if run.held_out is None else run.held_out,
            "held_out_perplexity": "" if run.held_out is None else run.held_out_perplexity,
            "diversity": f"{diversity[-1][1]:.3f}" if diversity else "",
            "efficiency": f"{cost * run.evaluations / (run.ranks * run.seconds):.4f}",
            "waiting": f"{run.waiting:.4f}",
        })
    return rows


def same_results(runs):
    """Says where the number of ranks changed a result, which it must not; shards change the rounding."""
    by_search = defaultdict(dict)
    for run in runs:
        by_search[run.population, run.shards, run.seed, run.evaluations].setdefault(run.fitness, run.name)
    for found in by_search.values():
        if len(found) > 1:
            print("scaling_study: different fitness from the same search: "
                  + ", ".join(f"{name} {fitness}" for fitness, name in found.items()),
                  file=sys.stderr)
