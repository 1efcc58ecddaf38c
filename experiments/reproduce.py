"""Measures the paper's claims, and generates the table of the results.

    python -m experiments.reproduce --list
    python -m experiments.reproduce --run=ablations --data_dir=~/tensorflow_datasets
    python -m experiments.reproduce --table

--run trains all runs of a claim that are not in its log. The same command resumes an
interrupted run. Several processes with the same command each train different runs.
"""

import importlib
import pathlib

from absl import app
from absl import flags

from alexnet_tf import cli
from experiments import claims

FOLDER = pathlib.Path(__file__).parent

_LIST = flags.DEFINE_boolean(
    "list", False, "Print the claims and how many of their runs are done."
)
_RUN = flags.DEFINE_enum(
    "run",
    None,
    [name for name in claims.ALL if name not in claims.COMPUTED],
    "Claim whose missing runs are trained.",
)
_TABLE = flags.DEFINE_boolean(
    "table", False, "Write experiments/README.md and its plots from the logs."
)
_DATA_DIR = cli.define_data_dir()
_RUNS_DIR = cli.define_path(
    "runs_dir", "runs/reproduce", "Directory that contains the work directories."
)


def main(argv):
    cli.run("experiments.reproduce", _reproduce, argv)


def _reproduce():
    if not (_LIST.value or _RUN.value or _TABLE.value):
        raise ValueError("Expected --list, --run or --table. Received: none of them.")
    if _LIST.value:
        _print_list()
    if _RUN.value:
        from experiments import harness

        claim = importlib.import_module(f"experiments.{_RUN.value}")
        harness.run_all(claim, _DATA_DIR.value, _RUNS_DIR.value)
    if _TABLE.value:
        from experiments import table

        table.write(FOLDER)


def _print_list():
    from experiments import run_log

    for name in claims.ALL:
        claim = importlib.import_module(f"experiments.{name}")
        title = claim.__doc__.splitlines()[0]
        if name in claims.COMPUTED:
            print(f"{name}: {title} Computed by --table.")
            continue
        log = run_log.read_log(name)
        runs = claim.runs(log)
        done = run_log.count_done(runs, log)
        print(f"{name}: {title} {done} of {len(runs)} runs.")


if __name__ == "__main__":
    app.run(main)
