"""Throughput of a network and of an input pipeline: the library of `benchmark`.

All times are medians of several runs in one process. They can be compared only
with other times of the same machine and run.
"""

import dataclasses
import math
import multiprocessing
import resource
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf

from alexnet_tf.data import datasets
from alexnet_tf.data import input_pipeline
from alexnet_tf.data import pixel_statistics
from alexnet_tf.data import preprocess
from alexnet_tf.models import alexnet
from alexnet_tf.models.layers import GroupedConv2D
from alexnet_tf import presets
from alexnet_tf.training.step_timer import median_seconds
from alexnet_tf.training import steps

_MATRIX_SIZE = 4096  # Rows and columns of the matrices that are multiplied.
_IMAGES = 2048  # Images that each measurement of a pipeline stage processes.
_STEPS = 4  # Timed steps in each turn of training on images or on noise.


def matrix_rate(precision, repeats=5):
    """Measures the arithmetic operations per second of a 4096 x 4096 matrix product.

    Args:
        precision: a Keras dtype policy, as in `loop.train`. The matrices have
            its compute dtype.
        repeats: as in `median_seconds`.
    """
    dtype = keras.DTypePolicy(precision).compute_dtype
    shape = [_MATRIX_SIZE, _MATRIX_SIZE]
    a, b = (tf.cast(tf.random.normal(shape), dtype) for _ in range(2))
    product = tf.function(lambda: tf.linalg.matmul(a, b))
    seconds = median_seconds(lambda: product()[0, 0].numpy(), repeats)
    return 2 * _MATRIX_SIZE**3 / seconds


def operations(model):
    """Counts the arithmetic operations for one image.

    Each multiplication by a weight counts as two. Training also computes the
    gradients of the weights and of the inputs, but not of the image.

    Returns:
        (operations of inference, operations of training).
    """
    products = {
        layer.name: _products(layer)
        for layer in model.layers
        if layer.weights
    }
    inference = 2 * sum(products.values())
    first = next(iter(products))
    return inference, 3 * inference - 2 * products[first]


def _products(layer):
    """Counts the multiplications of weights and inputs for one image."""
    positions = 1
    if isinstance(layer, GroupedConv2D):
        positions = math.prod(layer.output.shape[1:3])
    return positions * math.prod(layer.kernel.shape)


@dataclasses.dataclass(frozen=True)
class Network:
    """A network with its optimizer, and one batch to measure it on.

    Attributes:
        model: the model, which returns logits.
        optimizer: the optimizer of `model`.
        preset: the `presets.Preset` that the model was built from.
        images, labels: float32 [B, S, S, 3], int32 [B].
    """

    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    preset: presets.Preset
    images: tf.Tensor
    labels: tf.Tensor

    def make_step(self, batches=None):
        """Makes a function that runs one training step, as `loop.train` does.

        Args:
            batches: a `tf.data.Dataset` of (images, labels), which is repeated;
                by default the network's own batch.
        """
        if batches is None:
            batches = tf.data.Dataset.from_tensors((self.images, self.labels))
        iterator = iter(batches.repeat().prefetch(1))
        strategy = tf.distribute.get_strategy()
        run_steps = steps.make_run_steps(
            self.model, self.optimizer, strategy, self.preset.recipe, seed=0
        )
        return lambda: run_steps(iterator, 0, 1)

    def training_rate(self, repeats=5):
        """Measures the training throughput in images per second."""
        return len(self.labels) / median_seconds(self.make_step(), repeats)

    def inference_rate(self, repeats=5):
        """Measures the inference throughput in images per second."""
        run = tf.function(lambda: self.model(self.images, training=False))
        return len(self.labels) / median_seconds(lambda: run()[0, 0].numpy(), repeats)

    def update_seconds(self, repeats=5):
        """Measures the time that the optimizer takes for one step."""
        variables = self.model.trainable_variables
        gradients = [tf.random.normal(v.shape, stddev=1e-6) for v in variables]
        run = tf.function(
            lambda: self.optimizer.apply(gradients, variables) or tf.constant(0)
        )
        return median_seconds(lambda: run().numpy(), repeats)

    def layer_seconds(self, repeats=5):
        """Measures each layer by itself.

        Backward passes are those of training: the gradient of the image is not
        computed.

        Returns:
            [(layer name, seconds of the forward pass, seconds of the forward and
            backward passes), ...].
        """
        rows, after_weights = [], False
        for layer in self.model.layers[1:]:
            shape = len(self.labels), *layer.input.shape[1:]
            inputs = tf.cast(tf.random.normal(shape), layer.input.dtype)
            forward, both = _passes(layer, inputs, after_weights)
            after_weights |= bool(layer.weights)
            rows.append(
                (
                    layer.name,
                    median_seconds(lambda: forward().numpy(), repeats),
                    median_seconds(lambda: both().numpy(), repeats),
                )
            )
        return rows


