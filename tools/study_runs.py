"""The runs of a scaling study as they ended: what tools/scaling_study.py tabulates and draws."""

import json
from collections import defaultdict
from itertools import combinations
from pathlib import Path

from plot_common import PlotError, read_json, read_text
from plot_scaling import StudyRun, mean


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
            raise PlotError(f"{self.folder / 'manifest.json'}: missing or wrong: {error}") from None
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
                raise PlotError(f"{path}, line {number}: not a candidate") from None
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

    def curve(self):
        """[(evaluations of all islands, node-hours, mean of the islands' own bests)]"""
        return [(evaluations, self.nodes * seconds / 3600, best)
                for evaluations, seconds, best in self.mean_over_islands().values()]


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
