"""Measures the paper's claims, and generates the table of the results.

    python -m experiments.reproduce --list
    python -m experiments.reproduce --run=ablations --data_dir=~/tensorflow_datasets
    python -m experiments.reproduce --table

--run trains all runs of a claim that are not in its log. The same command resumes an
interrupted run. Several processes with the same command each train different runs.
"""

import importlib
import pathlib

from alexnet_tf import cli
from experiments import claims

FOLDER = pathlib.Path(__file__).parent

FLAGS = [
    cli.boolean_flag(
        "list", False, "Print the claims and how many of their runs are done."
    ),
    cli.enum_flag(
        "run",
        None,
        [name for name in claims.ALL if name not in claims.COMPUTED],
        "Claim whose missing runs are trained.",
    ),
    cli.boolean_flag(
        "table",
        False,
        "Write experiments/README.md and its plots from the logs, and the generated "
        "parts of README.md and docs/.",
    ),
    cli.data_dir_flag(),
    cli.path_flag(
        "runs_dir", "runs/reproduce", "Directory that contains the work directories."
    ),
]


def main(argv=None):
    cli.run("experiments.reproduce", _reproduce, FLAGS, argv)


def _reproduce(args):
    if not (args.list or args.run or args.table):
        raise ValueError("Expected --list, --run or --table. Received: none of them.")
    if args.list:
        _print_list()
    if args.run:
        from experiments import harness

        claim = importlib.import_module(f"experiments.{args.run}")
        harness.run_all(claim, args.data_dir, args.runs_dir)
        print(
            f"All runs of {args.run} are in experiments/logs/{args.run}.jsonl. Runs "
            "that were in it before are not repeated unless the file is removed."
        )
    if args.table:
        from experiments import documents
        from experiments import table

        table.write(FOLDER)
        documents.write(FOLDER.parent)
        print(
            "Wrote experiments/README.md and its figures, and the generated parts of "
            "README.md and docs/."
        )


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
    main()
