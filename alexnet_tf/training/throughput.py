"""Measures the throughput of networks and of input pipelines for `benchmark`.

All times are medians of several runs in one process. They are comparable only
with times measured on the same machine by the same command.
"""

from concurrent import futures
import dataclasses
import math
import multiprocessing
import sys
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
from alexnet_tf.models.layers import compiled_normalization
from alexnet_tf import presets
from alexnet_tf.training import distribution
from alexnet_tf.training import environment
from alexnet_tf.training.step_timer import median_seconds
from alexnet_tf.training import steps

# The number of rows and columns of the multiplied matrices. On a GPU, the product of
# smaller matrices takes less time than reading one of its elements.
_MATRIX_SIZE = 4096
_MATRIX_SIZE_ON_GPU = 16384
_NUM_IMAGES = 2048  # The number of images that a pipeline stage is measured on.
_STEPS_PER_TURN = 4  # The number of timed steps in a turn of "train" or "noise".


def matrix_rate(precision, repeats=5, size=None):
    """Measures the arithmetic operations per second of a product of square matrices.

    GPUs multiply float32 numbers as TensorFloat-32 by default, with 10 bits of
    precision.

    Args:
        precision: a Keras dtype policy, as in `loop.train`. The matrices have the
            compute dtype of the policy.
        repeats: the number of timed products, whose median is used.
        size: the number of rows and columns of the matrices. Default: 4096, and 16384
            on a GPU.
    """
    dtype = keras.DTypePolicy(precision).compute_dtype
    if size is None:
        has_gpu = bool(tf.config.list_physical_devices("GPU"))
        size = _MATRIX_SIZE_ON_GPU if has_gpu else _MATRIX_SIZE
    a, b = (tf.cast(tf.random.normal([size, size]), dtype) for _ in range(2))
    product = tf.function(lambda: tf.linalg.matmul(a, b))
    seconds = median_seconds(lambda: product()[0, 0].numpy(), repeats)
    return 2 * size**3 / seconds


def operations(model):
    """Counts the arithmetic operations for one image.

    Each multiplication by a weight counts as two operations, because its result
    is added to a sum. Training also computes the gradients of the kernel and of
    the input of each layer, except the gradient of the image.

    Returns:
        (operations of inference, operations of training).
    """
    products = [
        _count_products(layer) for layer in model.layers if hasattr(layer, "kernel")
    ]
    inference = 2 * sum(products)
    return inference, 3 * inference - 2 * products[0]


def _count_products(layer):
    """Counts the multiplications of weights and inputs for one image."""
    num_positions = 1
    if isinstance(layer, keras.layers.Conv2D):
        num_positions = math.prod(layer.output.shape[1:3])
    return num_positions * math.prod(layer.kernel.shape)


