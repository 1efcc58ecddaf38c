"""Which features of TFDS's data sets are taken as images and labels."""

import importlib.util

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from alexnet_tf.data import datasets
from alexnet_tf.data import preprocess
from alexnet_tf.data import tfds_features
from alexnet_tf.data import tfds_source
from helpers.encoded_images import preprocessing_of

IMAGE = tfds.features.Image(shape=(None, None, 3))
LABEL = tfds.features.ClassLabel(names=["a", "b", "c"])
COUNT = 8


@pytest.fixture
def make_data_set(tmp_path):
    """A function that prepares a data set "made", and returns its data_dir.

    make_data_set(features, example, supervised_keys=None, splits=("train",)):
        features: {name: feature}.
        example: a function from the index, 0 to 7, to {name: value}.
        supervised_keys, splits: as in TFDS.
    """

    def make(features, example, supervised_keys=None, splits=("train",)):
        class Made(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.0.0")
            pkg_dir_path = None
            name = "made"

            def _info(self):
                return tfds.core.DatasetInfo(
                    builder=self,
                    features=tfds.features.FeaturesDict(features),
                    supervised_keys=supervised_keys,
                )

            def _split_generators(self, dl_manager):
                return {split: self._generate_examples() for split in splits}

            def _generate_examples(self):
                for index in range(COUNT):
                    yield index, example(index)

        Made(data_dir=str(tmp_path)).download_and_prepare()
        return str(tmp_path)

    with tfds.core.registered.skip_registration():
        yield make


def gray_level(index):
    return 10 * index + 5


def image(index, dtype=np.uint8, shape=(4, 5, 3)):
    return np.full(shape, gray_level(index), dtype)


def levels_and_labels(source):
    """Returns {gray level: label} of a source of images of one color."""
    pairs = {}
    for example in source.examples():
        assert example["label"].dtype == tf.int32
        square = preprocess.center_square(example["image"], preprocessing_of("tiny"))
        assert np.ptp(square) == 0
        pairs[int(square[0, 0, 0])] = int(example["label"])
    return pairs


EXPECTED = {gray_level(index): index % 3 for index in range(COUNT)}


def test_warns_of_a_directory_that_does_not_exist(tmp_path, monkeypatch, caplog):
    """It may be misspelled, and downloads may take hours."""
    monkeypatch.setattr(tfds_source, "_prepare", lambda builder: None)
    for folder in (tmp_path, tmp_path / "tdfs"):
        tfds_source._prepared_builder("textures", str(folder), None, None)
    messages = [
        record.getMessage()
        for record in caplog.records
        if record.name == tfds_source.__name__
    ]
    assert messages == [
        f"{tmp_path}/tdfs does not exist. It is created now, and textures is prepared "
        "in it."
    ]


def test_integers_without_names_are_classes(make_data_set):
    data_dir = make_data_set(
        {"image": IMAGE, "label": np.uint8},
        lambda index: {"image": image(index), "label": index % 3},
    )
    source = datasets.load("made", "train[:5]", data_dir)
    assert source.classes == ("0", "1", "2") and source.num_examples == 5
    source = datasets.load("made", "train", data_dir)
    assert levels_and_labels(source) == EXPECTED


@pytest.mark.parametrize("largest, is_valid", [(999, True), (1000, False)])
def test_identifiers_are_not_classes(make_data_set, largest, is_valid):
    data_dir = make_data_set(
        {"image": IMAGE, "label": np.int64},
        lambda index: {"image": image(index), "label": largest * (index == 5)},
    )
    if is_valid:
        assert len(datasets.load("made", "train", data_dir).classes) == 1000
        return
    message = 'Received: 1000, the largest "label" of made. .*--label_key'
    with pytest.raises(ValueError, match=message):
        datasets.load("made", "train", data_dir)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3), (4, 5, 4)])
def test_takes_a_tensor_of_bytes_as_images(make_data_set, shape):
    data_dir = make_data_set(
        {"image": tfds.features.Tensor(shape=shape, dtype=np.uint8), "label": LABEL},
        lambda index: {"image": image(index, shape=shape), "label": index % 3},
    )
    source = datasets.load("made", "train", data_dir)
    assert levels_and_labels(source) == EXPECTED and source.classes == ("a", "b", "c")


@pytest.mark.parametrize(
    "shape, encoding", [((None, None, 3), "zlib"), ((4, 5, 3), "bytes")]
)
def test_takes_an_encoded_tensor_as_images(make_data_set, shape, encoding):
    """TFDS requires an encoding if the height and the width are not known."""
    feature = tfds.features.Tensor(shape=shape, dtype=np.uint8, encoding=encoding)
    data_dir = make_data_set(
        {"image": feature, "label": LABEL},
        lambda index: {"image": image(index), "label": index % 3},
    )
    source = datasets.load("made", "train", data_dir)
    assert levels_and_labels(source) == EXPECTED


def test_keeps_every_pixel_of_a_tensor(make_data_set):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    data_dir = make_data_set(
        {"image": tfds.features.Tensor(shape=(64, 64, 3), dtype=np.uint8),
         "label": LABEL},
        lambda index: {"image": pixels, "label": 0},
    )  # fmt: skip
    example = next(iter(datasets.load("made", "train", data_dir).examples()))
    preprocessing = preprocessing_of("tiny", image_size=64, crop_size=64)
    square = preprocess.center_square(example["image"], preprocessing)
    np.testing.assert_array_equal(square, pixels)


