"""How wrong a network, or several together, are by the paper's protocol."""

import keras
import numpy as np
import tensorflow as tf

from alexnet_tf.data import bad_images
from alexnet_tf.data import preprocess
from alexnet_tf.models import alexnet
from alexnet_tf.training import metrics

_RESAMPLES = 1000
_DRAWS = 500
_VIEWS = {
    "center": lambda *args: preprocess.evaluation_image(*args)[tf.newaxis],
    "ten_crop": preprocess.ten_crop,
}
PROTOCOLS = tuple(_VIEWS)


def probabilities(network, source, protocol="ten_crop", batch_size=32, verbose=1):
    """What a network makes of all pictures, and their labels.

    (float32 [N, classes], int32 [N]). Over the views of a picture the
    probabilities are averaged, not the logits (paper, section 4.1; CHM
    layer.cu:1810-1823).

    Args:
        network: a `Classifier`.
        source: a `Source` of the same classes.
        protocol: "center", the central view alone, or "ten_crop", the paper's
            ten views.
        batch_size: pictures at a time.
        verbose: 1 for a progress bar, 0 for none.

    Raises:
        ValueError: if the classes are others, a picture can't be read, or the
            source does not hold as many as it says.
    """
    check_fits(network, source)
    found, labels = [], []
    bar = keras.utils.Progbar(source.num_examples, verbose=verbose)

    @tf.function
    def mean_probabilities(views):  # [B, V, S, S, 3]
        shape = tf.shape(views)
        flat = tf.reshape(views, tf.concat([[-1], shape[2:]], axis=0))
        each = network.model(flat, training=False)  # [B * V, classes]
        each = tf.reshape(each, [shape[0], shape[1], each.shape[-1]])
        return tf.reduce_mean(each, axis=1)

    def where():
        return len(found) * batch_size, batch_size

    with bad_images.diagnosing(source, where):
        for views, batch_labels in batches(network, source, protocol, batch_size):
            found.append(mean_probabilities(views).numpy())
            labels.append(batch_labels.numpy())
            bar.add(len(batch_labels))
    return np.concatenate(found), np.concatenate(labels)


def batches(network, source, protocol, batch_size):
    """(float32 [b, views, crop, crop, 3], int32 [b]) of all pictures in order.

    Args as in `probabilities`.
    """
    pixels, statistics = network.preset.preprocessing, network.statistics

    def views(example):
        views = _VIEWS[protocol](example["image"], pixels, statistics)
        return views, source.label_of(example)

    return (
        source.examples()
        .map(views, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size)
        .prefetch(1)
    )


def dense_probabilities(network, source, scales, verbose=1):
    """As `probabilities`, of whole pictures at all places and several sizes.

    The network is applied every 32 pixels (`alexnet.to_fully_convolutional`);
    probabilities are averaged over the places, then over the sizes. Pixels
    lose the mean per channel: `preprocess.whole_image`.

    Args:
        network, source, verbose: as in `probabilities`.
        scales: pixels of the short side, one or several.
    """
    check_fits(network, source)
    pixels, statistics = network.preset.preprocessing, network.statistics
    if min(scales) < pixels.crop_size:
        raise ValueError(
            f"Expected sizes of at least {pixels.crop_size} pixels, the "
            f"network's own. Received: {scales=}."
        )
    convolutional = alexnet.to_fully_convolutional(network.model)
    found, labels = [], []
    bar = keras.utils.Progbar(source.num_examples, verbose=verbose)

    @tf.function
    def mean_probabilities(encoded):
        each = []
        for scale in scales:
            view = preprocess.whole_image(encoded, scale, pixels, statistics)
            maps = convolutional(view, training=False)  # [1, h, w, classes]
            each.append(tf.reduce_mean(maps, axis=[0, 1, 2]))
        return tf.add_n(each) / len(scales)

    def picture(example):
        return example["image"], source.label_of(example)

    with bad_images.diagnosing(source, lambda: (len(found), 1)):
        for encoded, label in source.examples().map(picture):
            found.append(mean_probabilities(encoded).numpy())
            labels.append(int(label))
            bar.add(1)
    return np.stack(found), np.array(labels, np.int32)


def hits(probabilities, labels, k):
    """float32 [N]: 1 for a label among the k most probable, ties shared out."""
    return metrics.top_k_hits(
        tf.constant(probabilities), tf.constant(labels), k
    ).numpy()


def interval(hits, seed=0):
    """(low, high): of the error, 95% by resampling the pictures 1,000 times."""
    random = np.random.default_rng(seed)
    errors = [
        1 - hits[random.integers(0, len(hits), len(hits))].mean()
        for _ in range(_RESAMPLES)
    ]
    return tuple(float(e) for e in np.percentile(errors, [2.5, 97.5]))


def per_class(probabilities, labels):
    """[(label, pictures, top-1 error, top-5 error), ...] of classes that occur."""
    top1, top5 = (hits(probabilities, labels, k) for k in (1, 5))
    return [
        (
            int(label),
            int((labels == label).sum()),
            float(1 - top1[labels == label].mean()),
            float(1 - top5[labels == label].mean()),
        )
        for label in np.unique(labels)
    ]


def confusions(probabilities, labels, most=10):
    """[(label, taken for, pictures), ...], the most frequent first."""
    guesses = probabilities.argmax(axis=1)
    wrong = guesses != labels
    pairs, counts = np.unique(
        np.stack([labels[wrong], guesses[wrong]], axis=1),
        axis=0,
        return_counts=True,
    )
    order = np.argsort(-counts, kind="stable")[:most]
    return [(*map(int, pairs[i]), int(counts[i])) for i in order]


def average(all_probabilities, weights=None):
    """[N, classes]: of several networks [n, N, classes], equal or weighted."""
    return np.average(all_probabilities, axis=0, weights=weights)


def search_weights(all_probabilities, labels, seed=0):
    """float64 [n], sum 1: the networks' weights with the least top-5 error.

    Of 500 drawn uniformly, equal ones and each network alone, on pictures that
    are not those to be reported; the authors' scripts searched too (CHM
    avg-valid.py:27-71). Of equals the top-1 error decides, then the order:
    equal weights come first.

    Args:
        all_probabilities: [n, N, classes] of the networks.
        labels: int32 [N].
        seed: of the draws.
    """
    count = len(all_probabilities)
    draws = np.random.default_rng(seed).dirichlet(np.ones(count), _DRAWS)
    candidates = [np.full(count, 1 / count), *np.eye(count), *draws]

    def errors(weights):
        mixed = average(all_probabilities, weights)
        return [-hits(mixed, labels, k).sum() for k in (5, 1)]

    return min(candidates, key=errors)


def check_fits(network, source):
    """Raises ValueError if a source has other classes, or was prepared otherwise."""
    source.check_fits(network.preset.preprocessing)
    numbers = tuple(str(number) for number in range(len(source.classes)))
    # Files of weights and lists of pictures have numbers in place of names.
    if network.classes != source.classes and (
        len(network.classes) != len(source.classes)
        or numbers not in (network.classes, source.classes)
    ):
        raise ValueError(
            f"Expected the classes of {source}, {len(source.classes)} such as "
            f"{', '.join(source.classes[:3])}. Received: a network of "
            f"{len(network.classes)} such as {', '.join(network.classes[:3])}."
        )
