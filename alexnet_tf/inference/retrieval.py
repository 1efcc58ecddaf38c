"""Images that a network takes for alike: the paper's Fig. 4, right.

An index holds the features of a split on the disk; a search passes over it
once, in blocks, and is exact.
"""

import contextlib
import dataclasses
import itertools
import json
import zipfile

import keras
import numpy as np
import tensorflow as tf

from alexnet_tf.data import bad_images
from alexnet_tf.data import preprocess
from alexnet_tf.files import atomic_write
from alexnet_tf.models import alexnet

_BATCH = 64
_DAMAGES = (zipfile.BadZipFile, KeyError, ValueError, EOFError)

# Bytes of an index, and of its products with queries, held at a time.
_BLOCK = 48 * 2**20


@dataclasses.dataclass(frozen=True)
class Matches:
    """What a search has found, the nearest first.

    Attributes:
        places: int64 [Q, k], in the order of the index.
        distances: float64 [Q, k], Euclidean, or 1 - cosine.
    """

    places: np.ndarray
    distances: np.ndarray


def features(network, source, layer="fc7", verbose=1):
    """Blocks of (float32 [b, D], int32 [b], names [b]) of all images.

    Features are those of `alexnet.features` on the central view, flattened;
    layer "input" gives the pixels themselves.

    Args:
        network: a `Classifier`.
        source: a `Source`.
        layer: of the network.
        verbose: 1 for a progress bar, 0 for none.

    Raises:
        ValueError: if there is no such layer, an image can't be read, or the
            source does not hold as many as it says.
    """
    pixels, statistics = network.preset.preprocessing, network.statistics
    source.check_fits(pixels)
    extractor = alexnet.features(network.model, layer)
    extract = tf.function(lambda views: extractor(views, training=False))

    def view(example):
        image = preprocess.evaluation_image(
            example["image"], pixels, statistics
        )
        return image, example["label"], example["name"]

    batches = source.examples().map(view, num_parallel_calls=tf.data.AUTOTUNE)
    bar = keras.utils.Progbar(source.num_examples, verbose=verbose)
    done = 0
    with bad_images.diagnosing(source, lambda: (done, _BATCH)):
        for views, labels, names in batches.batch(_BATCH).prefetch(1):
            found = extract(views).numpy()
            yield found.reshape(len(found), -1), labels.numpy(), names.numpy()
            done += len(found)
            bar.update(done)


def build_index(path, network, source, layer="fc7", verbose=1):
    """Writes the `features` of all images of a source as an index.

    Args:
        path: of the file, .npz; there when it is whole.
        network, source, layer, verbose: as in `features`, errors too.
    """
    blocks = features(network, source, layer, verbose)
    about = _about(network, source, layer)
    write_index(path, blocks, source.num_examples, about)


def write_index(path, blocks, count, about):
    """Writes features as .npz, one block at a time.

    `features` [N, D], `labels` and `names` [N], and `about`, a text.

    Args:
        path: of the file; there when it is whole.
        blocks: from `features`.
        count: N.
        about: {what: text} of what they are of.
    """
    with atomic_write(path) as temporary:
        with zipfile.ZipFile(temporary, "w") as archive:
            _write_members(archive, blocks, count, about)


def read_labels(path):
    """(int32 [N], names as bytes [N]) of an index."""
    return _member(path, "labels"), _member(path, "names")


def search(path, queries, k=6, metric="l2"):
    """The `Matches` of the `k` nearest in an index to each query.

    Products are in float64: distances are right to a few 10^-8 of the vectors'
    lengths, those of near-duplicates too. Holds at most 256 MB beside the
    queries and the matches; of ImageNet's 1.28 million by 4,096 that is 1,536
    rows at a time.

    Args:
        path: of the index.
        queries: float [Q, D].
        k: how many to find.
        metric: "l2" or "cosine".

    Raises:
        ValueError: if the index is damaged, or holds other features or too few.
    """
    queries = _scaled(queries, metric)
    places = np.zeros((len(queries), 0), np.int64)
    squares = np.zeros((len(queries), 0))
    for start, block in _blocks(path, queries.shape[1], k):
        block = _scaled(block, metric)
        near, near_squares = _search_block(block, queries, metric, k)
        places, squares = _least(
            np.concatenate([places, start + near], axis=1),
            np.concatenate([squares, near_squares], axis=1),
            k,
        )
    # Of vectors of length 1, |q - x|^2 = 2 - 2 cos.
    distances = squares / 2 if metric == "cosine" else np.sqrt(squares)
    return Matches(places, distances)


def nearest_examples(
    path, network, queries, source, layer="fc7", metric="l2", k=6
):
    """[[query, its nearest, ...], ...]: examples, as Fig. 4 (right) has them.

    An image is not its own neighbor: those of the query's name are left out.
    Fewer than `k` where the index holds no more.

    Args:
        path: of an index of `source`, see `build_index`.
        network, layer: of the features that the index holds.
        queries: examples, see `Source.take_indices`.
        source: the `Source` whose examples are found.
        metric, k: as in `search`.

    Raises:
        ValueError: if the index is of another layer, network or source.
    """
    _check_about(path, _about(network, source, layer))
    vectors = features_of(network, [query["image"] for query in queries], layer)
    names = _member(path, "names")
    own = [set(np.flatnonzero(names == query["name"])) for query in queries]
    wanted = min(k + max(map(len, own)), len(names))
    found = search(path, vectors, wanted, metric).places.tolist()
    rows = [
        [place for place in row if place not in mine]
        for row, mine in zip(found, own)
    ]
    k = min(k, *map(len, rows))
    flat = iter(source.take_indices([place for row in rows for place in row[:k]]))
    return [[query, *itertools.islice(flat, k)] for query in queries]


