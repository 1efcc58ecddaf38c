"""The names of the ImageNet classes, and readable predictions."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

import alexnet_tf
from alexnet_tf.models.labels import decode_predictions
from alexnet_tf.models.labels import find_class
from alexnet_tf.models.labels import imagenet_classes


def test_imagenet_classes_are_sorted_by_wordnet_id():
    wnids = list(imagenet_classes())
    assert len(wnids) == 1000 and wnids == sorted(wnids)
    features = tfds.builder("imagenet2012").info.features
    assert wnids == features["label"].names


@pytest.mark.parametrize(
    "index, wnid, name",
    [
        (0, "n01440764", "tench"),
        # The source of this entry and of the next two is caffe_classes.py of
        # kratzert/finetune_alexnet_with_tensorflow.
        (150, "n02077923", "sea lion"),
        (340, "n02391049", "zebra"),
        (355, "n02437616", "llama"),
        (999, "n15075141", "toilet tissue"),
    ],
)
def test_imagenet_classes_have_the_published_indices(index, wnid, name):
    assert list(imagenet_classes().items())[index] == (wnid, name)


def test_most_probable_classes_come_first():
    probabilities = np.full((2, 1000), 1e-4)
    probabilities[0, [355, 340]] = [0.5, 0.4]
    probabilities[1, 150] = 0.9
    predictions = alexnet_tf.decode_predictions(probabilities, top=2)
    assert predictions == [
        [("n02437616", "llama", 0.5), ("n02391049", "zebra", 0.4)],
        [("n02077923", "sea lion", 0.9), ("n01440764", "tench", 1e-4)],
    ]


def test_ids_are_wordnet_ids_if_known_and_indices_otherwise():
    probabilities = np.array([[0.1, 0.7, 0.2]], np.float32)
    ((first, second, third),) = decode_predictions(
        probabilities, classes=("a", "b", "c")
    )
    assert first[:2] == (1, "b") and first[2] == pytest.approx(0.7)
    assert [second[:2], third[:2]] == [(2, "c"), (0, "a")]
    (predictions,) = decode_predictions(
        probabilities, 1, classes=("n02437616", "n01440764", "dog")
    )
    assert predictions[0][:2] == ("n01440764", "tench")


def test_tied_classes_keep_their_order():
    (predictions,) = decode_predictions(np.full((1, 4), 0.25), classes="abcd")
    assert [name for _, name, _ in predictions] == list("abcd")


@pytest.mark.parametrize(
    "shape, classes, message",
    [
        ((2, 10), None, r"\[B, 1000\]. Received: shape \[2, 10\]"),
        ((1000,), None, r"\[B, 1000\]"),
        ((2, 3), "ab", r"\[B, 2\]"),
    ],
)
def test_rejects_probabilities_without_a_column_per_class(shape, classes, message):
    with pytest.raises(ValueError, match=message):
        decode_predictions(np.zeros(shape), classes=classes)


def test_rejects_a_top_of_zero():
    with pytest.raises(ValueError, match="top=0"):
        decode_predictions(np.zeros((1, 1000)), top=0)


@pytest.mark.parametrize("top", [1.5, "3", None])
def test_top_must_be_an_integer(top):
    with pytest.raises(ValueError, match="top to be an integer of at least 1.*top="):
        decode_predictions(np.full((1, 4), 0.25), top, "abcd")
    (predictions,) = decode_predictions(np.full((1, 4), 0.25), np.int64(2), "abcd")
    assert len(predictions) == 2


def test_rejects_nan():
    with pytest.raises(ValueError, match="Received: NaN"):
        decode_predictions([[0.5, np.nan]], classes="ab")


@pytest.mark.parametrize(
    "row", [[2.5, -1.5], [3.0, 4.0], [0.0, 0.0], [0.4, 0.4], [np.inf, 0.0]]
)
def test_warns_about_values_that_are_not_probabilities(row):
    with pytest.warns(UserWarning, match="Expected probabilities.*softmax") as record:
        ((first, second),) = decode_predictions([[1, 0], row], classes="ab")[1:]
    assert first[2] == max(row) and second[2] == min(row)
    assert record[0].filename == __file__


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_does_not_warn_about_rounded_probabilities(dtype):
    logits = np.random.default_rng(0).normal(0, 5, (20, 1000)).astype("float32")
    probabilities = tf.cast(tf.nn.softmax(logits), dtype)
    assert len(decode_predictions(probabilities)) == 20
    assert decode_predictions(np.zeros((0, 1000))) == []


@pytest.mark.parametrize(
    "name, index",
    [("dog", 1), ("n01440764", 2), ("tench", 2), ("0", 0), (1, 1), ("7", 3)],
)
def test_find_class_takes_names_wordnet_ids_and_indices(name, index):
    """The name of a class takes precedence over the index of another."""
    assert find_class(name, ["cat", "dog", "n01440764", "7"]) == index


@pytest.mark.parametrize(
    "name, message",
    [
        ("dgo", "such as dog, or its index from 0 to 2. Received: dgo"),
        ("3", "such as cat, dog, cow, or its index from 0 to 2. Received: 3"),
        ("-1", "Received: -1"),
        ("crane", "of the classes 134, 517. Give one of"),
    ],
)
def test_find_class_rejects_unknown_and_ambiguous_names(name, message):
    classes = ["cat", "dog", "cow"] if name != "crane" else imagenet_classes()
    with pytest.raises(ValueError, match=message):
        find_class(name, classes)
