"""Compares the throughput of several programs in alternating rounds.

    pip install ".[bench]"
    python -m experiments.benchmarks.compare

Each number is the median of three rounds. In each round every program runs once in a
process of its own, so that other load on the machine affects all of them. Writes
experiments/benchmarks/compare.json, from which the tables in README.md are made.
"""

import json
import pathlib
import statistics
import subprocess
import sys

FILE = pathlib.Path(__file__).parent / "compare.json"
ROUNDS = 3
# The module of each program, and its options.
PROGRAMS = {
    "alexnet_tf": ("ours",),
    "plain Keras": ("keras_plain",),
    "PyTorch, channels last": ("pytorch",),
    "PyTorch, contiguous": ("pytorch", "contiguous"),
    "PyTorch, channels last, no normalization": ("pytorch", "without_norm"),
    "TensorFlow 1 graph": ("tf1_graph",),
}
PRECISIONS = ("float32", "mixed_bfloat16")
TASKS = ("training", "inference")


def run(program, task, precision):
    """Runs one program in a process of its own.

    Args:
        program: a value of `PROGRAMS`.
        task: "training" or "inference".
        precision: a Keras dtype policy.

    Returns:
        {"rate": images per second, "peak_memory": bytes}, or None if the program
        does not have this precision.
    """
    module, *options = program
    if module == "tf1_graph" and precision != "float32":
        return None
    process = subprocess.run(
        [
            sys.executable, "-m", f"experiments.benchmarks.{module}", task,
            *([] if module == "tf1_graph" else [precision]), *options,
        ],
        capture_output=True, text=True,
    )  # fmt: skip
    if process.returncode:
        sys.exit(f"{module}: {process.stderr.splitlines()[-1]}")
    return json.loads(process.stdout.splitlines()[-1])


def measure():
    """Returns {precision: {task: {program: result of `run`}}}, as medians."""
    return {
        precision: {task: _medians(task, precision) for task in TASKS}
        for precision in PRECISIONS
    }


def _medians(task, precision):
    rounds = [
        {name: run(program, task, precision) for name, program in PROGRAMS.items()}
        for _ in range(ROUNDS)
    ]
    return {
        name: {
            key: statistics.median(results[name][key] for results in rounds)
            for key in ("rate", "peak_memory")
        }
        for name in PROGRAMS
        if rounds[0][name]
    }


def table(results):
    """Returns the results of `measure` as a table in Markdown."""
    lines = [
        "| precision | task | program | images/s | alexnet_tf / program | peak, MB |",
        "|---|---|---|---|---|---|",
    ]
    for precision, tasks in results.items():
        for task, programs in tasks.items():
            ours = programs["alexnet_tf"]["rate"]
            lines += [
                f"| {precision} | {task} | {name} | {result['rate']:.1f} | "
                f"{ours / result['rate']:.2f} | "
                f"{result['peak_memory'] / 2**20:,.0f} |"
                for name, result in programs.items()
            ]
    return "\n".join(lines)


def main():
    results = measure()
    FILE.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    main()
