"""Errors of a network or an ensemble on center crops, ten crops or whole images."""

import dataclasses
import numbers

import keras
import numpy as np
import tensorflow as tf

from alexnet_tf.data import bad_images
from alexnet_tf.data import preprocess
from alexnet_tf.data.source import Source
from alexnet_tf.inference.classifier import find_run_data
from alexnet_tf.inference.classifier import for_dataset
from alexnet_tf.inference.classifier import load_classifier
from alexnet_tf.models import alexnet
from alexnet_tf.models.layers import compiled_normalization
from alexnet_tf.training import metrics
from alexnet_tf.training import out_of_memory

_NUM_RESAMPLES = 1000
_NUM_RANDOM_WEIGHTS = 500

# The protocols that are evaluated on crops. "dense" is evaluated on whole images.
_CROPS = {
    "center": lambda *args: preprocess.evaluation_image(*args)[tf.newaxis],
    "ten_crop": preprocess.ten_crop,
}
PROTOCOLS = tuple(_CROPS)


@dataclasses.dataclass(frozen=True, repr=False)
class Evaluation:
    """The outputs of a network or an ensemble for all images of a split.

    Attributes:
        source: the `Source` of the images.
        probabilities: float [N, classes].
        labels: int32 [N].
        ensemble_weights: float64 [networks], the optimized weights of an ensemble; None
            for equal weights that were not optimized.
    """

    source: Source
    probabilities: np.ndarray
    labels: np.ndarray
    ensemble_weights: np.ndarray | None = None

    def __repr__(self):
        errors = ", ".join(
            f"top-{k} error {self.error(k):.2%}" for k in self.reported_ks
        )
        return f"Evaluation({self.source}, {len(self.labels)} images, {errors})"

    @property
    def reported_ks(self):
        """The values of k for which errors are reported, see `metrics.reported_ks`."""
        return metrics.reported_ks(self.probabilities.shape[1])

    def error(self, k):
        """Returns the top-k error, in [0, 1]."""
        return mean_error(hits(self.probabilities, self.labels, k))

    def interval(self, k):
        """Returns (low, high), the 95% confidence interval of the top-k error."""
        return interval(hits(self.probabilities, self.labels, k))

    def per_class(self):
        """Returns the errors of each class, see the function `per_class`."""
        return per_class(self.probabilities, self.labels)

    def confusions(self, max_pairs=10):
        """Returns the most frequent confusions, see the function `confusions`."""
        return confusions(self.probabilities, self.labels, max_pairs)


def evaluate(
    weights,
    preset=None,
    *,
    layout=None,
    mean=None,
    checkpoint="last",
    dataset=None,
    split=None,
    data_dir=None,
    image_key=None,
    label_key=None,
    protocol="ten_crop",
    scales=None,
    batch_size=32,
    search_split=None,
    exif_orientation=None,
    verbose=1,
):
    """Measures a network, or an ensemble, on a split of a named data set.

    This is what `python -m alexnet_tf.evaluate` runs. In an ensemble the images are
    preprocessed for each network by its own preset, and the probabilities are averaged.

        alexnet_tf.inference.evaluate(["runs/imagenet2012-paper"]).error(1)

    Args:
        weights: the work directory of a run, a published name or a weights file, or a
            list of these for an ensemble.
        preset: the preset of all weights files, or a list with one for each entry of
            `weights`. Default: those of the runs and of the published weights.
        layout: the axis order of the files, see `weights.load_weights`.
        mean, checkpoint: see `load_classifier`.
        dataset, split, data_dir, image_key, label_key: the data, see `datasets.load`.
            Default: those of the first weights if these are a run or published, and
            the data set "textures" for a weights file. If it has the classes of a
            network in another order, the outputs are put in that order.
        protocol: "center" for the center crop, "ten_crop" for the paper's ten crops,
            "dense" for all positions of the whole image, see `dense_probabilities`.
        scales: one or several sizes of the short side in pixels, for "dense" only.
            Default: the `image_size` of the preset of each network.
        batch_size: the number of images in a batch.
        search_split: the split on which the weights of the ensemble are optimized, see
            `search_weights`. It must share no image with `split`. Default: equal
            weights.
        exif_orientation: see `classifier.for_dataset`.
        verbose: 1 for a progress bar, 0 for none.

    Returns:
        An `Evaluation`.

    Raises:
        ValueError: if arguments or classes do not fit, or an image is unreadable.
        OSError: if weights or data are missing.
        MemoryError: if the memory does not suffice for a batch.
    """
    if not isinstance(weights, (list, tuple)):
        weights = [weights]
    _check_options(weights, protocol, scales, search_split)
    data = find_run_data(
        weights[0], dataset, split, data_dir, "textures",
        image_key=image_key, label_key=label_key,
    )  # fmt: skip
    classifiers = [
        for_dataset(classifier, path, data.dataset, exif_orientation)
        for classifier, path in zip(
            _load_classifiers(weights, preset, layout, mean, checkpoint), weights
        )
    ]
    source = data.source()
    classifiers = [_in_class_order(classifier, source) for classifier in classifiers]
    # All networks are checked before the first one is measured.
    for classifier in classifiers:
        check_fits(classifier, source)
        if protocol == "dense":
            _dense_scales(classifier, scales)

    def measure(source):
        if protocol == "dense":
            measured = [
                dense_probabilities(classifier, source, scales, verbose)
                for classifier in classifiers
            ]
        else:
            measured = [
                probabilities(classifier, source, protocol, batch_size, verbose)
                for classifier in classifiers
            ]
        # Without shuffling the images come in the same order for all networks.
        return [outputs for outputs, _ in measured], measured[0][1]

    ensemble_weights = None
    if search_split:
        search_source = dataclasses.replace(data, split=search_split).source()
        _check_disjoint(search_source, source)
        ensemble_weights = search_weights(*measure(search_source))
    all_probabilities, labels = measure(source)
    return Evaluation(
        source, average(all_probabilities, ensemble_weights), labels, ensemble_weights
    )


