"""Training that starts from weights: what starts anew, what moves, how fast."""

import dataclasses
import logging
import os

import keras
import numpy as np
import tensorflow as tf

from alexnet_tf.data import bad_images
from alexnet_tf.data import pixel_statistics
from alexnet_tf.models.weights import load_weights
from alexnet_tf.workdir import STATISTICS_FILE

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class FineTuning:
    """How to start from weights.

    Attributes:
        weights: for `load_weights`; None to start at random.
        reinit: layers that keep their random start.
        freeze: layers that do not move.
        lr_mult: {layer: its learning rate over the others'}.
        cache_features: whether to compute the outputs of the frozen beginning
            once, of one central view of each picture. All convolutions must
            be frozen. It gives up crops, flips and colour noise, and takes
            80 KB of memory a picture where pool5 is the last of them.
        layout: of the file, for `load_weights`.
    """

    weights: str | None = None
    reinit: tuple[str, ...] = ()
    freeze: tuple[str, ...] = ()
    lr_mult: dict[str, float] = dataclasses.field(default_factory=dict)
    cache_features: bool = False
    layout: str | None = None


def freeze_layers(model, plan):
    """Sets which layers of `model` move.

    Raises:
        ValueError: if a name of the plan is that of no layer with weights, or
            nothing is left to move.
    """
    names = [layer.name for layer in model.layers if layer.weights]
    for field in ("reinit", "freeze", "lr_mult"):
        unknown = [name for name in getattr(plan, field) if name not in names]
        if unknown:
            raise ValueError(
                f"Expected in {field} some of the layers {', '.join(names)}. "
                f"Received: {', '.join(unknown)}."
            )
    if {*names} == {*plan.freeze}:
        raise ValueError(
            "Expected a layer that is not frozen. Received: "
            f"freeze={','.join(plan.freeze)}, which is all of them."
        )
    both = [name for name in plan.reinit if name in plan.freeze]
    if both:
        raise ValueError(
            "Expected in reinit layers that move. Received: "
            f"{', '.join(both)}, which would stay at random."
        )
    idle = [name for name in plan.lr_mult if name in plan.freeze]
    if idle:
        raise ValueError(
            "Expected in lr_mult layers that move. Received: "
            f"{', '.join(idle)}, which are frozen."
        )
    for name in plan.freeze:
        model.get_layer(name).trainable = False


def load_initial_weights(model, plan):
    """Assigns the plan's weights to all layers but those of `reinit`."""
    if plan.weights:
        _log.info(
            "%s",
            load_weights(
                model, plan.weights, skip=plan.reinit, layout=plan.layout
            ),
        )


def initial_statistics(plan, preprocessing):
    """The `pixel_statistics.Statistics` that the plan's weights were trained with.

    Those of the run, if they are of one, else the published figures of
    ImageNet: weights expect the pixels that they have seen.

    Raises:
        ValueError: if the run's pictures were of another size.
    """
    if not os.path.isdir(plan.weights):
        return pixel_statistics.imagenet(preprocessing)
    path = os.path.join(plan.weights, STATISTICS_FILE)
    found = pixel_statistics.read(path)
    if found.mean_image.shape[0] != preprocessing.image_size:
        raise ValueError(
            f"Expected pictures of {found.mean_image.shape[0]} pixels, those "
            f"of the run {plan.weights}. Received: image_size="
            f"{preprocessing.image_size}."
        )
    return found


def split_backbone(model):
    """`model` in two: its frozen beginning, and the rest.

    The beginning ends where the first layer comes that moves or drops at
    random. Both share their weights with `model`.

    Raises:
        ValueError: if a convolution is not frozen.
    """
    first = next(
        layer
        for layer in model.layers
        if layer.trainable_variables or isinstance(layer, keras.layers.Dropout)
    )
    rest = model.layers[model.layers.index(first) :]
    moving = [l.name for l in rest if isinstance(l, keras.layers.Conv2D)]
    if moving:
        raise ValueError(
            "Expected all convolutions frozen, so that their features can be "
            f"cached. Received: {', '.join(moving)} not among the frozen first "
            "layers."
        )
    return (
        keras.Model(model.input, first.input),
        keras.Model(first.input, model.output, name=model.name),
    )


def compute_features(beginning, batches, source):
    """What `beginning` makes of all pictures of `source`, and their labels.

    (float32 [N, ...], int32 [N]).

    Args:
        beginning: from `split_backbone`.
        batches: `input_pipeline.evaluation_batches` of `source`.
        source: a `Source`.

    Raises:
        ValueError: if a picture can't be read.
    """
    count = source.num_examples
    compute = tf.function(lambda images: beginning(images, training=False))
    outputs = np.zeros((count, *beginning.output.shape[1:]), np.float32)
    labels = np.zeros(count, np.int32)
    done = 0
    with bad_images.diagnosing(source, lambda: (done, -1)):
        for images, batch_labels in batches:
            # Padding comes last.
            here = min(len(images), count - done)
            outputs[done : done + here] = compute(images)[:here]
            labels[done : done + here] = batch_labels[:here]
            done += here
    # Tensors from here on: tf.data keeps a copy of its own of every array
    # that it is given, for each epoch. On a CPU, which has the room.
    with tf.device("CPU:0"):
        return tf.constant(outputs), tf.constant(labels)
