#!/usr/bin/env python3
"""Runs and draws a scaling study of the search: strategies x populations x islands x ranks x seeds.

  tools/scaling_study.py FILE [--dry-run | --only-draw]

FILE is an INI file, see config/scaling-study.ini. Each run has a folder of its own in the study's; what has ended is
not run again, what was stopped goes on by the same command (for another study give another folder, or remove runs by
hand). Where there is held-out text, every run's best.txt is measured on it. Leaves results.csv and report.html, which
`galapagos report` draws of it: quality on the way and at the end against evaluations, node-hours and population,
diversity, time and efficiency by ranks. --dry-run prints the commands and runs nothing; --only-draw takes the runs that
have ended.
"""

import argparse
import configparser
import csv
import itertools
import json
import shlex
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from study_runs import EndedRun, StudyError, ended, main_of, results_table, same_results

STUDY_KEYS = {"output", "program", "launcher", "strategies", "offspring", "islands", "ranks", "seeds", "evaluations",
              "generations", "ranks-per-node", "held-out"}
OWN_OPTIONS = {"output", "strategy", "offspring", "islands", "seed", "generations", "fresh", "config"}


class Study:
    """What a file asks for."""

    def __init__(self, path):
        self.path = path
        parser = configparser.ConfigParser(interpolation=None, comment_prefixes=("#", ";"))
        parser.optionxform = str
        try:
            with open(path, encoding="utf-8") as file:
                parser.read_file(file)
        except (configparser.Error, UnicodeDecodeError) as error:
            raise StudyError(f"{path}: {' '.join(str(error).split())}") from None
        for section in parser.sections():
            if section not in ("study", "search", "eval") and not section.startswith("strategy "):
                raise StudyError(f"{path}: there is no section [{section}]; there are [study], [search], [eval] and "
                                "[strategy NAME]")
        for section in ("study", "search"):
            if not parser.has_section(section):
                raise StudyError(f"{path}: there is no section [{section}]")
        self.values = dict(parser["study"])
        for key in self.values:
            if key not in STUDY_KEYS:
                raise StudyError(f"{path}: [study] has no key '{key}'; it has {', '.join(sorted(STUDY_KEYS))}")
        self.output = Path(self.text("output"))
        self.program = self.text("program", "galapagos")
        self.launcher = self.text("launcher", "mpirun -n {ranks}")
        self.ranks_per_node = self.numbers("ranks-per-node", "1")[0]
        self.held_out = self.text("held-out", "")
        self.strategies = self.text("strategies", "evolution").split()
        self.axes = [self.numbers(name) for name in ("offspring", "islands", "ranks")]
        self.seeds = self.numbers("seeds", "0", least=0)
        if ("evaluations" in self.values) == ("generations" in self.values):
            raise StudyError(f"{path}: [study] needs either evaluations or generations")
        self.length = self.numbers("evaluations" if "evaluations" in self.values else "generations")[0]
        self.search = dict(parser["search"])
        self.evaluate = dict(parser["eval"]) if parser.has_section("eval") else {}
        self.of_strategy, self.beyond = {}, {}
        for name in self.strategies:
            section = f"strategy {name}"
            options = dict(parser[section]) if parser.has_section(section) else {}
            self.beyond[name] = self.number(section, "evaluations-beyond-offspring",
                                            options.pop("evaluations-beyond-offspring", "0"), least=0)
            self.of_strategy[name] = options
        for section, options in [("search", self.search), *self.of_strategy.items()]:
            for key in options:
                if key in OWN_OPTIONS:
                    raise StudyError(f"{path}: [{section}] sets {key}, which the study itself sets")
        for key in ("model", "database", "calibration"):
            if key not in self.search:
                raise StudyError(f"{path}: [search] has no {key}")
        self.command_words(self.launcher, "launcher", 1)

    def text(self, key, otherwise=None):
        value = self.values.get(key, otherwise)
        if value is None or (otherwise is None and not value.strip()):
            raise StudyError(f"{self.path}: [study] has no {key}")
        return value.strip()

    def number(self, section, key, word, least=1):
        if not word.strip().isascii() or not word.strip().isdigit() or int(word) < least:
            raise StudyError(f"{self.path}: [{section}] {key}: '{word}' is no whole number from {least} on")
        return int(word)

    def numbers(self, key, otherwise=None, least=1):
        return [self.number("study", key, word, least) for word in self.text(key, otherwise).split()]

    def command_words(self, text, key, ranks):
        try:
            return [word.format(ranks=ranks) for word in shlex.split(text)]
        except (KeyError, IndexError, ValueError) as error:
            raise StudyError(f"{self.path}: {key}: '{text}' cannot be read ({error})") from None

    def options(self, *sections):
        words = []
        for key, value in {key: value for section in sections for key, value in section.items()}.items():
            if value in ("true", "false"):
                words += [f"--{key}"] if value == "true" else []
            else:
                words += [f"--{key}", *self.command_words(value, key, 1)]
        return words

    def runs(self):
        found = [PlannedRun(self, *point)
                 for point in itertools.product(self.strategies, *self.axes, self.seeds)]
        return list({run.name: run for run in found}.values())


