"""Fine-tuning: initial weights, frozen layers, and features computed once."""

import dataclasses
import functools
import logging
import math
import os

import keras
import numpy as np
import tensorflow as tf

from alexnet_tf.data import bad_images
from alexnet_tf.data import input_pipeline
from alexnet_tf.data import pixel_statistics
from alexnet_tf.files import expand_home
from alexnet_tf.models.layers import compiled_normalization
from alexnet_tf.models.weights import load_weights
from alexnet_tf.network_json import find_run
from alexnet_tf import published
from alexnet_tf import settings
from alexnet_tf.workdir import STATISTICS_FILE

_log = logging.getLogger(__name__)

_FEATURE_BATCH_SIZE = 64


@dataclasses.dataclass(frozen=True)
class FineTuning:
    """The settings of a run that starts from the weights of a trained model.

    Attributes:
        weights: the weights to load, as for `load_weights`; None for random
            initialization.
        reinit: the name or names of layers that keep their random initialization.
        freeze: the name or names of layers that are not trained.
        lr_mult: {layer name: the factor that its learning rate is multiplied by}.
        cache_features: whether to compute the outputs of the frozen backbone
            only once, for the center crop of each image. All convolutions must
            be frozen. Training then has no random crops, flips or PCA color
            augmentation. The features take 80 KB of memory per image if pool5
            is the last layer of the backbone.
        layout: the axis order of a weights file, as for `load_weights`.
        mean: the path of a mean image to subtract in place of ImageNet's mean, see
            `pixel_statistics.published`. Only for weights without a mean of their own.
    """

    weights: str | None = None
    reinit: tuple[str, ...] = ()
    freeze: tuple[str, ...] = ()
    lr_mult: dict[str, float] = dataclasses.field(default_factory=dict)
    cache_features: bool = False
    layout: str | None = None
    mean: str | None = None

    def __post_init__(self):
        for name in ("reinit", "freeze"):
            object.__setattr__(self, name, settings.as_names(getattr(self, name)))
        for name in ("weights", "mean"):
            object.__setattr__(self, name, expand_home(getattr(self, name)))


def check_plan(plan, preset):
    """Raises a ValueError if a `FineTuning` does not suit a preset.

    The error is raised if `reinit`, `freeze` or `lr_mult` names a layer that does not
    exist or has no weights, if a factor of `lr_mult` is negative or not finite, if all
    layers would be frozen, if `reinit` or `lr_mult` names a frozen layer, or if there
    are no weights for `reinit`, `layout` or `mean`.

    Args:
        plan: a `FineTuning`.
        preset: a `presets.Preset`.
    """
    for name, factor in plan.lr_mult.items():
        if not 0 <= factor < math.inf:
            raise ValueError(
                "Expected lr_mult to have finite factors of at least 0. Received: "
                f"{factor} for {name}."
            )
    names = preset.weighted_layers
    for field in ("reinit", "freeze", "lr_mult"):
        unknown = [name for name in getattr(plan, field) if name not in names]
        if unknown:
            raise ValueError(
                f"Expected {field} to name some of the layers {', '.join(names)}. "
                f"Received: {field}={','.join(unknown)}."
            )
    if {*names} == {*plan.freeze}:
        raise ValueError(
            "Expected at least one layer that is not frozen. Received: "
            f"freeze={','.join(plan.freeze)}, which are all layers. Leave out those to "
            "train."
        )
    for field in ("reinit", "lr_mult"):
        frozen = [name for name in getattr(plan, field) if name in plan.freeze]
        if frozen:
            raise ValueError(
                f"Expected {field} to name layers that are trained. Received: "
                f"{field}={','.join(frozen)}, frozen by freeze="
                f"{','.join(plan.freeze)}. Remove them from one of the two."
            )
    check_weights(plan.weights, reinit=plan.reinit, layout=plan.layout, mean=plan.mean)


def check_weights(weights, **settings_of_weights):
    """Raises a ValueError if settings of weights are given without weights.

    Args:
        weights: the weights, or None.
        **settings_of_weights: {name: value}; a value that is None or empty is not
            given.
    """
    for name, value in settings_of_weights.items():
        if value and not weights:
            raise ValueError(
                f"Expected weights. Received: {name}="
                f"{','.join(settings.as_names(value))} alone. Without weights, all "
                "layers are initialized at random, and the mean is that of the "
                "training split."
            )


def freeze_layers(model, plan):
    """Freezes the layers of `model` that `plan.freeze` names.

    Args:
        model: the model.
        plan: a `FineTuning`.
    """
    for name in plan.freeze:
        model.get_layer(name).trainable = False


def load_initial_weights(model, plan, channel_order):
    """Loads `plan.weights`, if any, into all layers except those in `plan.reinit`.

    Args:
        model: the model.
        plan: a `FineTuning`.
        channel_order: the order of the channels in the inputs of `model`.

    Raises:
        The errors of `load_weights`.
    """
    if plan.weights:
        report = load_weights(
            model, plan.weights, skip=plan.reinit, layout=plan.layout,
            channel_order=channel_order,
        )
        _log.info("%s", report)


