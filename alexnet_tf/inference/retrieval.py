"""Finds the images whose features are nearest: the paper's Fig. 4, right.

An index is a file of the features of a split. A search is exact: it reads the index
once, in blocks.
"""

import contextlib
import dataclasses
import itertools
import json
import zipfile
import zlib

import keras
import numpy as np
import tensorflow as tf

from alexnet_tf.data import bad_images
from alexnet_tf.data import preprocess
from alexnet_tf.files import atomic_write
from alexnet_tf.models import alexnet
from alexnet_tf.settings import check_same

_BATCH = 64
_DAMAGES = (zipfile.BadZipFile, zlib.error, KeyError, ValueError, EOFError)

# Size in bytes of a block of features, and of its products with queries.
_BLOCK = 48 * 2**20

# Names of version 0.1 in the origin of an index.
_RENAMED_ORIGIN = {"pictures": "images"}  # word: kept
_RENAMED_PRESETS = {"cifar10_quick": "cifar10_full"}


@dataclasses.dataclass(frozen=True)
class Matches:
    """The result of a search, the nearest first.

    Attributes:
        indices: int64 [Q, k], positions in the index.
        distances: float64 [Q, k], Euclidean, or 1 - cosine.
    """

    indices: np.ndarray
    distances: np.ndarray


def features(classifier, source, layer="fc7", verbose=1):
    """Yields blocks of (float32 [b, D], int32 [b], names [b]) of all images, in order.

    These are the features, labels and names. The features are those of
    `alexnet.features` for the center crop, flattened.

    Args:
        classifier: a `Classifier`.
        source: a `Source`.
        layer: the name of a layer; "input" for the pixels themselves.
        verbose: 1 for a progress bar, 0 for none.

    Raises:
        ValueError: if there is no such layer, an image is unreadable, or the source
            does not hold the number of images that it declares.
    """
    preprocessing, statistics = classifier.preset.preprocessing, classifier.statistics
    source.check_fits(preprocessing)
    extractor = alexnet.features(classifier.model, layer)
    extract = tf.function(lambda crops: extractor(crops, training=False))

    def crop(example):
        image = preprocess.evaluation_image(
            example["image"], preprocessing, statistics
        )
        return image, example["label"], example["name"]

    batches = source.examples().map(crop, num_parallel_calls=tf.data.AUTOTUNE)
    bar = keras.utils.Progbar(source.num_examples, verbose=verbose)
    done = 0
    with bad_images.diagnosing(source, lambda: (done, _BATCH)):
        for crops, labels, names in batches.batch(_BATCH).prefetch(1):
            block = extract(crops).numpy()
            yield block.reshape(len(block), -1), labels.numpy(), names.numpy()
            done += len(block)
            bar.update(done)


def build_index(path, classifier, source, layer="fc7", verbose=1):
    """Writes the `features` of all images of a source as an index.

    Args:
        path: the file to write (.npz). It appears when it is complete.
        classifier, source, layer, verbose: see `features`, errors too.
    """
    blocks = features(classifier, source, layer, verbose)
    origin = _origin(classifier, source, layer)
    write_index(path, blocks, source.num_examples, origin)


def write_index(path, blocks, count, origin):
    """Writes features as .npz, one block at a time.

    The arrays are `features` [N, D], `labels` [N], `names` [N], and `about`, the text
    of the origin in JSON.

    Args:
        path: the file to write. It appears when it is complete.
        blocks: blocks as `features` yields them.
        count: the number of images, N.
        origin: {name: text}, the layer, images and network of the features.
    """
    with atomic_write(path) as temporary:
        with zipfile.ZipFile(temporary, "w") as archive:
            _write_members(archive, blocks, count, origin)


def read_labels(path):
    """Returns (labels int32 [N], names as bytes [N]) of an index."""
    return _read_array(path, "labels"), _read_array(path, "names")


