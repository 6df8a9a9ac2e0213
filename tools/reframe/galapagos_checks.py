"""ReFrame tests of an installed Galapagos: the quick start, and a small study of how a search scales over ranks.

  reframe -C tools/reframe/config_local.py -c tools/reframe/galapagos_checks.py -r       this machine
  reframe -C SITE.py -c tools/reframe/galapagos_checks.py -r -S galapagos=/path/to/it    a centre's own configuration

Variables, by -S: galapagos (the program), cpus (of a rank), gpus (of a node, for what asks the scheduler),
launcher_options (further words for mpirun or srun, as -S launcher_options=--oversubscribe), and of Scaling rank_counts is
changed here. The tiny model and its texts come from tests/data. Results that must not depend on the number of ranks are
checked to be the same; times are only recorded.
"""

import json
import os

import reframe as rfm
import reframe.utility.sanity as sn
import reframe.utility.typecheck as typ
from reframe.core.builtins import fixture, parameter, performance_function, run_before, sanity_function, variable

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
MODEL = os.path.join(ROOT, "tests/data/models/tiny")
CALIBRATION = os.path.join(ROOT, "tests/data/text/tiny_calibration.jsonl")
HELD_OUT = os.path.join(ROOT, "tests/data/text/tiny_heldout.jsonl")
SEARCH = (
    f"search --model {MODEL} --calibration {CALIBRATION} --target-sparsity 0.5 --islands 2 --generations 5 "
    "--offspring 8 --survivors '4 2 1' --tokens '512 1024 2048' --migration-interval 2 --calibration-tokens 20000 "
    "--sequence-length 256 --seed 1"
)


class Galapagos(rfm.RunOnlyRegressionTest):
    """What all tests of it share."""

    galapagos = variable(str, value="galapagos")
    cpus = variable(int, value=1)
    gpus = variable(int, value=0)
    launcher_options = variable(typ.List[str], value=[])
    valid_systems = ["*"]
    valid_prog_environs = ["*"]
    sourcesdir = None
    time_limit = "15m"

    @run_before("setup")
    def ask_for(self):
        self.executable = self.galapagos
        self.num_cpus_per_task = self.cpus
        if self.gpus > 0:
            self.num_gpus_per_node = self.gpus
        self.env_vars["OMP_NUM_THREADS"] = str(self.cpus)

    @run_before("run")
    def launch(self):
        self.job.launcher.options = self.launcher_options

    def on_ranks(self, words, output=None):
        """A further command, on the ranks of this test; what it prints goes to a file, where one is named."""
        to_file = f" >{output}" if output else ""
        return f"{self.job.launcher.run_command(self.job)} {self.galapagos} {words}{to_file} || exit"


class GalapagosDatabase(Galapagos):
    """Sensitivities and database of the tiny model."""

    descr = "Galapagos: sensitivities and database"
    num_tasks = 2

    @run_before("run")
    def steps(self):
        self.prerun_cmds = [
            self.on_ranks(
                f"sensitivity --model {MODEL} --calibration {CALIBRATION} --sequence-length 256 --output sensitivity.h5"
            )
        ]
        self.executable_opts = [
            f"database --model {MODEL} --calibration {CALIBRATION} --levels 8 --sequence-length 256 "
            "--calibration-tokens 20000 --sensitivity sensitivity.h5 --output database.h5"
        ]

    @sanity_function
    def is_complete(self):
        return sn.all(
            [
                sn.assert_found(r"sensitivity\.h5 is complete: 16 modules", self.stderr),
                sn.assert_found(r"database\.h5 is complete: 16 modules", self.stderr),
            ]
        )


@rfm.simple_test
class GalapagosQuickStart(Galapagos):
    """From the database to a pruned and trained model that is better than uniform pruning."""

    descr = "Galapagos: the quick start"
    database = fixture(GalapagosDatabase, scope="environment")
    num_tasks = 2

    @run_before("run")
    def steps(self):
        database = os.path.join(self.database.stagedir, "database.h5")
        with_database = f"--model {MODEL} --database {database}"
        measure = f"eval --data {HELD_OUT} --sequence-length 256 --reference {MODEL} --log-level warning --json"
        self.prerun_cmds = [
            self.on_ranks(f"{SEARCH} --database {database} --output evolution"),
            self.on_ranks(f"{measure} {with_database} --assignment evolution/uniform.txt", "uniform.json"),
            self.on_ranks(f"stitch {with_database} --assignment evolution/best.txt --output model"),
            self.on_ranks(
                f"train --model model --data {CALIBRATION} --output training --tokens 100000 --step-tokens 4096 "
                "--sequence-length 256 --learning-rate 1e-3"
            ),
            self.on_ranks(f"{measure} --model model", "pruned.json"),
        ]
        self.executable_opts = [f"{measure} --model training/model"]

    def kl(self, name):
        with open(os.path.join(self.stagedir, name)) as file:
            return json.load(file)["kl"]

    @sanity_function
    def is_better(self):
        trained = sn.extractsingle(r'"kl": ([0-9.e+-]+)', self.stdout, 1, float)
        uniform, pruned = self.kl("uniform.json"), self.kl("pruned.json")
        return sn.all(
            [
                sn.assert_lt(pruned, uniform, msg="pruned {0} is not below uniform {1}"),
                sn.assert_lt(trained, pruned, msg="trained {0} is not below pruned {1}"),
            ]
        )

    @performance_function("nats")
    def kl_pruned(self):
        return self.kl("pruned.json")

    @performance_function("nats")
    def kl_trained(self):
        return sn.extractsingle(r'"kl": ([0-9.e+-]+)', self.stdout, 1, float)


@rfm.simple_test
class GalapagosScaling(Galapagos):
    """The same search on several numbers of ranks: the same course, in less time."""

    descr = "Galapagos: a search over ranks"
    ranks = parameter([1, 2, 4])
    database = fixture(GalapagosDatabase, scope="environment")

    @run_before("setup")
    def on(self):
        self.num_tasks = self.ranks

    @run_before("run")
    def steps(self):
        database = os.path.join(self.database.stagedir, "database.h5")
        self.executable_opts = [f"{SEARCH} --database {database} --output run"]
        # The winner is the same on all of them: kept beside the database, where the next test finds it.
        best = os.path.join(self.database.stagedir, "best.txt")
        self.postrun_cmds = [
            f"[ -e {best} ] || cp run/best.txt {best}",
            f"cmp run/best.txt {best} && echo the same as before",
        ]

    @sanity_function
    def is_the_same(self):
        return sn.assert_found("the same as before", self.stdout)

    @performance_function("s")
    def seconds(self):
        with open(os.path.join(self.stagedir, "run", "manifest.json")) as file:
            return json.load(file)["seconds"]
