"""The paper's two GPUs: what crosses between them, and the time of a step.

    python -m experiments.reproduce --run=two_gpus
    python -m alexnet_tf.train --parallelism=towers

The paper trains one tower of the network on each of two GPUs, which exchange maps only
before conv3 and the outputs of pool5, fc6 and fc7 (section 3.2, Fig. 2). With
`--parallelism=towers`, two devices do the same here. The table has the megabytes that
cross in a training step with 128 images, in both directions together, forward and
backward. They are computed by hand from Fig. 2, and counted in the graph of the step.
`paper` normalizes across the border between the towers. Two maps on each side of it
therefore cross as well. `code2012` normalizes each tower separately. Half of the logits
cross because each device has half of fc8, which the authors' code kept on the first
GPU. With data parallelism, each device sends the gradients of all weights to the other,
244 MB. The images, 77 MB in a step, are not included: each tower reads all of them, and
each device of data parallelism half of them.

According to the paper, the two-GPU network "takes slightly less time to train than the
one-GPU net", which has half of the kernels in conv1 to conv4 (`--ablate=tower`). The
throughputs in the table say nothing about this: the two devices are virtual ones on the
same two processor cores. No arrangement of the same work can therefore be faster than
another one by more than the difference of their overheads. The throughputs are medians
of single steps; the networks took turns, one step each. Other programs used the
processor at the same time. All throughputs are therefore lower than on an idle machine.
"""

import statistics
import time

import numpy as np
import tensorflow as tf

from alexnet_tf.models import alexnet
from alexnet_tf import presets
from alexnet_tf.training import distribution
from alexnet_tf.training import steps
from alexnet_tf.training import towers
from experiments import device_traffic
from experiments import harness
from experiments import run_log

NAME = "two_gpus"
BATCH_SIZE = 128
_STEPS = 7  # The timed steps of each network.

# The number of float32 elements that cross for an image in the forward pass. As many
# cross in the backward pass. Each GPU sends half of them.
MAPS = {
    "pool2 to conv3": 13 * 13 * 256,
    "pool5 to fc6": 6 * 6 * 256,
    "fc6 to fc7": 4096,
    "fc7 to fc8": 4096,
    "half of the logits": 500,
}
# The same for two maps of each tower, which the other tower needs to normalize its own.
BORDERS = {"norm1": 4 * 55 * 55, "norm2": 4 * 27 * 27}
PARAMETERS = 60_965_224

# {arm: the column of the table}.
ARMS = {
    "paper": "towers, `paper`",
    "code2012": "towers, `code2012`",
    "data": "data parallelism, two devices",
    "one_device": "one device",
    "one_tower": "one device, one tower",
}
COLUMNS = ("", *ARMS.values())


def runs(log):
    """Returns the only `harness.Run`, which measures all networks."""
    del log
    return [harness.Run(NAME, "all", 0, presets.get("paper"))]


def _preset(arm):
    if arm == "one_tower":
        return presets.ablate(presets.get("paper"), "tower")
    return presets.get("code2012" if arm == "code2012" else "paper")


def megabytes(num_elements):
    """Returns the MB that cross in a step, forward and backward.

    Args:
        num_elements: the number of float32 elements that cross for an image in the
            forward pass.
    """
    return 2 * 4 * BATCH_SIZE * num_elements / 1e6


def crossing_megabytes(arm):
    """Returns {name of a crossing tensor: MB in a step} of an arm, computed by hand."""
    if arm == "data":
        return {"gradients of the weights": 2 * 4 * PARAMETERS / 1e6}
    if arm not in ("paper", "code2012"):
        return {}
    crossing = MAPS | BORDERS if arm == "paper" else MAPS
    return {name: megabytes(count) for name, count in crossing.items()}


def rows(log):
    """Returns the rows of the table, see `COLUMNS`."""
    by_arm = {arm: crossing_megabytes(arm) for arm in ARMS}
    names = [*MAPS, *BORDERS, "gradients of the weights"]
    table = [
        (f"{name}, MB", *(_format(by_arm[arm].get(name)) for arm in ARMS))
        for name in names
    ]
    sums = [sum(values.values()) for values in by_arm.values()]
    table.append(("all, MB", *map(_format, sums)))
    counted = [_measured(log, arm, "crossing_bytes") / 1e6 for arm in ARMS]
    rates = [_measured(log, arm, "images_per_second") for arm in ARMS]
    return [
        *table,
        ("all, counted in the graph, MB", *map(_format, counted)),
        ("images per second", *map(_format, rates)),
    ]