def probabilities(classifier, source, protocol="ten_crop", batch_size=32, verbose=1):
    """Returns the probabilities for all images of a source, and their labels.

    The result is (float32 [N, classes], int32 [N]). The probabilities of the crops of
    an image are averaged, not the logits (paper, section 4.1; CHM layer.cu:1810-1823).

    Args:
        classifier: a `Classifier`.
        source: a `Source` with the same classes.
        protocol: "center" for the center crop, "ten_crop" for the paper's ten crops.
        batch_size: the number of images in a batch.
        verbose: 1 for a progress bar, 0 for none.

    Raises:
        ValueError: if the classes differ, an image is unreadable, or the source does
            not hold the number of images that it declares.
        MemoryError: if the memory does not suffice for a batch.
    """
    check_fits(classifier, source)
    outputs, labels = [], []
    bar = keras.utils.Progbar(source.num_examples, verbose=verbose)

    @tf.function
    def mean_probabilities(crops):  # [B, crops, H, W, 3]
        shape = tf.shape(crops)
        flat = tf.reshape(crops, tf.concat([[-1], shape[2:]], axis=0))
        with compiled_normalization():
            by_crop = classifier.model(flat, training=False)  # [B * crops, classes]
        by_crop = tf.reshape(by_crop, [shape[0], shape[1], by_crop.shape[-1]])
        return tf.reduce_mean(by_crop, axis=1)

    def position():
        return len(outputs) * batch_size, batch_size

    with (
        out_of_memory.suggesting_smaller_batch(batch_size),
        bad_images.diagnosing(source, position),
    ):
        for crops, batch_labels in batches(classifier, source, protocol, batch_size):
            outputs.append(mean_probabilities(crops).numpy())
            labels.append(batch_labels.numpy())
            bar.add(len(batch_labels))
    return np.concatenate(outputs), np.concatenate(labels)


def batches(classifier, source, protocol, batch_size):
    """Returns batches of the crops of all images in order, as a `tf.data.Dataset`.

    A batch is (float32 [B, crops, H, W, 3], int32 [B]).

    Args:
        classifier, source, protocol, batch_size: see `probabilities`.
    """
    preprocessing, statistics = classifier.preset.preprocessing, classifier.statistics

    def make_crops(example):
        crops = _CROPS[protocol](example["image"], preprocessing, statistics)
        return crops, source.label_of(example)

    return (
        source.examples()
        .map(make_crops, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size)
        .prefetch(1)
    )


