"""Measures how fast the networks and a pipeline are on this machine.

    python -m alexnet_tf.benchmark
    python -m alexnet_tf.benchmark --preset=caffe --precision=mixed_bfloat16 --layers
    python -m alexnet_tf.benchmark --dataset=imagenet2012

Each network is measured in a process of its own. Images are noise that is
there already, but for the pipeline's.
"""

import json
import multiprocessing
import time

from absl import app
from absl import flags

from alexnet_tf import cli
from alexnet_tf import presets

# TensorFlow is imported when it is needed: --help must not wait for it.

_FLAGS = [
    flags.DEFINE_multi_enum(
        "preset",
        ["paper", "caffe"],
        list(presets.PRESETS),
        "Networks to measure; may be given again and again.",
    ),
    flags.DEFINE_multi_enum(
        "precision",
        ["float32", "mixed_bfloat16"],
        ["float32", "mixed_bfloat16", "mixed_float16"],
        "Types of the arithmetic; may be given again and again.",
    ),
    flags.DEFINE_integer("batch_size", 128, "Images a step.", lower_bound=1),
    flags.DEFINE_integer(
        "repeats", 5, "Runs that a time is the median of.", lower_bound=1
    ),
    flags.DEFINE_boolean("layers", False, "Measure each layer by itself, too."),
    flags.DEFINE_multi_string(
        "dataset",
        [],
        "Data set, as for alexnet_tf.train, whose pipeline to measure, and the "
        "training of the first network on it beside that on noise; may be given "
        "again and again.",
    ),
    flags.DEFINE_string(
        "data_dir",
        None,
        "Folder of TFDS's data sets. Default: ~/tensorflow_datasets.",
    ),
    cli.define_path("json", None, "File to write the figures to."),
]


def _measure(name, precision, settings, started):
    """{what: figure} of a network, in this process."""
    from alexnet_tf import presets
    from alexnet_tf.training import throughput

    repeats = settings["repeats"]
    network = throughput.build(
        presets.get(name), precision, settings["batch_size"]
    )
    found = {"preset": name, "precision": precision}
    network.make_step()()
    # The clock of all processes is one.
    found["seconds_to_first_step"] = time.time() - started
    found["training"] = network.training_rate(repeats)
    found["peak_memory"] = throughput.peak_memory()
    found["inference"] = network.inference_rate(repeats)
    found["update_seconds"] = network.update_seconds(repeats)
    found["matrix_rate"] = throughput.matrix_rate(precision, repeats)
    _, operations = throughput.operations(network.model)
    rate = found["training"] * operations
    found["fraction_of_matrix_rate"] = rate / found["matrix_rate"]
    if settings["layers"]:
        found["layers"] = network.layer_seconds(repeats)
    return found


def _measure_pipelines(preset_name, precision, settings):
    """{data set: {stage: images a second}}, in this process."""
    import tempfile

    from alexnet_tf.data import datasets
    from alexnet_tf.data import pixel_statistics
    from alexnet_tf import presets
    from alexnet_tf.training import throughput

    preset = presets.get(preset_name)
    network = throughput.build(preset, precision, settings["batch_size"])
    rates = {}
    for name in settings["dataset"]:
        source = datasets.load(name, "train", settings["data_dir"])
        with tempfile.TemporaryDirectory() as folder:
            found = pixel_statistics.load_or_compute(
                source, preset.preprocessing, folder, verbose=0
            )
        rates[name] = throughput.stage_rates(
            source, preset, found, network, settings["repeats"]
        )
    return rates


def _in_its_own_process(function, *args):
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(function, args)


def _print_network(found):
    print(
        f"| {found['preset']} | {found['precision']} | {found['training']:.1f} | "
        f"{found['fraction_of_matrix_rate']:.2f} | {found['inference']:.1f} | "
        f"{1000 * found['update_seconds']:.0f} | "
        f"{found['peak_memory'] / 2**20:,.0f} | "
        f"{found['seconds_to_first_step']:.1f} |",
        flush=True,
    )


def _print_layers(found):
    print(f"\n{found['preset']}, {found['precision']}, milliseconds\n")
    print("| layer | forward | and backward |\n|---|---|---|")
    for name, forward, both in found["layers"]:
        print(f"| {name} | {1000 * forward:.1f} | {1000 * both:.1f} |")


def _print_pipelines(pipelines):
    print(f"\n| images a second | {' | '.join(pipelines)} |")
    stages = dict.fromkeys(
        stage for rates in pipelines.values() for stage in rates
    )
    print("|" + "---|" * (1 + len(pipelines)))
    for stage in stages:
        cells = [
            f"{rates[stage]:,.0f}" if stage in rates else "-"
            for rates in pipelines.values()
        ]
        print(f"| {stage} | {' | '.join(cells)} |")


def _benchmark():
    args = flags.FLAGS
    if args.json:
        cli.check_output("json", args.json)
    settings = {
        key: args[key].value
        for key in ("batch_size", "repeats", "layers", "dataset", "data_dir")
    }
    print(
        "| network | precision | training, images/s | of the matrix rate | "
        "inference, images/s | update, ms | peak memory, MB | first step, s |"
    )
    print("|---|---|---|---|---|---|---|---|")
    networks = []
    for name in args.preset:
        for precision in args.precision:
            found = _in_its_own_process(
                _measure, name, precision, settings, time.time()
            )
            _print_network(found)
            networks.append(found)
    for found in networks if args.layers else ():
        _print_layers(found)
    pipelines = {}
    if args.dataset:
        pipelines = _in_its_own_process(
            _measure_pipelines, args.preset[0], args.precision[0], settings
        )
        _print_pipelines(pipelines)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"networks": networks, "pipelines": pipelines}, file, indent=1)


def main(argv):
    cli.run("alexnet_tf.benchmark", _benchmark, argv)


if __name__ == "__main__":
    app.run(main)