def _measured(log, arm, key):
    """Returns a value of an arm in the log, 0 if it has none."""
    return run_log.final_values(log, arm, key).get(0, 0)


def _format(number):
    return f"{number:.1f}" if number else "-"


def measure(run, path, data_dir):
    """Measures the training throughput of all arms; returns the lines for the log.

    The arguments are those of `harness.measure`; the images are random numbers.
    """
    del run, path, data_dir
    devices = distribution.tower_devices()
    results, run_step, seconds = {}, {}, {arm: [] for arm in ARMS}
    for arm in ARMS:
        results[arm], run_step[arm] = _prepare(arm, devices)
        run_step[arm]()  # The first step compiles functions.
    for _ in range(_STEPS):
        for arm in ARMS:
            start = time.perf_counter()
            run_step[arm]()
            seconds[arm].append(time.perf_counter() - start)
    lines = [
        {
            "arm": arm,
            "final": True,
            "images_per_second": BATCH_SIZE / statistics.median(seconds[arm]),
            **results[arm],
            **harness.describe_machine(),
        }
        for arm in ARMS
    ]
    return [*lines, {"final": True, **harness.describe_machine()}]


def _prepare(arm, devices):
    """Returns ({"crossing_bytes": number}, a function that runs one training step).

    The dictionary is empty for arms without towers on two devices.

    Args:
        arm: a key of `ARMS`.
        devices: the names of two devices.
    """
    strategy = tf.distribute.get_strategy()
    if arm == "data":
        strategy = distribution.make_strategy(2)
    preset = presets.override(_preset(arm), batch_size=BATCH_SIZE)
    model, optimizer = build(preset, strategy)
    result = {}
    if arm in ("paper", "code2012"):
        model = towers.Towers(model, optimizer, devices)
        optimizer = model.optimizer
        graph = trace_step(model, preset.recipe, preset.preprocessing.crop_size).graph
        result["crossing_bytes"] = sum(device_traffic.crossings(graph).values())
    run_steps = steps.make_run_steps(model, optimizer, strategy, preset.recipe, seed=0)
    iterator = iter(_batches(preset, strategy))
    return result, lambda: run_steps(iterator, 0, 1)


def build(preset, strategy, classes=1000, side=None):
    """Returns a model that returns logits, and its optimizer.

    Args:
        preset: a `presets.Preset`.
        strategy: the `tf.distribute.Strategy` to make them with.
        classes: the number of classes.
        side: the side of the images in pixels; None for that of the preset.
    """
    with strategy.scope():
        model = alexnet.AlexNet(
            preset, classes, classifier_activation=None,
            input_shape=side and (side, side, 3),
        )
        return model, steps.make_optimizer(model, preset.recipe, "float32")


def trace_step(two_towers, recipe, side):
    """Returns the concrete function of one training step of `towers.Towers`.

    Args:
        two_towers: the `Towers`.
        recipe: a `presets.Recipe` with the number of images.
        side: the side of the images in pixels.
    """
    step = tf.function(
        steps.make_replica_step(two_towers, two_towers.optimizer, recipe, seed=0)
    )
    return step.get_concrete_function(
        tf.TensorSpec([recipe.batch_size, side, side, 3]),
        tf.TensorSpec([recipe.batch_size], tf.int32),
        tf.TensorSpec([], tf.int32),
    )


def _batches(preset, strategy):
    """Returns a distributed data set that repeats one batch of random images."""
    images_per_replica = BATCH_SIZE // strategy.num_replicas_in_sync
    side = preset.preprocessing.crop_size
    rng = np.random.default_rng(0)
    images = rng.normal(0, 50, (images_per_replica, side, side, 3))
    labels = rng.integers(0, 1000, images_per_replica).astype(np.int32)
    batch = tf.constant(images, tf.float32), tf.constant(labels)
    return strategy.distribute_datasets_from_function(
        lambda _: tf.data.Dataset.from_tensors(batch).repeat().prefetch(1)
    )
