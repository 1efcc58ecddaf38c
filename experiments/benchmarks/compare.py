"""Compares the throughput of AlexNet in this package and in other programs.

    pip install ".[bench]"
    python -m experiments.benchmarks.compare

Each number is the median of three rounds. In each round every program runs once, in a
new process. The programs alternate, so that other load on the machine affects all of
them. The command writes experiments/benchmarks/compare.json and prints the numbers as a
Markdown table, from which the table in experiments/benchmarks/README.md is made.
"""

import json
import pathlib
import statistics
import subprocess
import sys

FILE = pathlib.Path(__file__).parent / "compare.json"
ROUNDS = 3
# {name of the program: (name of its module, option, ...)}.
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
    """Runs one program in a new process.

    Args:
        program: a value of `PROGRAMS`.
        task: "training" or "inference".
        precision: a Keras dtype policy.

    Returns:
        {"rate": images per second, "peak_memory": bytes}, or None if the program
        does not support this precision.

    Raises:
        SystemExit: if the program fails.
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
        sys.exit(
            f"{module} failed with exit status {process.returncode}:\n{process.stderr}"
        )
    return json.loads(process.stdout.splitlines()[-1])


def measure():
    """Returns {precision: {task: {program: medians of the results of `run`}}}."""
    return {
        precision: {task: _medians(task, precision) for task in TASKS}
        for precision in PRECISIONS
    }


def _medians(task, precision):
    """Returns {program: medians over the rounds}, for the programs that support it."""
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
        "| precision | task | program | images/s | alexnet_tf / program "
        "| peak memory, MiB |",
        "|---|---|---|---|---|---|",
    ]
    for precision, tasks in results.items():
        for task, programs in tasks.items():
            own_throughput = programs["alexnet_tf"]["rate"]
            lines += [
                f"| {precision} | {task} | {name} | {result['rate']:.1f} | "
                f"{own_throughput / result['rate']:.2f} | "
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
