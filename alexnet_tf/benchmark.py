"""Measures the throughput of networks and of an input pipeline on this machine.

    python -m alexnet_tf.benchmark
    python -m alexnet_tf.benchmark --preset=caffe --precision=mixed_bfloat16 --layers
    python -m alexnet_tf.benchmark --dataset=imagenet2012

Each network is measured in a process of its own, on images of noise in memory; input
pipelines are measured with the images of their data sets.
"""

import json

from alexnet_tf import cli
from alexnet_tf import files
from alexnet_tf import presets

# TensorFlow is imported in the functions that need it: --help must not wait for it.

FLAGS = [
    cli.multi_string_flag(
        "preset",
        ["paper", "caffe"],
        f"Network to measure. {cli.PRESET_HELP} May be repeated.",
    ),
    cli.multi_enum_flag(
        "precision",
        ["float32", "mixed_bfloat16"],
        ["float32", "mixed_bfloat16", "mixed_float16"],
        "Data type of the computations; may be repeated.",
    ),
    cli.integer_flag(
        "batch_size", 128, "Number of images in a step.", lower_bound=1
    ),
    cli.integer_flag(
        "repeats", 5, "Number of runs whose median time is reported.", lower_bound=1
    ),
    cli.boolean_flag("layers", False, "Measure each layer by itself, too."),
    cli.multi_string_flag(
        "dataset",
        [],
        "Data set, as for alexnet_tf.train. Its input pipeline is measured, and so is "
        "training the first network on this data set and on noise; may be repeated.",
    ),
    cli.data_dir_flag(),
    *cli.feature_flags(),
    cli.path_flag("output", None, "JSON file to write the results to."),
]


def _print_network(result):
    print(
        f"| {result['preset']} | {result['precision']} | {result['training']:.1f} | "
        f"{result['fraction_of_matrix_rate']:.2f} | {result['inference']:.1f} | "
        f"{1000 * result['update_seconds']:.0f} | "
        f"{result['peak_memory'] / 2**20:,.0f} | "
        f"{result['seconds_to_first_step']:.1f} |",
        flush=True,
    )


def _print_device(networks):
    matrix_rates = {result["precision"]: result["matrix_rate"] for result in networks}
    rates = ", ".join(
        f"{rate / 1e12:.2f} TFLOPS ({precision})"
        for precision, rate in matrix_rates.items()
    )
    fastest = max(networks, key=lambda result: result["training"])
    print(
        f"\nDevice: {networks[0]['device']}. Products of large matrices: {rates}.\n"
        f"To train {fastest['preset']} with {fastest['precision']} at full speed, the "
        f"input pipeline must deliver {fastest['training']:,.0f} images/s for each "
        "such device; --dataset measures how many it does."
    )


def _print_layers(result):
    print(f"\n{result['preset']}, {result['precision']}, milliseconds\n")
    print("| layer | forward | forward and backward |\n|---|---|---|")
    for name, forward, both in result["layers"]:
        print(f"| {name} | {1000 * forward:.1f} | {1000 * both:.1f} |")


def _print_pipelines(pipelines):
    print(f"\n| images per second | {' | '.join(pipelines)} |")
    stages = dict.fromkeys(stage for rates in pipelines.values() for stage in rates)
    print("|" + "---|" * (1 + len(pipelines)))
    for stage in stages:
        cells = [
            f"{rates[stage]:,.0f}" if stage in rates else "-"
            for rates in pipelines.values()
        ]
        print(f"| {stage} | {' | '.join(cells)} |")


def _benchmark(args):
    from alexnet_tf.training import throughput

    if args.output:
        files.check_output("--output", args.output)
    _check_names(args)
    print(
        "| network | precision | training, images/s | fraction of the matrix rate | "
        "inference, images/s | update, ms | peak memory, MB | first step, s |"
    )
    print("|---|---|---|---|---|---|---|---|")
    networks = []
    for name in args.preset:
        for precision in args.precision:
            result = throughput.measure_network(
                name, precision, args.batch_size, args.repeats, args.layers
            )
            _print_network(result)
            networks.append(result)
    _print_device(networks)
    for result in networks if args.layers else ():
        _print_layers(result)
    pipelines = {}
    if args.dataset:
        pipelines = throughput.measure_pipelines(
            args.dataset, args.preset[0], args.precision[0], args.batch_size,
            args.repeats, args.data_dir, args.image_key, args.label_key,
        )
        _print_pipelines(pipelines)
    if args.output:
        results = {"networks": networks, "pipelines": pipelines}
        files.write_text(args.output, json.dumps(results, indent=1))


def _check_names(args):
    """Raises an error if a preset or a data set cannot be loaded, before any work."""
    from alexnet_tf.data import datasets

    for name in args.preset:
        presets.get(name)
    for name in args.dataset:
        datasets.load(
            name, "train", args.data_dir,
            image_key=args.image_key, label_key=args.label_key,
        )  # fmt: skip


def main(argv=None):
    """Runs the command with the arguments `argv`, see `cli.run`."""
    cli.run("alexnet_tf.benchmark", _benchmark, FLAGS, argv)


if __name__ == "__main__":
    main()