@dataclasses.dataclass(frozen=True)
class Network:
    """A network with its optimizer, and one batch to measure it on.

    Attributes:
        model: the model, which returns logits.
        optimizer: the optimizer of `model`.
        preset: the `presets.Preset` that the model was built from.
        images, labels: the batch, float32 [B, crop, crop, 3] and int32 [B].
        strategy: the `tf.distribute.Strategy` that the model was made with.

    The argument `repeats` of the methods is the number of timed calls, whose
    median is used.
    """

    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    preset: presets.Preset
    images: tf.Tensor
    labels: tf.Tensor
    strategy: tf.distribute.Strategy

    def make_step(self, batches=None):
        """Returns a function that runs one training step, as `loop.train` does.

        Args:
            batches: a `tf.data.Dataset` of (images, labels), which is repeated.
                Default: the batch of this network.
        """
        if batches is None:
            batches = tf.data.Dataset.from_tensors((self.images, self.labels))
        distributed = self.strategy.distribute_datasets_from_function(
            lambda _: batches.repeat().prefetch(1)
        )
        iterator = iter(distributed)
        run_steps = steps.make_run_steps(
            self.model, self.optimizer, self.strategy, self.preset.recipe, seed=0
        )
        return lambda: run_steps(iterator, 0, 1)

    def make_inference(self):
        """Returns a function that computes the outputs for `images`."""

        @tf.function
        def run():
            with compiled_normalization():
                return self.model(self.images, training=False)

        return run

    def training_rate(self, repeats=5):
        """Measures the training throughput in images per second."""
        return len(self.labels) / median_seconds(self.make_step(), repeats)

    def inference_rate(self, repeats=5):
        """Measures the inference throughput in images per second."""
        run = self.make_inference()
        return len(self.labels) / median_seconds(lambda: run()[0, 0].numpy(), repeats)

    def update_seconds(self, repeats=5):
        """Measures the time in seconds of one update of the weights."""
        variables = self.model.trainable_variables
        gradients = [tf.random.normal(v.shape, stddev=1e-6) for v in variables]

        def update():
            self.optimizer.apply(gradients, variables)
            return tf.constant(0)  # There must be a tensor to wait for.

        run = tf.function(lambda: self.strategy.run(update))
        return median_seconds(lambda: run().numpy(), repeats)

    def layer_seconds(self, repeats=5):
        """Measures each layer separately on random inputs.

        As in training, the backward pass does not compute the gradient of the
        input of the first layer with weights, nor of the inputs of earlier layers.

        Returns:
            [(layer name, seconds of the forward pass, seconds of the forward and
            backward passes), ...].
        """
        results, follows_weights = [], False
        for layer in self.model.layers[1:]:
            shape = len(self.labels), *layer.input.shape[1:]
            inputs = tf.cast(tf.random.normal(shape), layer.input.dtype)
            forward, forward_and_backward = _make_passes(
                layer, inputs, follows_weights
            )
            follows_weights |= bool(layer.weights)
            results.append(
                (
                    layer.name,
                    median_seconds(lambda: forward().numpy(), repeats),
                    median_seconds(lambda: forward_and_backward().numpy(), repeats),
                )
            )
        return results


def build(preset, precision, batch_size, classes=1000):
    """Builds a `Network` with a batch of random images and labels.

    Args:
        preset: a `presets.Preset`.
        precision: a Keras dtype policy, as in `loop.train`.
        batch_size: the number of images in the batch.
        classes: the number of classes.
    """
    preset = presets.override(preset, batch_size=batch_size)
    strategy = distribution.make_strategy(1)
    with strategy.scope(), steps.dtype_policy(precision):
        model = alexnet.AlexNet(preset, classes, classifier_activation=None)
        optimizer = steps.make_optimizer(model, preset.recipe, precision)
    crop_size = preset.preprocessing.crop_size
    rng = np.random.default_rng(0)
    images = rng.normal(0, 50, (batch_size, crop_size, crop_size, 3))
    labels = rng.integers(0, classes, batch_size)
    return Network(
        model,
        optimizer,
        preset,
        tf.constant(images, tf.float32),
        tf.constant(labels, tf.int32),
        strategy,
    )


def _make_passes(layer, inputs, with_input_gradient):
    """Makes two functions: one runs a layer's forward pass, the other both passes.

    Each function returns one number. Fetching the number waits for the passes to end.
    """

    # A sum would read all outputs once more, and change the measured time.
    def first_value(values):
        return tf.reshape(values, [-1])[0]

    @tf.function
    def forward():
        with compiled_normalization():
            return first_value(layer(inputs, training=True))

    @tf.function
    def forward_and_backward():
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            with compiled_normalization():
                outputs = layer(inputs, training=True)
        sources = [v.value for v in layer.trainable_variables]
        sources += [inputs] if with_input_gradient else []
        gradients = tape.gradient(outputs, sources, tf.ones_like(outputs))
        # Without the outputs, TensorFlow would prune the forward pass.
        results = [outputs, *gradients]
        return tf.add_n([tf.cast(first_value(r), tf.float32) for r in results])

    return forward, forward_and_backward


