"""Pictures that a network takes for alike: the paper's Fig. 4, right.

An index holds the features of a split on the disk; a search passes over it
once, in blocks, and is exact.
"""

import contextlib
import dataclasses
import zipfile

import keras
import numpy as np
import tensorflow as tf

from alexnet_tf import datasets
from alexnet_tf import models
from alexnet_tf import preprocess

_BATCH = 64
# Bytes of an index that are held at a time.
_BLOCK = 256 * 2**20


@dataclasses.dataclass(frozen=True)
class Matches:
    """What a search has found, the nearest first.

    Attributes:
        places: int64 [Q, k], in the order of the index.
        distances: float32 [Q, k], Euclidean, or 1 - cosine.
    """

    places: np.ndarray
    distances: np.ndarray


def features(network, source, layer="fc7", verbose=1):
    """Blocks of (float32 [b, D], int32 [b], names [b]) of all pictures.

    Features are those of `models.features` on the central view, flattened;
    layer "input" gives the pixels themselves.

    Args:
        network: a `classifier.Classifier`.
        source: a `datasets.Source`.
        layer: of the network.
        verbose: 1 for a progress bar, 0 for none.

    Raises:
        ValueError: if there is no such layer, a picture can't be read, or the
            source does not hold as many as it says.
    """
    pixels, statistics = network.preset.preprocessing, network.statistics
    extractor = models.features(network.model, layer)
    extract = tf.function(lambda views: extractor(views, training=False))

    def view(example):
        image = preprocess.evaluation_image(
            example["image"], pixels, statistics
        )
        return image, example["label"], example["name"]

    batches = source.examples().map(view, num_parallel_calls=tf.data.AUTOTUNE)
    bar = keras.utils.Progbar(source.num_examples, verbose=verbose)
    done = 0
    with datasets.explained(source, lambda: (done, _BATCH)):
        for views, labels, names in batches.batch(_BATCH).prefetch(1):
            found = extract(views).numpy()
            yield found.reshape(len(found), -1), labels.numpy(), names.numpy()
            done += len(found)
            bar.update(done)


def features_of(network, encoded, layer="fc7"):
    """float32 [N, D] of single pictures, as `features`.

    Args:
        network, layer: as in `features`.
        encoded: the bytes of each picture.
    """
    views = [network.view(each) for each in encoded]
    extractor = models.features(network.model, layer)
    return extractor(np.stack(views), training=False).numpy().reshape(
        len(views), -1
    )


def write_index(path, blocks, count):
    """Writes features as .npz: `features` [N, D], `labels` and `names` [N].

    Holds one block at a time.

    Args:
        path: of the file.
        blocks: from `features`.
        count: N.
    """
    labels, names = [], []
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("features.npy", "w", force_zip64=True) as file:
            for found, block_labels, block_names in blocks:
                if not labels:
                    header = np.lib.format.header_data_from_array_1_0(found)
                    header["shape"] = (count, found.shape[1])
                    np.lib.format.write_array_header_1_0(file, header)
                file.write(found.tobytes())
                labels.append(block_labels)
                names.append(block_names)
        for key, arrays in (("labels", labels), ("names", names)):
            with archive.open(f"{key}.npy", "w") as file:
                whole = np.concatenate(arrays)
                # Of bytes of one length, for which no pickle is needed.
                whole = whole.astype("S") if key == "names" else whole
                np.lib.format.write_array(file, whole, allow_pickle=False)


def read_labels(path):
    """(int32 [N], names as bytes [N]) of an index."""
    with np.load(path, allow_pickle=False) as arrays:
        return arrays["labels"], arrays["names"]


def search(path, queries, k=6, metric="l2"):
    """The `Matches` of the `k` nearest in an index to each query.

    Holds at most 256 MB of the index at a time, and for each query as many
    numbers as a block has rows: of ImageNet's 1.28 million by 4,096 that is
    16,384 at a time.

    Args:
        path: of the index.
        queries: float32 [Q, D].
        k: how many to find.
        metric: "l2" or "cosine".

    Raises:
        ValueError: if the index holds other features or too few.
    """
    queries = _scaled(queries, metric)
    best = np.full((len(queries), 0), 0, np.int64), np.zeros((len(queries), 0))
    for start, block in _blocks(path, queries.shape[1], k):
        block = _scaled(block, metric)
        # |q - x|^2, of which |q|^2 is the same for all and comes last. The
        # zero vector counts as one of length 1 that is like none.
        lengths = 1 if metric == "cosine" else (block**2).sum(axis=1)
        squares = lengths - 2 * queries @ block.T
        places = np.arange(start, start + len(block))
        places = np.broadcast_to(places, squares.shape)
        best = _nearest(
            np.concatenate([best[0], places], axis=1),
            np.concatenate([best[1], squares], axis=1),
            k,
        )
    lengths = 1 if metric == "cosine" else (queries**2).sum(1, keepdims=True)
    squares = best[1] + lengths
    squares = np.maximum(squares, 0)
    # Of vectors of length 1, |q - x|^2 = 2 - 2 cos.
    distances = squares / 2 if metric == "cosine" else np.sqrt(squares)
    return Matches(best[0], distances.astype(np.float32))


def nearest_examples(
    path, network, queries, source, layer="fc7", metric="l2", k=6
):
    """[[query, its nearest, ...], ...]: examples, as Fig. 4 (right) has them.

    Args:
        path: of an index of `source`.
        network, layer: of the features that the index holds.
        queries: examples, see `datasets.Source.examples`, as NumPy values.
        source: the `datasets.Source` whose examples are found.
        metric, k: as in `search`.
    """
    vectors = features_of(network, [query["image"] for query in queries], layer)
    places = search(path, vectors, k, metric).places
    wanted = set(places.ravel().tolist())
    found = {
        int(place): example
        for place, example in source.examples().enumerate().as_numpy_iterator()
        if place in wanted
    }
    return [
        [query, *(found[place] for place in row)]
        for query, row in zip(queries, places.tolist())
    ]


def precision(matches, labels, query_labels, k):
    """Share of the `k` nearest that are of the query's class, in [0, 1]."""
    right = labels[matches.places[:, :k]] == query_labels[:, np.newaxis]
    return float(right.mean())


def _blocks(path, dimensions, k):
    """(first row, float32 [rows, D]) of an index, in order."""
    with contextlib.ExitStack() as opened:
        try:
            archive = opened.enter_context(zipfile.ZipFile(path))
            file = opened.enter_context(archive.open("features.npy"))
            np.lib.format.read_magic(file)
            (count, found), _, dtype = np.lib.format.read_array_header_1_0(file)
        except (zipfile.BadZipFile, KeyError, ValueError) as error:
            raise ValueError(
                "Expected an index that --index_out has written. Received: "
                f"{path}, which is damaged or another file ({error})."
            ) from error
        if found != dimensions or count < k:
            raise ValueError(
                f"Expected an index of at least {k} pictures with "
                f"{dimensions} features each. Received: {path} with {count} of "
                f"{found}."
            )
        rows = max(1, _BLOCK // (found * dtype.itemsize))
        for start in range(0, count, rows):
            size = min(rows, count - start) * found * dtype.itemsize
            yield start, np.frombuffer(file.read(size), dtype).reshape(-1, found)


def _scaled(vectors, metric):
    vectors = np.asarray(vectors, np.float32)
    if metric == "l2":
        return vectors
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, 1e-12)


def _nearest(places, squares, k):
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
