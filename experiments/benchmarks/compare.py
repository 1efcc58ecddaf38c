"""Programs side by side: pictures a second of each, one after the other, again.

    pip install ".[bench]"
    python -m experiments.benchmarks.compare

Each figure is the median of three rounds; in each round every program runs once
in a process of its own, so that what the machine does besides falls on all.
Writes experiments/benchmarks/compare.json, from which README.md has its tables.
"""

import json
import pathlib
import statistics
import subprocess
import sys

FILE = pathlib.Path(__file__).parent / "compare.json"
ROUNDS = 3
PROGRAMS = {
    "alexnet_tf": ("ours",),
    "plain Keras": ("keras_plain",),
    "PyTorch, channels last": ("pytorch",),
    "PyTorch, contiguous": ("pytorch", "contiguous"),
    "PyTorch, channels last, no normalisation": ("pytorch", "without_norm"),
    "TensorFlow 1 graph": ("tf1_graph",),
}
PRECISIONS = ("float32", "mixed_bfloat16")


def run(program, what, precision):
    """{"rate", "peak_memory"} of one process, None if it has no such precision."""
    module, *more = program
    if module == "tf1_graph" and precision != "float32":
        return None
    done = subprocess.run(
        [
            sys.executable, "-m", f"experiments.benchmarks.{module}", what,
            *([] if module == "tf1_graph" else [precision]), *more,
        ],
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{module}: {done.stderr.splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure():
    """{precision: {what: {program: {"rate", "peak_memory"}}}}, medians."""
    found = {}
    for precision in PRECISIONS:
        for what in ("training", "inference"):
            rounds = [
                {name: run(p, what, precision) for name, p in PROGRAMS.items()}
                for _ in range(ROUNDS)
            ]
            found.setdefault(precision, {})[what] = {
                name: {
                    key: statistics.median(each[name][key] for each in rounds)
                    for key in ("rate", "peak_memory")
                }
                for name in PROGRAMS
                if rounds[0][name]
            }
    return found


def table(found):
    """In Markdown: rates, ours over each, and memory."""
    lines = [
        "| precision | what | program | pictures/s | alexnet_tf over it | peak, MB |",
        "|---|---|---|---|---|---|",
    ]
    for precision, by_what in found.items():
        for what, programs in by_what.items():
            ours = programs["alexnet_tf"]["rate"]
            lines += [
                f"| {precision} | {what} | {name} | {each['rate']:.1f} | "
                f"{ours / each['rate']:.2f} | {each['peak_memory'] / 2**20:,.0f} |"
                for name, each in programs.items()
            ]
    return "\n".join(lines)


def main():
    found = measure()
    FILE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