def stage_rates(source, preset, statistics, network, repeats=3):
    """Measures the throughput of each stage of training on a source.

    The stages are
        "read": encoded images are read;
        "decode": encoded images are read and decoded completely, only for
            comparison;
        "augment": encoded images are read and turned into random crops, as for
            training;
        "batch": the random crops are batched;
        "train": training steps run on these batches;
        "noise": training steps run on the batch of `network`, for comparison.
    Steps of "train" and "noise" run in turns. "batch", "train" and "noise" are
    omitted if `source` has fewer images than a batch.

    Args:
        source: a `Source`.
        preset: the `presets.Preset` whose preprocessing is used.
        statistics: the `pixel_statistics.Statistics` that preprocessing uses.
        network: the `Network` to train, whose batch size is used.
        repeats: the number of timed runs of a stage, whose median is used.

    Returns:
        {stage: images per second}.
    """
    # A small data set is repeated, so that starting the pipeline takes a negligible
    # share of the measured time.
    examples = source.examples().repeat().take(_NUM_IMAGES)

    def decode(example):
        return tf.io.decode_image(example["image"], 3, expand_animations=False)

    def augment(index, example):
        seed = tf.stack([tf.constant(0, tf.int64), index])
        return preprocess.training_image(
            example["image"], seed, preset.preprocessing, statistics
        )

    parallel = {"num_parallel_calls": tf.data.AUTOTUNE}
    stage_datasets = {
        "read": examples,
        "decode": examples.map(decode, **parallel),
        "augment": examples.enumerate().map(augment, **parallel),
    }
    throughputs = {
        stage: _NUM_IMAGES / _read_seconds(dataset, repeats)
        for stage, dataset in stage_datasets.items()
    }
    batch_size = len(network.labels)
    steps_per_epoch = source.num_examples // batch_size
    if not steps_per_epoch:
        return throughputs
    batches = input_pipeline.training_batches(
        source, preset.preprocessing, statistics,
        batch_size=batch_size, seed=0, epoch=0, steps=steps_per_epoch,
    )
    num_batches = max(1, _NUM_IMAGES // batch_size)
    seconds = _read_seconds(batches.repeat().take(num_batches), repeats)
    throughputs["batch"] = num_batches * batch_size / seconds
    train_steps = [network.make_step(batches), network.make_step()]
    turns = [
        [batch_size / median_seconds(step, _STEPS_PER_TURN) for step in train_steps]
        for _ in range(repeats)
    ]
    throughputs["train"], throughputs["noise"] = np.median(turns, axis=0).tolist()
    return throughputs


def _read_seconds(dataset, repeats):
    """Measures the time in seconds to read a data set to its end."""

    def read():
        # One call of TensorFlow reads all elements, without a loop in Python.
        dataset.reduce(tf.constant(0), lambda count, *_: count + 1).numpy()

    return median_seconds(read, repeats)


def peak_memory():
    """Returns the largest number of bytes that this process has held in memory.

    If there is a GPU, it is the memory of the GPU.
    """
    if tf.config.list_logical_devices("GPU"):
        return tf.config.experimental.get_memory_info("GPU:0")["peak"]
    try:
        import resource
    except ImportError:  # The system is Windows.
        import psutil  # A requirement of TFDS.

        return psutil.Process().memory_info().peak_wset
    # macOS reports bytes, and Linux units of 1024 bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure_network(name, precision, batch_size=128, repeats=5, layers=False):
    """Measures a network in a new process.

    The new process makes the time to the first step and the peak memory independent of
    earlier measurements.

    Args:
        name: a preset for `presets.get`, such as a name in `presets.PRESETS`.
        precision: a Keras dtype policy, as in `loop.train`.
        batch_size: the number of images in the batch of random images.
        repeats: the number of timed runs, whose median is used.
        layers: whether to measure each layer separately, too.

    Returns:
        A dictionary: "preset", "precision"; "device", the name of the GPU or the
        number and model of the CPUs; "training" and "inference" in images per
        second; "seconds_to_first_step", counted from before the process starts;
        "peak_memory" of training in bytes; "update_seconds" of the optimizer;
        "matrix_rate" in operations per second, see `matrix_rate`;
        "fraction_of_matrix_rate", the operations per second of training divided by
        "matrix_rate"; and "layers" if requested, see `Network.layer_seconds`.
    """
    return _in_new_process(
        _measure_network, name, precision, batch_size, repeats, layers, time.time()
    )


def measure_pipelines(
    names,
    preset_name,
    precision,
    batch_size=128,
    repeats=5,
    data_dir=None,
    image_key=None,
    label_key=None,
):
    """Measures the input pipelines of data sets in a new process.

    Args:
        names: the names of the data sets, see `datasets`.
        preset_name, precision, batch_size: the preset, the precision and the batch
            size of the network that is trained on the data sets, see `build`.
        repeats: the number of timed runs, whose median is used.
        data_dir, image_key, label_key: see `datasets.load`.

    Returns:
        {name of a data set: {stage: images per second}}, see `stage_rates`.
    """
    return _in_new_process(
        _measure_pipelines, names, preset_name, precision, batch_size, repeats,
        (data_dir, image_key, label_key),
    )  # fmt: skip


def _in_new_process(function, *args):
    # The commands have set this level, which a new process does not inherit.
    logger = tf.get_logger()
    context = multiprocessing.get_context("spawn")
    with futures.ProcessPoolExecutor(
        1, context, logger.setLevel, [logger.level]
    ) as pool:
        try:
            return pool.submit(function, *args).result()
        except futures.process.BrokenProcessPool as error:
            raise ChildProcessError(
                "The process that measures has ended without a result. If the memory "
                "did not suffice, a smaller batch helps: --batch_size."
            ) from error


def _device_name():
    """Returns the name of the first GPU, or of the CPUs if there is none."""
    devices = environment.describe()
    gpus = devices["gpus"].split(", ")
    return devices["processors"] if gpus == ["none"] else gpus[0]


def _measure_network(name, precision, batch_size, repeats, layers, start):
    network = build(presets.get(name), precision, batch_size)
    result = {"preset": name, "precision": precision, "device": _device_name()}
    network.make_step()()
    # `time.time` has the same origin in all processes of a machine.
    result["seconds_to_first_step"] = time.time() - start
    result["training"] = network.training_rate(repeats)
    result["peak_memory"] = peak_memory()
    result["inference"] = network.inference_rate(repeats)
    result["update_seconds"] = network.update_seconds(repeats)
    result["matrix_rate"] = matrix_rate(precision, repeats)
    _, training_operations = operations(network.model)
    operations_per_second = result["training"] * training_operations
    result["fraction_of_matrix_rate"] = operations_per_second / result["matrix_rate"]
    if layers:
        result["layers"] = network.layer_seconds(repeats)
    return result


def _measure_pipelines(names, preset_name, precision, batch_size, repeats, location):
    data_dir, image_key, label_key = location
    sources = {
        name: datasets.load(
            name, "train", data_dir, image_key=image_key, label_key=label_key
        )
        for name in names
    }
    classes = max(1000, *(len(source.classes) for source in sources.values()))
    network = build(presets.get(preset_name), precision, batch_size, classes)
    rates = {}
    for name, source in sources.items():
        # Training turns image files upright by default.
        preset = presets.override(
            network.preset, exif_orientation=datasets.has_image_files(name)
        )
        with tempfile.TemporaryDirectory() as folder:
            statistics = pixel_statistics.load_or_compute(
                source, preset.preprocessing, folder, verbose=0
            )
        rates[name] = stage_rates(source, preset, statistics, network, repeats)
    return rates
