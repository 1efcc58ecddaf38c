"""How fast a network and a pipeline are, in the units that limits have.

All times are medians of several in one process. Nothing here is a claim: a
figure means something beside another one of the same machine and run.
"""

import dataclasses
import math
import resource

import keras
import numpy as np
import tensorflow as tf

from alexnet_tf.data import input_pipeline
from alexnet_tf.data import preprocess
from alexnet_tf.models import alexnet
from alexnet_tf.models.layers import GroupedConv2D
from alexnet_tf import presets
from alexnet_tf.training.step_timer import median_seconds
from alexnet_tf.training import steps

_SIDE = 4096  # Of the matrices whose product is the measure.
_PICTURES = 2048  # That a stage of a pipeline is measured on.
_STEPS = 4  # In each turn of training on pictures or noise.


def matrix_rate(precision, repeats=5):
    """Arithmetic operations a second of a product of matrices of 4,096.

    Args:
        precision: as in `loop.train`; of mixed ones the lower type.
        repeats: as in `seconds`.
    """
    dtype = keras.DTypePolicy(precision).compute_dtype
    one, other = (
        tf.cast(tf.random.normal([_SIDE, _SIDE]), dtype) for _ in range(2)
    )
    product = tf.function(lambda: tf.linalg.matmul(one, other))
    return 2 * _SIDE**3 / median_seconds(lambda: product()[0, 0].numpy(), repeats)


def operations(model):
    """Arithmetic operations for one picture: (inference, training).

    Two for each product that a weight takes part in; training takes the
    gradients of weights and of inputs too, but not of the picture.
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
    """Of weights with inputs, for one picture."""
    places = 1
    if isinstance(layer, GroupedConv2D):
        places = math.prod(layer.output.shape[1:3])
    return places * math.prod(layer.kernel.shape)


@dataclasses.dataclass(frozen=True)
class Network:
    """A network at work on a batch that is there already.

    Attributes:
        model: gives logits.
        optimizer: its own.
        preset: the `presets.Preset` that it was built from.
        images, labels: float32 [B, S, S, 3], int32 [B].
    """

    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    preset: presets.Preset
    images: tf.Tensor
    labels: tf.Tensor

    def step(self, batches=None):
        """A function that takes one step, as `loop.train` does.

        Args:
            batches: a `tf.data.Dataset` of (images, labels), again and again;
                by default the ones that are there already.
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
        """Pictures a second."""
        return len(self.labels) / median_seconds(self.step(), repeats)

    def inference_rate(self, repeats=5):
        """Pictures a second."""
        run = tf.function(lambda: self.model(self.images, training=False))
        return len(self.labels) / median_seconds(lambda: run()[0, 0].numpy(), repeats)

    def update_seconds(self, repeats=5):
        """What the optimizer takes for one step."""
        variables = self.model.trainable_variables
        gradients = [tf.random.normal(v.shape, stddev=1e-6) for v in variables]
        run = tf.function(
            lambda: self.optimizer.apply(gradients, variables) or tf.constant(0)
        )
        return median_seconds(lambda: run().numpy(), repeats)

    def layer_seconds(self, repeats=5):
        """[(layer, forward, forward and backward), ...], each by itself.

        Backward as in training: nobody asks for the gradient of the picture.
        """
        rows, behind_weights = [], False
        for layer in self.model.layers[1:]:
            shape = len(self.labels), *layer.input.shape[1:]
            inputs = tf.cast(tf.random.normal(shape), layer.input.dtype)
            forward, both = _passes(layer, inputs, behind_weights)
            behind_weights |= bool(layer.weights)
            rows.append(
                (
                    layer.name,
                    median_seconds(lambda: forward().numpy(), repeats),
                    median_seconds(lambda: both().numpy(), repeats),
                )
            )
        return rows


def build(preset, precision, batch_size):
    """A `Network` of 1000 classes, on noise.

    Args:
        preset: a `presets.Preset`.
        precision: as in `loop.train`.
        batch_size: pictures at a time.
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


def _passes(layer, inputs, for_inputs):
    """Two functions that end when the layer has: each gives one number."""
    # A sum of all would be one more pass over the outputs.
    def one(value):
        return tf.reshape(value, [-1])[0]

    @tf.function
    def forward():
        return one(layer(inputs, training=True))

    @tf.function
    def both():
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=True)
        sources = [v.value for v in layer.trainable_variables]
        sources += [inputs] if for_inputs else []
        gradients = tape.gradient(outputs, sources, tf.ones_like(outputs))
        # The forward pass would be left out if nothing asked for it.
        wanted = [outputs, *gradients]
        return tf.add_n([tf.cast(one(each), tf.float32) for each in wanted])

    return forward, both


def stage_rates(source, preset, statistics, network, repeats=3):
    """{stage: pictures a second} of a pipeline, each with all before it.

    read: the encoded bytes; decode: whole pictures, for comparison alone;
    augment: random views as they are trained on; batch: those, in batches;
    train: the network on these, and noise: on what is there already, in turn
    with it.

    Args:
        source: a `Source`.
        preset: a `presets.Preset`.
        statistics: a `pixel_statistics.Statistics`.
        network: a `Network` to train, on batches of as many pictures as its own.
        repeats: runs that a time is the median of.
    """
    # Again and again, so that the start of a pipeline does not count.
    examples = source.examples().repeat().take(_PICTURES)

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
    rates = {
        name: _PICTURES / median_seconds(lambda each=each: _exhaust(each), repeats)
        for name, each in stages.items()
    }
    batch_size = len(network.labels)
    steps = source.num_examples // batch_size
    if not steps:
        return rates
    batches = input_pipeline.training_batches(
        source, preset.preprocessing, statistics,
        batch_size=batch_size, seed=0, epoch=0, steps=steps,
    )
    some = batches.repeat().take(_PICTURES // batch_size)
    rates["batch"] = (
        _PICTURES // batch_size * batch_size
        / median_seconds(lambda: _exhaust(some), repeats)
    )
    takers = [network.step(batches), network.step()]
    turns = [
        [batch_size / median_seconds(take, _STEPS) for take in takers]
        for _ in range(repeats)
    ]
    rates["train"], rates["noise"] = np.median(turns, axis=0).tolist()
    return rates


def _exhaust(dataset):
    # Within a graph: no Python for each picture.
    dataset.reduce(tf.constant(0), lambda count, *_: count + 1).numpy()


def peak_memory():
    """Bytes that this process has held at most."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