def search(path, queries, k=6, metric="l2"):
    """Returns the `Matches` of the `k` nearest features in an index to each query.

    Products are computed in float64: the error of distances is a few 10^-8 of the
    vectors' lengths, for near-duplicates too. The search holds at most 256 MB beside
    the queries and the matches; that is 1,536 rows at a time for ImageNet's 1.28
    million images with 4,096 features.

    Args:
        path: the path of the index.
        queries: float [Q, D].
        k: the number of matches per query.
        metric: "l2" or "cosine".

    Raises:
        ValueError: if the index is damaged, its features have another size, or it has
            fewer than `k` images.
    """
    queries = _to_metric(queries, metric)
    indices = np.zeros((len(queries), 0), np.int64)
    squares = np.zeros((len(queries), 0))
    for start, block in _blocks(path, queries.shape[1], k):
        block = _to_metric(block, metric)
        block_indices, block_squares = _search_block(block, queries, metric, k)
        indices, squares = _nearest(
            np.concatenate([indices, start + block_indices], axis=1),
            np.concatenate([squares, block_squares], axis=1),
            k,
        )
    # For vectors of length 1, |q - x|^2 = 2 - 2 cos.
    distances = squares / 2 if metric == "cosine" else np.sqrt(squares)
    return Matches(indices, distances)


def nearest_examples(
    path, classifier, queries, source, layer="fc7", metric="l2", k=6
):
    """Returns [[query, its nearest, ...], ...], examples as in Fig. 4, right.

    An image is not its own neighbor: images with the name of the query are skipped.
    There are fewer than `k` neighbors if the index has no more.

    Args:
        path: the path of an index of `source`, see `build_index`.
        classifier, layer: the network and layer of the index.
        queries: examples, see `Source.take_indices`.
        source: the `Source` of the neighbors.
        metric, k: see `search`.

    Raises:
        ValueError: if the index belongs to another layer, network or source.
    """
    check_same(
        _read_origin(path),
        _origin(classifier, source, layer),
        f"the index {path}",
        "Build the index again with index_output.",
    )
    vectors = features_of(classifier, [query["image"] for query in queries], layer)
    names = _read_array(path, "names")
    same_names = [{*np.flatnonzero(names == query["name"])} for query in queries]
    num_matches = min(k + max(map(len, same_names)), len(names))
    matches = search(path, vectors, num_matches, metric).indices.tolist()
    rows = [
        [index for index in row if index not in skipped]
        for row, skipped in zip(matches, same_names)
    ]
    k = min(k, *map(len, rows))
    neighbors = iter(
        source.take_indices([index for row in rows for index in row[:k]])
    )
    return [[query, *itertools.islice(neighbors, k)] for query in queries]


def features_of(classifier, encoded, layer="fc7"):
    """Returns the `features` of single images, float32 [N, D].

    Args:
        classifier, layer: see `features`.
        encoded: the bytes of each image file.
    """
    crops = np.stack([classifier.center_crop(image) for image in encoded])
    extractor = alexnet.features(classifier.model, layer)
    return extractor(crops, training=False).numpy().reshape(len(crops), -1)


def precision(matches, labels, query_labels, k):
    """Returns the share of the `k` nearest that belong to the query's class.

    Args:
        matches: the `Matches` of Q queries.
        labels: int [N], the labels of the index.
        query_labels: int [Q].
        k: the number of matches to count.
    """
    hits = labels[matches.indices[:, :k]] == query_labels[:, np.newaxis]
    return float(hits.mean())


def _origin(classifier, source, layer):
    """Returns {name: text}, which determines the features of an index."""
    return {
        "layer": layer,
        "images": f"{source} ({source.fingerprint})",
        "network": f"{classifier.preset.name} {classifier.fingerprint}",
    }


def _read_origin(path):
    """Returns the origin of an index, in the names of this version."""
    text = str(_read_array(path, "about"))
    try:
        origin = json.loads(text)
        preset, fingerprint = origin["network"].split(" ")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged_error(path, f"its origin is {text}") from error
    origin["network"] = f"{_RENAMED_PRESETS.get(preset, preset)} {fingerprint}"
    return {_RENAMED_ORIGIN.get(name, name): value for name, value in origin.items()}


