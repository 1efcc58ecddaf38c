"""The log of each claim: experiments/logs/CLAIM.jsonl, one JSON object per line.

A run has one line per epoch, or one per 10 steps if `Run.until_loss` is given, and a
last line with "final": true; a run of `blog` has only the last line. Every line has the
"arm" and the "seed" of its run. The lines of a run are appended together when the run
has ended. The only run of `two_gpus` measures several arms: before its own last line,
it has one line with "final": true for each of them.

The log of `pytorch_confirmations` is written by `pytorch_training`, and that of
`response_norm` by `pytorch_response_norm`: one line per run.

In the log of `confirmations`, a run has only the last line, except for those whose
averages are in lines of `dropout_average.measure`.

The log of `finetune_cifar10` has the lines that are yielded by its function `measure`.
"""

import json
import pathlib

LOGS = pathlib.Path(__file__).parent / "logs"


def read_log(name):
    """Returns the lines of a claim's log as dictionaries, [] if there is no log."""
    path = LOGS / f"{name}.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def append_to_log(name, lines):
    """Appends dictionaries to a claim's log in a single write."""
    LOGS.mkdir(exist_ok=True)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    with open(LOGS / f"{name}.jsonl", "a", encoding="utf-8") as file:
        file.write(text)


def is_done(run, log):
    """Returns whether a `harness.Run` is done, which means that it is in the log."""
    return any((run.arm, run.seed) == (line["arm"], line["seed"]) for line in log)


def count_done(runs, log):
    """Returns how many of the runs are done, see `is_done`."""
    return sum(is_done(run, log) for run in runs)


def curve_of_run(log, arm, seed, key):
    """Returns [(epoch, value of `key`), ...] of one run."""
    return [
        (line["epoch"], line[key])
        for line in log
        if (line["arm"], line["seed"]) == (arm, seed) and key in line
    ]


def final_values(log, arm, key):
    """Returns {seed: value of `key`} from the last lines of all runs of an arm."""
    return {
        line["seed"]: line[key]
        for line in log
        if line["arm"] == arm and line.get("final") and key in line
    }