def features_of(network, encoded, layer="fc7"):
    """float32 [N, D] of single images, as `features`.

    Args:
        network, layer: as in `features`.
        encoded: the bytes of each image.
    """
    views = [network.view(each) for each in encoded]
    extractor = alexnet.features(network.model, layer)
    return extractor(np.stack(views), training=False).numpy().reshape(
        len(views), -1
    )


def precision(matches, labels, query_labels, k):
    """Share of the `k` nearest that are of the query's class, in [0, 1]."""
    right = labels[matches.places[:, :k]] == query_labels[:, np.newaxis]
    return float(right.mean())


def _about(network, source, layer):
    return {
        "layer": layer,
        "images": f"{source} ({source.fingerprint})",
        "network": f"{network.preset.name} {network.fingerprint}",
    }


def _check_about(path, wanted):
    found = json.loads(str(_member(path, "about")))
    for what, text in wanted.items():
        if found.get(what) != text:
            raise ValueError(
                f"Expected an index whose {what} is {text}. Received: {path}, "
                f"of {found.get(what)}. Make it again with --index_output."
            )


def _write_members(archive, blocks, count, about):
    labels, names = [], []
    with archive.open("features.npy", "w", force_zip64=True) as file:
        for found, block_labels, block_names in blocks:
            if not labels:
                header = np.lib.format.header_data_from_array_1_0(found)
                header["shape"] = (count, found.shape[1])
                np.lib.format.write_array_header_1_0(file, header)
            file.write(found.tobytes())
            labels.append(block_labels)
            names.append(block_names)
    members = {
        "labels": np.concatenate(labels),
        # Of bytes of one length, for which no pickle is needed.
        "names": np.concatenate(names).astype("S"),
        "about": np.array(json.dumps(about)),
    }
    for key, array in members.items():
        with archive.open(f"{key}.npy", "w") as file:
            np.lib.format.write_array(file, array, allow_pickle=False)


def _member(path, key):
    """One array of an index."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[key]
    except _DAMAGES as error:
        raise _damaged(path, error) from error


def _damaged(path, reason):
    return ValueError(
        "Expected an index that --index_output has written. Received: "
        f"{path}, which is damaged or another file ({reason})."
    )


def _blocks(path, dimensions, k):
    """(first row, float32 [rows, D]) of an index, in order."""
    with contextlib.ExitStack() as opened:
        try:
            archive = opened.enter_context(zipfile.ZipFile(path))
            file = opened.enter_context(archive.open("features.npy"))
            np.lib.format.read_magic(file)
            (count, found), _, dtype = np.lib.format.read_array_header_1_0(file)
        except _DAMAGES as error:
            raise _damaged(path, error) from error
        if found != dimensions or count < k:
            raise ValueError(
                f"Expected an index of at least {k} images with "
                f"{dimensions} features each. Received: {path} with {count} of "
                f"{found}."
            )
        rows = max(1, _BLOCK // (8 * found))
        for start in range(0, count, rows):
            shape = min(rows, count - start), found
            try:
                data = file.read(shape[0] * found * dtype.itemsize)
                yield start, np.frombuffer(data, dtype).reshape(shape)
            except _DAMAGES as error:
                raise _damaged(path, error) from error


def _scaled(vectors, metric):
    """float64, and for the cosine of length 1."""
    vectors = np.array(vectors, np.float64)
    if metric == "cosine":
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors /= np.maximum(lengths, 1e-12)
    return vectors


def _search_block(block, queries, metric, k):
    """(places in the block, squared distances) of its nearest, [Q, k] or less."""
    # |q - x|^2 by parts. The zero vector counts as one of length 1 that is
    # like none.
    lengths, query_lengths = (
        np.ones(len(each))
        if metric == "cosine"
        else np.einsum("nd,nd->n", each, each)
        for each in (block, queries)
    )
    step = max(1, _BLOCK // (8 * len(block)))
    found = []
    for first in range(0, len(queries), step):
        group = slice(first, first + step)
        squares = queries[group] @ block.T
        squares *= -2
        squares += lengths
        squares += query_lengths[group, np.newaxis]
        np.maximum(squares, 0, out=squares)
        places = np.broadcast_to(np.arange(len(block)), squares.shape)
        found.append(_least(places, squares, k))
    return [np.concatenate(parts) for parts in zip(*found)]


def _least(places, squares, k):
    """The `k` columns of the least squares in each row, ascending."""
    if squares.shape[1] > k:
        some = np.argpartition(squares, k - 1, axis=1)[:, :k]
        places = np.take_along_axis(places, some, axis=1)
        squares = np.take_along_axis(squares, some, axis=1)
    order = np.lexsort((places, squares), axis=1)
    return (
        np.take_along_axis(places, order, axis=1),
        np.take_along_axis(squares, order, axis=1),
    )