def test_the_high_byte_of_16_bits_is_used(make_data_set):
    feature = tfds.features.Image(shape=(4, 5, 1), dtype=np.uint16)
    data_dir = make_data_set(
        {"image": feature, "label": LABEL},
        lambda index: {
            "image": image(index, np.uint16, (4, 5, 1)) * 256 + 255, "label": index % 3
        },
    )
    source = datasets.load("made", "train", data_dir)
    assert levels_and_labels(source) == EXPECTED


FEATURES_AND_PROBLEMS = [
    ({"image": tfds.features.Image(shape=(4, 5, 1), dtype=np.float32)}, "image",
     r"Image of float32, shape \(4, 5, 1\). .*integers, pixels from 0 to 255"),
    ({"image": tfds.features.Tensor(shape=(4, 5, 3), dtype=np.float32)}, "image",
     r"Tensor of float32, shape \(4, 5, 3\)."),
    ({"image": tfds.features.Tensor(shape=(4, 5, 2), dtype=np.uint8)}, "image",
     r"Tensor of uint8, shape \(4, 5, 2\)."),
    ({"image": tfds.features.Sequence(IMAGE)}, "image", "a Sequence of Image."),
    ({"image": tfds.features.Text()}, "image", "Text."),
    ({"label": tfds.features.Text()}, "label", "Text."),
    ({"label": tfds.features.Sequence(LABEL)}, "label", "a Sequence of ClassLabel."),
    ({"label": tfds.features.Sequence({"kind": LABEL, "box": np.float32})}, "label",
     "a Sequence of FeaturesDict. Convert the data set"),
    ({"label": np.float32}, "label",
     r"Tensor of float32, shape \(\). .*integers, labels from 0"),
    ({"label": tfds.features.Text(), "kind": LABEL}, "label",
     "Text. Choose another feature with --label_key: kind."),
]  # fmt: skip


@pytest.mark.parametrize("changes, key, problem", FEATURES_AND_PROBLEMS)
def test_names_a_feature_of_another_type_and_its_type(tmp_path, changes, key, problem):
    features = {"image": IMAGE, "label": LABEL} | changes

    class Other(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = None
        name = "other"

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {}

        def _generate_examples(self):
            yield from ()

    message = f'Received: the feature "{key}" of other, {problem}'
    with pytest.raises(ValueError, match=message):
        tfds_features.find_keys(Other(data_dir=str(tmp_path)))


KEYED = {"image": IMAGE, "label": LABEL, "photo": IMAGE, "kind": LABEL}


def keyed_example(index):
    values = {"image": image(index), "label": index % 3}
    return values | {"photo": image(index) + 100, "kind": (index + 1) % 3}


def test_other_features_can_be_named(make_data_set):
    data_dir = make_data_set(KEYED, keyed_example)
    load = datasets.load
    default = load("made", "train", data_dir)
    named = load("made", "train", data_dir, image_key="photo", label_key="kind")
    assert levels_and_labels(default) == EXPECTED
    assert levels_and_labels(named) == {
        gray_level(index) + 100: (index + 1) % 3 for index in range(COUNT)
    }
    assert default.fingerprint != named.fingerprint
    assert default.example_ids() == named.example_ids()


@pytest.mark.parametrize(
    "supervised_keys, features, expected_offset",
    [
        (("photo", "kind"), KEYED, 0),
        (("photo", "kind"), {"photo": IMAGE, "kind": LABEL}, 1),
        (("kind", "photo"), KEYED, 0),
    ],
)
def test_supervised_keys_replace_missing_features(
    make_data_set, supervised_keys, features, expected_offset
):
    def example(index):
        values = keyed_example(index)
        return {key: values[key] for key in features}

    data_dir = make_data_set(features, example, supervised_keys)
    source = datasets.load("made", "train", data_dir)
    assert levels_and_labels(source) == {
        gray_level(index) + 100 * expected_offset: (index + expected_offset) % 3
        for index in range(COUNT)
    }


def test_rejects_a_feature_that_does_not_exist(make_data_set):
    data_dir = make_data_set(KEYED, keyed_example)
    message = '"image" and "sort". Received: made with image, kind, label, photo'
    with pytest.raises(ValueError, match=message):
        datasets.load("made", "train", data_dir, label_key="sort")
    with pytest.raises(ValueError, match=message):
        datasets.split_names("made", data_dir, label_key="sort")
    with pytest.raises(ValueError, match="Expected no image_key or label_key for"):
        datasets.load("folder:x", "train", label_key="sort")


def test_the_largest_label_of_train_determines_the_classes_of_all_splits(make_data_set):
    data_dir = make_data_set(
        {"image": IMAGE, "label": np.int64},
        lambda index: {"image": image(index), "label": index % 3},
        splits=("train", "test"),
    )
    assert datasets.load("made", "test[:1]", data_dir).classes == ("0", "1", "2")


def test_hugging_face_needs_a_package(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install datasets"):
        datasets.load("huggingface:mnist", "train")


def test_says_why_a_data_set_of_hugging_face_cannot_be_loaded(monkeypatch):
    def fail(name, data_dir):
        raise RuntimeError("Failed to load") from ConnectionError("no network\nmore")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(tfds_source.tfds, "builder", fail)
    message = "huggingface:mnist could not be loaded.*: ConnectionError: no network$"
    with pytest.raises(OSError, match=message):
        datasets.load("huggingface:mnist", "train")