def _write_members(archive, blocks, count, origin):
    labels, names = [], []
    with archive.open("features.npy", "w", force_zip64=True) as file:
        for block, block_labels, block_names in blocks:
            if not labels:
                header = np.lib.format.header_data_from_array_1_0(block)
                header["shape"] = (count, block.shape[1])
                np.lib.format.write_array_header_1_0(file, header)
            file.write(block.tobytes())
            labels.append(block_labels)
            names.append(block_names)
    members = {
        "labels": np.concatenate(labels),
        # Strings of a fixed length need no pickle.
        "names": np.concatenate(names).astype("S"),
        "about": np.array(json.dumps(origin)),
    }
    for key, array in members.items():
        with archive.open(f"{key}.npy", "w") as file:
            np.lib.format.write_array(file, array, allow_pickle=False)


def _read_array(path, key):
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[key]
    except _DAMAGES as error:
        raise _damaged_error(path, error) from error


def _damaged_error(path, reason):
    return ValueError(
        f"Expected an index that index_output has written. Received: {path}, which "
        f"is damaged or another kind of file ({reason})."
    )


def _blocks(path, dimensions, k):
    """Yields (first row, float32 [rows, D]) of an index, in order."""
    with contextlib.ExitStack() as stack:
        try:
            archive = stack.enter_context(zipfile.ZipFile(path))
            file = stack.enter_context(archive.open("features.npy"))
            np.lib.format.read_magic(file)
            (count, width), _, dtype = np.lib.format.read_array_header_1_0(file)
        except _DAMAGES as error:
            raise _damaged_error(path, error) from error
        if width != dimensions or count < k:
            raise ValueError(
                f"Expected an index of at least {k} images with {dimensions} features "
                f"each. Received: {path} with {count} of {width}."
            )
        rows = max(1, _BLOCK // (8 * width))
        for start in range(0, count, rows):
            shape = min(rows, count - start), width
            try:
                data = file.read(shape[0] * width * dtype.itemsize)
                block = np.frombuffer(data, dtype).reshape(shape)
            except _DAMAGES as error:
                raise _damaged_error(path, error) from error
            yield start, block


def _to_metric(vectors, metric):
    """Converts vectors to float64, and for the cosine to length 1."""
    vectors = np.array(vectors, np.float64)
    if metric == "cosine":
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors /= np.maximum(lengths, 1e-12)
    return vectors


def _search_block(block, queries, metric, k):
    """Returns (indices in the block, squared distances) of the nearest, [Q, <= k]."""
    # |q - x|^2 = |q|^2 + |x|^2 - 2 q x. A zero vector counts as one of length 1, which
    # gives it a cosine of 0 to everything.
    squared_lengths, squared_query_lengths = (
        np.ones(len(vectors))
        if metric == "cosine"
        else np.einsum("nd,nd->n", vectors, vectors)
        for vectors in (block, queries)
    )
    step = max(1, _BLOCK // (8 * len(block)))
    parts = []
    for first in range(0, len(queries), step):
        group = slice(first, first + step)
        squares = queries[group] @ block.T
        squares *= -2
        squares += squared_lengths
        squares += squared_query_lengths[group, np.newaxis]
        np.maximum(squares, 0, out=squares)
        indices = np.broadcast_to(np.arange(len(block)), squares.shape)
        parts.append(_nearest(indices, squares, k))
    return [np.concatenate(arrays) for arrays in zip(*parts)]


def _nearest(indices, squares, k):
    """Returns the `k` columns with the least squares in each row, ascending."""
    if squares.shape[1] > k:
        columns = np.argpartition(squares, k - 1, axis=1)[:, :k]
        indices = np.take_along_axis(indices, columns, axis=1)
        squares = np.take_along_axis(squares, columns, axis=1)
    order = np.lexsort((indices, squares), axis=1)
    return (
        np.take_along_axis(indices, order, axis=1),
        np.take_along_axis(squares, order, axis=1),
    )