def initial_statistics(plan, preprocessing):
    """Returns the `pixel_statistics.Statistics` that belong to the plan's weights.

    If `plan.weights` is the work directory of a run or its best.safetensors, the
    statistics are those of that run, because its images were normalized with them. For
    another weights file they are the published statistics of ImageNet, with `plan.mean`
    in place of the mean if it is given.

    Args:
        plan: a `FineTuning` with weights.
        preprocessing: the `presets.Preprocessing` of the new run.

    Raises:
        ValueError: if the run used another image size, its statistics are damaged, or
            `plan.mean` does not fit the preset or is given for a run.
        FileNotFoundError: if the work directory has no statistics.
    """
    run = find_run(published.locate(plan.weights))
    if run is None:
        return pixel_statistics.published(preprocessing, plan.mean)
    check_no_mean(plan.mean, plan.weights)
    statistics = pixel_statistics.read(os.path.join(run, STATISTICS_FILE))
    image_size = statistics.mean_image.shape[0]
    if image_size != preprocessing.image_size:
        raise ValueError(
            f"Expected images of {image_size} pixels, as in the run {plan.weights}. "
            f"Received: image_size={preprocessing.image_size}. Give the image size of "
            "that run."
        )
    return statistics


def check_no_mean(mean, weights):
    """Raises a ValueError if a mean is given for weights with statistics of their own.

    Args:
        mean: the path of a mean image, or None.
        weights: the weights, which are those of a run.
    """
    if mean is not None:
        raise ValueError(
            f"Expected no mean for {weights}, whose own statistics are used. Received: "
            f"mean={mean}. Leave the mean out."
        )


def split_backbone(model):
    """Splits `model` into a frozen backbone and a trainable head.

    The head begins with the first layer that is a dropout or has trainable
    weights. Backbone and head share their weights with `model`.

    Args:
        model: a model with trainable weights, see `freeze_layers`.

    Returns:
        (backbone, head), two instances of `keras.Model`.

    Raises:
        ValueError: if a convolution belongs to the head.
    """
    first_head_layer = next(
        layer
        for layer in model.layers
        if layer.trainable_variables or isinstance(layer, keras.layers.Dropout)
    )
    head_layers = model.layers[model.layers.index(first_head_layer) :]
    convolutions = [
        layer.name for layer in head_layers if isinstance(layer, keras.layers.Conv2D)
    ]
    if convolutions:
        raise ValueError(
            "Expected all convolutions to be frozen, so that their features can be "
            f"cached. Received: {', '.join(convolutions)}, which are not among the "
            "frozen first layers. Freeze them, or leave cache_features out."
        )
    return (
        keras.Model(model.input, first_head_layer.input),
        keras.Model(first_head_layer.input, model.output, name=model.name),
    )


def compute_features(backbone, batches, source):
    """Computes the outputs of `backbone` for all images of `source`.

    Args:
        backbone: the backbone from `split_backbone`.
        batches: the `input_pipeline.evaluation_batches` of `source`.
        source: a `Source` of N images.

    Returns:
        (features, labels): tensors in CPU memory, float32 [N, ...] and int32 [N].
        If the source `allows_bad_images`, unreadable images are labeled
        `PADDING_LABEL`.

    Raises:
        ValueError: if an image is unreadable, unless the source
            `allows_bad_images`, or if the number of images is not N.
        OSError: if files of the data set are missing or damaged.
    """
    count = source.num_examples

    @tf.function
    def compute(images):
        with compiled_normalization():
            return backbone(images, training=False)

    features = np.zeros((count, *backbone.output.shape[1:]), np.float32)
    labels = np.zeros(count, np.int32)
    done = 0
    with bad_images.diagnosing(source, lambda: (done, -1)):
        for images, batch_labels in batches:
            # The last batch is padded at its end.
            size = min(len(images), count - done)
            features[done : done + size] = compute(images)[:size]
            labels[done : done + size] = batch_labels[:size]
            done += size
    # tf.data would copy NumPy arrays once per epoch, but it does not copy tensors.
    # GPU memory might be too small for the features.
    with tf.device("CPU:0"):
        return tf.constant(features), tf.constant(labels)


def cached_feature_batches(model, source, eval_source, preprocessing, statistics):
    """Computes the features of all images with the frozen layers of `model`.

    Returns:
        (head, training_batches, evaluation_batches): the model of the other layers, and
        functions with the same role as those of `input_pipeline`.
    """
    backbone, head = split_backbone(model)
    _log.info("Computing the features of all images once.")
    train_features, eval_features = (
        compute_features(
            backbone,
            input_pipeline.evaluation_batches(
                split_source, preprocessing, statistics, batch_size=_FEATURE_BATCH_SIZE
            ),
            split_source,
        )
        for split_source in (source, eval_source)
    )
    return (
        head,
        functools.partial(input_pipeline.cached_training_batches, *train_features),
        functools.partial(input_pipeline.cached_evaluation_batches, *eval_features),
    )