class PlannedRun:
    def __init__(self, study, strategy, offspring, islands, ranks, seed):
        self.study, self.strategy, self.offspring = study, strategy, offspring
        self.islands, self.ranks, self.seed = islands, ranks, seed
        self.name = f"{strategy}_ranks-{ranks:04}_islands-{islands:03}_offspring-{offspring:03}_seed-{seed}"
        self.folder = study.output / self.name
        self.generations = study.length
        if "evaluations" in study.values:
            each = islands * (offspring + study.beyond[strategy])
            self.generations = max(1, round(study.length / each))

    def launch(self, *words):
        return [*self.study.command_words(self.study.launcher, "launcher", self.ranks), self.study.program, *words]

    def search(self):
        return self.launch("search", *self.study.options(self.study.search, self.study.of_strategy[self.strategy]),
                           "--strategy", self.strategy, "--islands", str(self.islands), "--offspring",
                           str(self.offspring), "--generations", str(self.generations), "--seed", str(self.seed),
                           "--output", str(self.folder))

    def evaluate(self):
        common = {key: self.study.search[key] for key in ("sequence-length", "add-bos", "precision", "backend")
                  if key in self.study.search}
        return self.launch("eval", "--model", self.study.search["model"], "--database", self.study.search["database"],
                           "--assignment", str(self.folder / "best.txt"), "--reference", self.study.search["model"],
                           "--data", *self.study.command_words(self.study.held_out, "held-out", 1),
                           *self.study.options(common, self.study.evaluate), "--json")

    @property
    def measured(self):
        return self.study.output / "held-out" / f"{self.name}.json"


def call(words, log, output=None):
    """Runs a command; what it says goes to a log, of which the last error is shown where it fails."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w", encoding="utf-8") as said:
        try:
            code = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=output or said, stderr=said,
                                  check=False).returncode
        except OSError as error:
            raise StudyError(f"{words[0]}: {error.strerror}") from None
    if code == 75:
        raise StudyError(f"stopped early; the same command goes on ({log})")
    if code != 0:
        errors = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()
                  if "error" in line.lower()]
        raise StudyError(f"{log.stem} ended with code {code}: {errors[0] if errors else 'see its log'} ({log})")


def measure(run, known):
    """Held-out loss of a run's best; the same assignment is measured once."""
    if run.measured.is_file():
        known.setdefault((run.folder / "best.txt").read_bytes(), run.measured.read_bytes())
        return
    best = (run.folder / "best.txt").read_bytes()
    run.measured.parent.mkdir(parents=True, exist_ok=True)
    part = run.measured.with_suffix(".part")
    if best in known:
        part.write_bytes(known[best])
    else:
        with open(part, "wb") as output:
            call(run.evaluate(), run.study.output / "logs" / f"{run.name}-eval.log", output)
        known[best] = part.read_bytes()
    part.replace(run.measured)


def run_all(study, runs):
    known = {}
    for number, run in enumerate(runs, 1):
        if not ended(run.folder, run.generations):
            print(f"{number}/{len(runs)} {run.name}", flush=True)
            run.measured.unlink(missing_ok=True)  # of fewer generations
            call(run.search(), study.output / "logs" / f"{run.name}.log")
            if not ended(run.folder, run.generations):
                raise StudyError(f"{run.folder}: the search has ended but its manifest.json does not say so")
        if study.held_out:
            measure(run, known)


def read_ended(study, runs):
    found = []
    for run in runs:
        if not ended(run.folder, run.generations):
            print(f"scaling_study: {run.folder} has not ended, so it is left out", file=sys.stderr)
            continue
        one = EndedRun(run.folder, study.ranks_per_node)
        if run.measured.is_file():
            try:
                measured = json.loads(run.measured.read_text(encoding="utf-8"))
                one.held_out = float(measured["kl"])
                one.held_out_perplexity = float(measured["perplexity"])
            except (ValueError, KeyError, TypeError):
                raise StudyError(f"{run.measured}: no result of galapagos eval") from None
        found.append(one)
    if not found:
        raise StudyError(f"{study.output} holds no run that has ended")
    return found


def draw(study, runs):
    rows = results_table(runs)
    with open(study.output / "results.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    print(study.output / "results.csv")
    same_results(runs)
    page = study.output / "report.html"
    words = [study.program, "report", str(study.output), "--output", str(page)]
    try:
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    except OSError as error:
        raise StudyError(f"{words[0]}: {error.strerror}") from None
    except subprocess.CalledProcessError as error:
        raise StudyError(f"{shlex.join(words)} ended with code {error.returncode}") from None
    print(page)


def run():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", metavar="FILE", type=Path)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--only-draw", action="store_true")
    arguments = parser.parse_args()
    study = Study(arguments.file)
    runs = study.runs()
    if arguments.dry_run:
        for one in runs:
            done = ended(one.folder, one.generations)
            print(("# has ended: " if done else "") + shlex.join(one.search()))
            if study.held_out and not (done and one.measured.is_file()):
                print(shlex.join(one.evaluate()) + " > " + shlex.quote(str(one.measured)))
        return
    if not arguments.only_draw:
        run_all(study, runs)
    draw(study, read_ended(study, runs))


if __name__ == "__main__":
    main_of("scaling_study", run)