def build(preset, precision, batch_size):
    """Builds a `Network` of 1000 classes with a batch of noise.

    Args:
        preset: a `presets.Preset`.
        precision: a Keras dtype policy, as in `loop.train`.
        batch_size: the number of images in the batch.
    """
    preset = presets.override(preset, batch_size=batch_size)
    with steps.dtype_policy(precision):
        model = alexnet.AlexNet(preset, classifier_activation=None)
    optimizer = steps.make_optimizer(model, preset.recipe, precision)
    side = preset.preprocessing.crop_size
    random = np.random.default_rng(0)
    images = random.normal(0, 50, (batch_size, side, side, 3))
    labels = random.integers(0, 1000, batch_size)
    return Network(
        model,
        optimizer,
        preset,
        tf.constant(images, tf.float32),
        tf.constant(labels, tf.int32),
    )


def _passes(layer, inputs, with_input_gradient):
    """Makes the functions (forward, forward and backward) of a layer.

    Each returns one number, so that fetching it waits for the whole pass.
    """

    # A sum over all values would be another pass over the outputs.
    def first_value(values):
        return tf.reshape(values, [-1])[0]

    @tf.function
    def forward():
        return first_value(layer(inputs, training=True))

    @tf.function
    def both():
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=True)
        sources = [v.value for v in layer.trainable_variables]
        sources += [inputs] if with_input_gradient else []
        gradients = tape.gradient(outputs, sources, tf.ones_like(outputs))
        # Without the outputs, TensorFlow would prune the forward pass.
        results = [outputs, *gradients]
        return tf.add_n([tf.cast(first_value(r), tf.float32) for r in results])

    return forward, both


def stage_rates(source, preset, statistics, network, repeats=3):
    """Measures a pipeline stage by stage, each with all stages before it.

    The stages are
        "read": the encoded bytes;
        "decode": whole images, which only serve for comparison;
        "augment": random crops, as for training;
        "batch": these crops in batches;
        "train": training steps on these batches;
        "noise": training steps on the batch of `network`, in turn with "train".
    The last three are omitted if `source` has less than one batch.

    Args:
        source: a `Source`.
        preset: a `presets.Preset`.
        statistics: a `pixel_statistics.Statistics`.
        network: the `Network` to train, whose batch size is used.
        repeats: the number of runs that each median is taken over.

    Returns:
        {stage: images per second}.
    """
    # Repeated, so that the time to start a pipeline does not count.
    examples = source.examples().repeat().take(_IMAGES)

    def decode(example):
        return tf.io.decode_image(example["image"], 3, expand_animations=False)

    def augment(index, example):
        seed = tf.stack([tf.constant(0, tf.int64), index])
        return preprocess.training_image(
            example["image"], seed, preset.preprocessing, statistics
        )

    parallel = {"num_parallel_calls": tf.data.AUTOTUNE}
    stages = {
        "read": examples,
        "decode": examples.map(decode, **parallel),
        "augment": examples.enumerate().map(augment, **parallel),
    }
    throughputs = {
        name: _IMAGES / _read_seconds(dataset, repeats)
        for name, dataset in stages.items()
    }
    batch_size = len(network.labels)
    steps_per_epoch = source.num_examples // batch_size
    if not steps_per_epoch:
        return throughputs
    batches = input_pipeline.training_batches(
        source, preset.preprocessing, statistics,
        batch_size=batch_size, seed=0, epoch=0, steps=steps_per_epoch,
    )
    count = _IMAGES // batch_size
    seconds = _read_seconds(batches.repeat().take(count), repeats)
    throughputs["batch"] = count * batch_size / seconds
    train_steps = [network.make_step(batches), network.make_step()]
    turns = [
        [batch_size / median_seconds(step, _STEPS) for step in train_steps]
        for _ in range(repeats)
    ]
    throughputs["train"], throughputs["noise"] = np.median(turns, axis=0).tolist()
    return throughputs


