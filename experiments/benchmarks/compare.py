"""Compares the throughput of AlexNet in this package and in other programs.

    pip install ".[bench]"
    python -m experiments.benchmarks.compare --quick
    python -m experiments.benchmarks.compare --images=~/imagenet/train \\
        --title="AMD EPYC, AVX2" --output=experiments/benchmarks/machines/epyc.json

Each number is the median of three rounds, or that of the only round with --quick. In
each round every program runs once, in a new process. The programs alternate, so that
other load on the machine affects all of them. The command prints the numbers as
Markdown tables and writes them to a JSON file. `python -m experiments.documents` adds
the files in experiments/benchmarks/machines to the table in docs/performance.md.
"""

import importlib.metadata
import json
import pathlib
import statistics
import subprocess
import sys

from alexnet_tf import cli

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
# {name of an input pipeline: its name in `loaders.PROGRAMS`}.
LOADERS = {
    "alexnet_tf": "alexnet_tf",
    "torchvision, PIL": "torchvision_pil",
    "torchvision, v2 on tensors": "torchvision_v2",
    "decoding of whole images by TensorFlow": "decode",
}
FLAGS = [
    cli.boolean_flag("quick", False, "One round in float32 only, in five minutes."),
    cli.path_flag(
        "images",
        None,
        "Folder with a folder of JPEGs for each class, with which input pipelines are "
        "compared, too.",
    ),
    cli.string_flag(
        "title",
        None,
        "Name of the machine in the table of docs/performance.md. Default: that of its "
        "processor.",
    ),
    cli.path_flag("output", "compare.json", "JSON file to write the results to."),
]


def run(module, *arguments):
    """Runs a program of this package in a new process.

    Args:
        module: the name of its module.
        *arguments: its arguments.

    Returns:
        {"rate": images per second, "peak_memory": bytes}.

    Raises:
        SystemExit: if the program fails.
    """
    process = subprocess.run(
        [sys.executable, "-m", f"experiments.benchmarks.{module}", *arguments],
        capture_output=True, text=True,
    )  # fmt: skip
    if process.returncode:
        sys.exit(
            f"{module} failed with exit status {process.returncode}:\n{process.stderr}"
        )
    return json.loads(process.stdout.splitlines()[-1])


def measure_networks(precisions, rounds):
    """Returns {precision: {task: {program: medians of the results of `run`}}}."""
    return {
        precision: {task: _network_medians(task, precision, rounds) for task in TASKS}
        for precision in precisions
    }


def _network_medians(task, precision, rounds):
    """Returns the medians of all programs that support a precision."""
    commands = {}
    for name, (module, *options) in PROGRAMS.items():
        if module != "tf1_graph":
            commands[name] = (module, task, precision, *options)
        elif precision == "float32":
            commands[name] = (module, task)
    return _medians(commands, rounds)


def measure_loaders(images, rounds):
    """Returns {input pipeline: medians of the results of `run`}.

    Args:
        images: the folder of the images.
        rounds: the number of rounds.
    """
    commands = {name: ("loaders", key, images) for name, key in LOADERS.items()}
    return _medians(commands, rounds)


def _medians(commands, rounds):
    """Runs commands in turn, and returns {name: medians over the rounds}.

    Args:
        commands: {name: arguments of `run`}.
        rounds: the number of times that each command runs.
    """
    results = [
        {name: run(*command) for name, command in commands.items()}
        for _ in range(rounds)
    ]
    return {
        name: {
            key: statistics.median(result[name][key] for result in results)
            for key in ("rate", "peak_memory")
        }
        for name in commands
    }


def network_table(results):
    """Returns the results of `measure_networks` as a table in Markdown."""
    lines = [
        "| precision | task | program | images/s | alexnet_tf / program "
        "| peak memory, MiB |",
        "|---|---|---|---|---|---|",
    ]
    for precision, tasks in results.items():
        for task, programs in tasks.items():
            lines += [
                f"| {precision} | {task} | {row}" for row in _rows(programs)
            ]
    return "\n".join(lines)


def loader_table(results):
    """Returns the results of `measure_loaders` as a table in Markdown."""
    lines = [
        "| input pipeline | images/s | alexnet_tf / pipeline | peak memory, MiB |",
        "|---|---|---|---|",
    ]
    return "\n".join([*lines, *(f"| {row}" for row in _rows(results))])


def _rows(programs):
    """Returns the cells of each program, as text."""
    own_rate = programs["alexnet_tf"]["rate"]
    return [
        f"{name} | {result['rate']:.1f} | {own_rate / result['rate']:.2f} | "
        f"{result['peak_memory'] / 2**20:,.0f} |"
        for name, result in programs.items()
    ]


def _describe_machine(title):
    """Returns {"title", "commit", "torch", ...}: the machine and the versions."""
    from alexnet_tf.training import environment

    described = environment.describe()
    del described["command"]  # It names folders of this machine.
    for name in ("torch", "torchvision"):
        try:
            described[name] = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            described[name] = "none"
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
        cwd=pathlib.Path(__file__).parent,
    )  # fmt: skip
    return {
        "title": title or described["processors"],
        "commit": commit.stdout.strip() or "unknown",
        **described,
    }


def _compare(args):
    from alexnet_tf import files

    files.check_output("--output", args.output)
    rounds, precisions = (1, PRECISIONS[:1]) if args.quick else (3, PRECISIONS)
    results = {
        "machine": _describe_machine(args.title),
        "rounds": rounds,
        "networks": measure_networks(precisions, rounds),
    }
    print(network_table(results["networks"]), flush=True)
    if args.images:
        results["loaders"] = measure_loaders(args.images, rounds)
        print(loader_table(results["loaders"]))
    files.write_text(args.output, json.dumps(results, indent=1) + "\n")


def main(argv=None):
    cli.run("experiments.benchmarks.compare", _compare, FLAGS, argv)


if __name__ == "__main__":
    main()
