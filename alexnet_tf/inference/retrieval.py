"""Finds the images with the nearest features, as in the paper's Fig. 4, right.

A retrieval index is a file (.npz) with the features of all images of a split. A search
is exact: it reads all of the index once, in blocks.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import zipfile
import zlib

import numpy as np

from alexnet_tf.files import atomic_write
from alexnet_tf.inference.extraction import feature_blocks
from alexnet_tf.models import alexnet
from alexnet_tf.models.layers import compiled_normalization
from alexnet_tf.settings import check_same

_BATCH_SIZE = 64

# Errors of `zipfile` and NumPy for damaged files and for files of another kind. A
# RuntimeError reports an unknown compression or encryption; for a file that
# `np.save` has written, `np.load` returns an array, which raises a TypeError if it is
# used as a context manager.
_DAMAGE_ERRORS = (
    zipfile.BadZipFile, zlib.error, KeyError, ValueError, EOFError, RuntimeError,
    TypeError,
)  # fmt: skip

# Size in bytes of a block of features in float64, and of its products with queries.
_BLOCK_BYTES = 48 * 2**20

# Keys and presets in the origin of an index that version 0.1 has written, and their
# present names.
_RENAMED_ORIGIN_KEYS = {"pictures": "images"}  # word: kept
_RENAMED_PRESETS = {"cifar10_quick": "cifar10_full"}


@dataclasses.dataclass(frozen=True)
class Matches:
    """The k images of an index that are nearest to each query, the nearest first.

    Attributes:
        indices: int64 [queries, k], the positions of the images in the index.
        distances: float64 [queries, k], Euclidean, or 1 - cosine.
    """

    indices: np.ndarray
    distances: np.ndarray


def features(classifier, source, layer="fc7", verbose=1):
    """Yields the features, labels and names of all images in order, in blocks.

    A block is (float32 [images, features], int32 [images], bytes [images]). The
    features are the flattened outputs of `alexnet.features` for the center crop.

    Args:
        classifier: a `Classifier`.
        source: a `Source`.
        layer: the name of a layer; "input" for the pixels themselves.
        verbose: 1 for a progress bar, 0 for none.

    Raises:
        ValueError: if there is no such layer, the images were prepared for different
            preprocessing, an image is unreadable, or the source does not hold the
            number of images that it declares.
        OSError: if the data is missing or damaged.
    """
    blocks = feature_blocks(
        classifier, source, [layer], batch_size=_BATCH_SIZE, on_bad_image="error",
        verbose=verbose,
    )
    for block in blocks:
        block_features = block.features[layer]
        names = np.array([os.fsencode(name) for name in block.names], object)
        yield block_features.reshape(len(names), -1), block.labels, names


def build_index(path, classifier, source, layer="fc7", verbose=1):
    """Writes a retrieval index of all images of a source.

    Raises the errors of `features`.

    Args:
        path: the file to write (.npz). It appears when it is complete.
        classifier, source, layer, verbose: see `features`.
    """
    blocks = features(classifier, source, layer, verbose)
    origin = _origin(classifier, source, layer)
    write_index(path, blocks, source.num_examples, origin)


def write_index(path, blocks, count, origin):
    """Writes a retrieval index, one block of features at a time.

    It is a .npz file with the arrays `features` [images, features], `labels` [images],
    `names` [images], and `about`, a string with the origin in JSON.

    Args:
        path: the file to write. It appears when it is complete.
        blocks: an iterable of blocks, as `features` yields them.
        count: the number of images in all blocks.
        origin: {"layer", "images", "network"}, texts that name the layer, the images
            and the network of the features.
    """
    with atomic_write(path) as temporary:
        with zipfile.ZipFile(temporary, "w") as archive:
            _write_members(archive, blocks, count, origin)


def read_labels(path):
    """Returns the labels and names of an index, (int32 [images], bytes [images]).

    Raises:
        ValueError: if the index is damaged.
        OSError: if there is no such file.
    """
    return _read_array(path, "labels"), _read_array(path, "names")


def search(path, queries, k=6, metric="l2"):
    """Returns the `Matches` of the `k` nearest features in an index to each query.

    Products are computed in float64, so that the error of a distance is a few 10^-8 of
    the vectors' lengths even for near-duplicates. A search needs at most 256 MB of
    memory besides the queries and the matches: if images have 4,096 features, it reads
    1,536 of them at a time.

    Args:
        path: the path of the index.
        queries: float [queries, features].
        k: the number of matches per query.
        metric: "l2" for the Euclidean distance, "cosine" for 1 - cosine.

    Raises:
        ValueError: if there is no such metric, or the index is damaged, has a different
            number of features per image than the queries, or has fewer than `k` images.
        OSError: if there is no such file.
    """
    check_metric(metric)
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


def check_metric(metric):
    """Raises a ValueError if there is no such metric, see `search`."""
    if metric not in ("l2", "cosine"):
        raise ValueError(f'Expected metric "l2" or "cosine". Received: {metric=}.')


def nearest_examples(
    path,
    classifier,
    queries,
    source,
    layer="fc7",
    metric="l2",
    k=6,
    query_classifier=None,
):
    """Returns a list of examples for each query: the query, then its nearest images.

    An image is not its own neighbor: images with the name of the query are skipped.
    All queries have the same number of neighbors, fewer than `k` if the index has too
    few images.

    Args:
        path: the path of an index of `source`, see `build_index`.
        classifier, layer: the network and the layer that the index was built with.
        queries: a list of examples, see `Source.take_indices`.
        source: the `Source` of the neighbors.
        metric: see `search`.
        k: the number of neighbors per query.
        query_classifier: the same network with the preprocessing for the queries, see
            `classifier.for_image_files`. Default: `classifier`.

    Raises:
        ValueError: if there is no such metric, the index is damaged or was built with a
            different layer, network or source, or an image is unreadable.
        OSError: if the index or the data is missing.
    """
    check_same(
        _read_origin(path),
        _origin(classifier, source, layer),
        f"the settings of the index {path}",
        "Build the index again with index_output.",
    )
    encoded = [query["image"] for query in queries]
    vectors = features_of(query_classifier or classifier, encoded, layer)
    names = _read_array(path, "names")
    skipped_indices = [{*np.flatnonzero(names == query["name"])} for query in queries]
    num_matches = min(k + max(map(len, skipped_indices)), len(names))
    matches = search(path, vectors, num_matches, metric).indices.tolist()
    rows = [
        [index for index in row if index not in skipped]
        for row, skipped in zip(matches, skipped_indices)
    ]
    k = min(k, *map(len, rows))
    neighbors = iter(
        source.take_indices([index for row in rows for index in row[:k]])
    )
    return [[query, *itertools.islice(neighbors, k)] for query in queries]


def features_of(classifier, encoded, layer="fc7"):
    """Returns the features of some images, float32 [images, features].

    Args:
        classifier, layer: see `features`.
        encoded: a list of the bytes of the image files.
    """
    crops = np.stack([classifier.center_crop(image) for image in encoded])
    extractor = alexnet.features(classifier.model, layer)
    with compiled_normalization():
        outputs = extractor(crops, training=False).numpy()
    return outputs.astype(np.float32).reshape(len(crops), -1)


def precision(matches, labels, query_labels, k):
    """Returns the share of matches that have the label of their query, in [0, 1].

    Args:
        matches: the `Matches` of the queries.
        labels: int [images], the labels of the index.
        query_labels: int [queries].
        k: the number of nearest matches to count for each query.
    """
    hits = labels[matches.indices[:, :k]] == query_labels[:, np.newaxis]
    return float(hits.mean())


def _origin(classifier, source, layer):
    """Returns the origin of a new index, see `write_index`."""
    return {
        "layer": layer,
        "images": f"{source} ({source.fingerprint})",
        "network": f"{classifier.preset.name} {classifier.fingerprint}",
    }


def _read_origin(path):
    """Returns the origin of an index, with the present names of keys and presets."""
    text = str(_read_array(path, "about"))
    try:
        origin = json.loads(text)
        preset, fingerprint = origin["network"].split(" ")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged_error(path, f"its origin is {text}") from error
    origin["network"] = f"{_RENAMED_PRESETS.get(preset, preset)} {fingerprint}"
    return {_RENAMED_ORIGIN_KEYS.get(key, key): origin[key] for key in origin}


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
    except _DAMAGE_ERRORS as error:
        raise _damaged_error(path, error) from error


def _damaged_error(path, reason):
    return ValueError(
        f"{path} is damaged or is not an index ({reason}). Build the index again with "
        "index_output."
    )


def _blocks(path, query_features, k):
    """Yields (position of the first image, [images, features]) of each block."""
    with contextlib.ExitStack() as stack:
        try:
            archive = stack.enter_context(zipfile.ZipFile(path))
            file = stack.enter_context(archive.open("features.npy"))
            np.lib.format.read_magic(file)
            (count, num_features), _, dtype = np.lib.format.read_array_header_1_0(file)
        except _DAMAGE_ERRORS as error:
            raise _damaged_error(path, error) from error
        if num_features != query_features or count < k:
            raise ValueError(
                f"Expected an index of at least {k} images with {query_features} "
                f"features each. Received: {path} with {count} images of "
                f"{num_features}. Use the layer of the index, or a smaller k."
            )
        step = max(1, _BLOCK_BYTES // (8 * num_features))
        for start in range(0, count, step):
            shape = min(step, count - start), num_features
            try:
                data = file.read(shape[0] * num_features * dtype.itemsize)
                block = np.frombuffer(data, dtype).reshape(shape)
            except _DAMAGE_ERRORS as error:
                raise _damaged_error(path, error) from error
            yield start, block


def _to_metric(vectors, metric):
    """Returns vectors in float64, scaled to length 1 for the cosine."""
    vectors = np.array(vectors, np.float64)
    if metric == "cosine":
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors /= np.maximum(lengths, 1e-12)
    return vectors


def _search_block(block, queries, metric, k):
    """Returns the indices and squared distances of the nearest images in a block.

    Both are [queries, k], or have fewer columns if the block has fewer images.
    """
    # |q - x|^2 = |q|^2 + |x|^2 - 2 q x. For the cosine all lengths count as 1. This
    # includes those of zero vectors, so that their cosine to any vector is 0.
    squared_lengths, squared_query_lengths = (
        np.ones(len(vectors))
        if metric == "cosine"
        else np.einsum("nd,nd->n", vectors, vectors)
        for vectors in (block, queries)
    )
    step = max(1, _BLOCK_BYTES // (8 * len(block)))
    parts = []
    for start in range(0, len(queries), step):
        group = slice(start, start + step)
        squares = queries[group] @ block.T
        squares *= -2
        squares += squared_lengths
        squares += squared_query_lengths[group, np.newaxis]
        np.maximum(squares, 0, out=squares)
        indices = np.broadcast_to(np.arange(len(block)), squares.shape)
        parts.append(_nearest(indices, squares, k))
    return [np.concatenate(arrays) for arrays in zip(*parts)]


def _nearest(indices, squares, k):
    """Returns the indices and squared distances of the `k` nearest images in each row.

    Both results are sorted by squared distance, then by index.
    """
    if squares.shape[1] > k:
        columns = np.argpartition(squares, k - 1, axis=1)[:, :k]
        indices = np.take_along_axis(indices, columns, axis=1)
        squares = np.take_along_axis(squares, columns, axis=1)
    order = np.lexsort((indices, squares), axis=1)
    return (
        np.take_along_axis(indices, order, axis=1),
        np.take_along_axis(squares, order, axis=1),
    )