def _read_seconds(dataset, repeats):
    """Measures how long it takes to read a data set to its end."""

    def read():
        # Within one graph, without Python for each element.
        dataset.reduce(tf.constant(0), lambda count, *_: count + 1).numpy()

    return median_seconds(read, repeats)


def peak_memory():
    """Returns the largest number of bytes that this process has held in memory."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure_network(name, precision, batch_size=128, repeats=5, layers=False):
    """Measures a network in a process of its own.

    Args:
        name: a name in `presets.PRESETS`.
        precision: a Keras dtype policy, as in `loop.train`.
        batch_size: the number of images in a batch of noise.
        repeats: the number of runs whose median is taken.
        layers: whether to measure each layer by itself, too.

    Returns:
        A dictionary: "preset", "precision"; "training" and "inference" in images per
        second; "seconds_to_first_step", from the start of the process; "peak_memory"
        of training in bytes; "update_seconds" of the optimizer; "matrix_rate" in
        operations per second, and the "fraction_of_matrix_rate" that training reaches;
        with `layers` also "layers", see `Network.layer_seconds`.
    """
    return _in_new_process(
        _measure_network, name, precision, batch_size, repeats, layers, time.time()
    )


def measure_pipelines(
    names, preset_name, precision, batch_size=128, repeats=5, data_dir=None
):
    """Measures the input pipelines of data sets in a process of its own.

    Args:
        names: the names of the data sets, see `datasets`.
        preset_name, precision, batch_size: the network that is trained on them.
        repeats: the number of runs whose median is taken.
        data_dir: the directory of TFDS's data sets.

    Returns:
        {name: {stage: images per second}}, see `stage_rates`.
    """
    return _in_new_process(
        _measure_pipelines, names, preset_name, precision, batch_size, repeats, data_dir
    )


def _in_new_process(function, *args):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, args)


def _measure_network(name, precision, batch_size, repeats, layers, started):
    network = build(presets.get(name), precision, batch_size)
    result = {"preset": name, "precision": precision}
    network.make_step()()
    # All processes of a machine share one clock.
    result["seconds_to_first_step"] = time.time() - started
    result["training"] = network.training_rate(repeats)
    result["peak_memory"] = peak_memory()
    result["inference"] = network.inference_rate(repeats)
    result["update_seconds"] = network.update_seconds(repeats)
    result["matrix_rate"] = matrix_rate(precision, repeats)
    _, training_operations = operations(network.model)
    rate = result["training"] * training_operations
    result["fraction_of_matrix_rate"] = rate / result["matrix_rate"]
    if layers:
        result["layers"] = network.layer_seconds(repeats)
    return result


def _measure_pipelines(names, preset_name, precision, batch_size, repeats, data_dir):
    preset = presets.get(preset_name)
    network = build(preset, precision, batch_size)
    rates = {}
    for name in names:
        source = datasets.load(name, "train", data_dir)
        with tempfile.TemporaryDirectory() as folder:
            statistics = pixel_statistics.load_or_compute(
                source, preset.preprocessing, folder, verbose=0
            )
        rates[name] = stage_rates(source, preset, statistics, network, repeats)
    return rates