def dense_probabilities(classifier, source, scales=None, verbose=1):
    """Returns probabilities and labels for whole images in one or several sizes.

    Their shapes are as for `probabilities`. The network is applied to the whole image
    with the stride of its maps (32 pixels for AlexNet, 8 for `cifar10_full`), see
    `alexnet.to_fully_convolutional`. Probabilities are averaged over the positions,
    then over the sizes. The mean per channel is subtracted, see
    `preprocess.whole_image`.

    Raises the errors of `probabilities`, and a ValueError if a size is smaller than the
    network's input.

    Args:
        classifier, source, verbose: see `probabilities`.
        scales: one or several sizes of the short side in pixels. Default: the
            `image_size` of the preset.
    """
    check_fits(classifier, source)
    preprocessing, statistics = classifier.preset.preprocessing, classifier.statistics
    scales = _dense_scales(classifier, scales)
    convolutional = alexnet.to_fully_convolutional(classifier.model)
    outputs, labels = [], []
    bar = keras.utils.Progbar(source.num_examples, verbose=verbose)

    @tf.function
    def mean_probabilities(encoded):
        by_scale = []
        for scale in scales:
            image = preprocess.whole_image(encoded, scale, preprocessing, statistics)
            maps = convolutional(image, training=False)  # [1, h, w, classes]
            by_scale.append(tf.reduce_mean(maps, axis=[0, 1, 2]))
        return tf.add_n(by_scale) / len(scales)

    def image_and_label(example):
        return example["image"], source.label_of(example)

    with bad_images.diagnosing(source, lambda: (len(outputs), 1)):
        for encoded, label in source.examples().map(image_and_label):
            outputs.append(mean_probabilities(encoded).numpy())
            labels.append(int(label))
            bar.add(1)
    return np.stack(outputs), np.array(labels, np.int32)


def hits(probabilities, labels, k):
    """Returns float32 [N], 1 where the label is among the k most probable classes.

    A label that ties with others for the last place counts in part, see
    `metrics.top_k_hits`.
    """
    return metrics.top_k_hits(
        tf.constant(probabilities), tf.constant(labels), k
    ).numpy()


def mean_error(hits):
    """Returns the error of `hits`, see the function of this name, in [0, 1]."""
    # 1 - .66 would be .33999999999999997 for 66 hits of 100.
    return float((1 - hits).mean(dtype=np.float64))


def interval(hits, seed=0):
    """Returns (low, high), the 95% confidence interval of the error.

    It is computed by resampling the images. If all images are hits, or none is, then
    all resamples are equal, and the exact binomial interval (Clopper-Pearson) is
    returned instead.

    Args:
        hits: float32 [N], from the function `hits`.
        seed: the seed of the 1,000 random resamples of the images.
    """
    bound = 0.025 ** (1 / len(hits))
    if np.all(hits == 1):
        return 0.0, 1 - bound
    if np.all(hits == 0):
        return bound, 1.0
    rng = np.random.default_rng(seed)
    errors = [
        1 - hits[rng.integers(0, len(hits), len(hits))].mean()
        for _ in range(_NUM_RESAMPLES)
    ]
    return tuple(float(error) for error in np.percentile(errors, [2.5, 97.5]))


def per_class(probabilities, labels):
    """Returns the errors of the classes that have images.

    The result is [(label, number of images, top-1 error, top-5 error), ...]. With
    five classes or fewer there is no top-5 error, see `metrics.reported_ks`.
    """
    all_hits = [
        hits(probabilities, labels, k)
        for k in metrics.reported_ks(probabilities.shape[1])
    ]
    return [
        (
            int(label),
            int((labels == label).sum()),
            *(mean_error(top_k[labels == label]) for top_k in all_hits),
        )
        for label in np.unique(labels)
    ]


def confusions(probabilities, labels, max_pairs=10):
    """Returns the most frequent pairs of a label and another predicted class.

    The result is [(label, predicted class, number of images), ...], in which the most
    frequent pair comes first.
    """
    predicted = probabilities.argmax(axis=1)
    wrong = predicted != labels
    pairs, counts = np.unique(
        np.stack([labels[wrong], predicted[wrong]], axis=1),
        axis=0,
        return_counts=True,
    )
    order = np.argsort(-counts, kind="stable")[:max_pairs]
    return [(*map(int, pairs[i]), int(counts[i])) for i in order]


def average(all_probabilities, weights=None):
    """Returns [N, classes], the mean of the networks' probabilities [n, N, classes].

    Args:
        all_probabilities: [n, N, classes], from n networks for N images.
        weights: [n], the weights of the networks; None for equal ones.
    """
    return np.average(all_probabilities, axis=0, weights=weights)


def search_weights(all_probabilities, labels, seed=0):
    """Returns float64 [n], the ensemble weights with the lowest top-5 error.

    The sum of the weights is 1. The candidates are equal weights, each network alone,
    and 500 uniform random weights; the authors' scripts searched in a similar way (CHM
    avg-valid.py:27-71). If top-5 errors are equal, or there are at most five
    classes, the lowest top-1 error decides, then the order of the candidates above.

    Args:
        all_probabilities: as for `average`.
        labels: int32 [N].
        seed: the seed of the random weights.
    """
    count = len(all_probabilities)
    draws = np.random.default_rng(seed).dirichlet(
        np.ones(count), _NUM_RANDOM_WEIGHTS
    )
    ks = metrics.reported_ks(all_probabilities[0].shape[1])[::-1]
    candidates = [np.full(count, 1 / count), *np.eye(count), *draws]

    def negative_hits(weights):
        averaged = average(all_probabilities, weights)
        return [-hits(averaged, labels, k).sum() for k in ks]

    return min(candidates, key=negative_hits)


def check_fits(classifier, source):
    """Raises a ValueError if a source does not suit the network of a classifier."""
    source.check_fits(classifier.preset.preprocessing)
    same_names = sorted(classifier.classes) == sorted(source.classes)
    if classifier.classes != source.classes and (
        len(classifier.classes) != len(source.classes)
        or _numbers(source) not in (classifier.classes, source.classes)
        or (same_names and classifier.has_class_names)
    ):
        if same_names:
            raise ValueError(
                f"Expected a network whose classes are in the order of {source}: "
                f"{', '.join(source.classes[:3])}. Received: the same classes in "
                f"another order: {', '.join(classifier.classes[:3])}. Choose the data "
                "set that it was trained for, or measure the error with "
                "alexnet_tf.evaluate, which compares classes by name."
            )
        raise ValueError(
            f"Expected a network with the {len(source.classes)} classes of {source}, "
            f"such as {', '.join(source.classes[:3])}. Received: a network with "
            f"{len(classifier.classes)} classes, such as "
            f"{', '.join(classifier.classes[:3])}. Choose the data set that it was "
            "trained for."
        )


def _numbers(source):
    """Returns what weights files and list files have instead of class names."""
    return tuple(str(number) for number in range(len(source.classes)))


def _in_class_order(classifier, source):
    """Returns a `Classifier` whose outputs are in the order of the source's classes.

    If only the order of the class names differs, the weights of the last layer are
    changed in place. Otherwise, and for numbers of outputs instead of names, the result
    is `classifier`.
    """
    names = classifier.classes
    is_reordered = names != source.classes and sorted(names) == sorted(source.classes)
    # Weights may come from folders called 0 to 10, whose order is 0, 1, 10, 2, ...
    is_named = classifier.has_class_names and len({*names}) == len(names)
    if not is_reordered or not is_named:
        return classifier
    order = [names.index(name) for name in source.classes]
    last = classifier.model.get_layer(classifier.preset.layers[-1].name)
    kernel, bias = last.get_weights()
    last.set_weights([kernel[:, order], bias[order]])
    return dataclasses.replace(classifier, classes=source.classes)


def _check_options(weights, protocol, scales, search_split):
    """Raises a ValueError if options of `evaluate` do not go together."""
    if protocol not in (*PROTOCOLS, "dense"):
        raise ValueError(
            'Expected the protocol "center", "ten_crop" or "dense". Received: '
            f"protocol={protocol!r}."
        )
    if scales is not None and protocol != "dense":
        raise ValueError(
            f'Expected scales for the protocol "dense" only. Received: {protocol=}, '
            f"{scales=}."
        )
    if search_split and len(weights) < 2:
        raise ValueError(
            "Expected several networks for search_split, on which the weights of an "
            f"ensemble are optimized. Received: {search_split=}, one network."
        )


def _dense_scales(classifier, scales):
    """Returns the sizes for `dense_probabilities` as a list, and checks them."""
    preprocessing = classifier.preset.preprocessing
    if scales is None:
        scales = preprocessing.image_size
    scales = [scales] if isinstance(scales, numbers.Integral) else list(scales)
    if not scales:
        raise ValueError(f"Expected at least one size. Received: {scales=}.")
    if min(scales) < preprocessing.crop_size:
        raise ValueError(
            f"Expected sizes of at least {preprocessing.crop_size} pixels, the size "
            f"of the network's input. Received: {scales=}."
        )
    return scales


def _load_classifiers(weights, names, layout, mean, checkpoint):
    names = names or [None]
    if not isinstance(names, (list, tuple)):
        names = [names]
    if len(names) == 1:
        names = names * len(weights)
    if len(names) != len(weights):
        raise ValueError(
            f"Expected one preset, or one for each of {len(weights)} weights. "
            f"Received: {len(names)} presets."
        )
    return [
        load_classifier(path, name, layout, mean, checkpoint)
        for path, name in zip(weights, names)
    ]


def _check_disjoint(search_source, source):
    shared = len(search_source.example_ids() & source.example_ids())
    if shared:
        raise ValueError(
            "Expected a search_split that shares no image with the split to report. "
            f"Received: {search_source.split}, which shares {shared} image(s) with "
            f"{source.split}."
        )
