"""Data sets that TFDS has prepared in the file format ArrayRecord."""

import importlib.util
import sys
import types

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from alexnet_tf.data import array_records
from alexnet_tf.data import datasets
from alexnet_tf.data import input_pipeline
from alexnet_tf.data import pixel_statistics
from alexnet_tf.training import loop
from helpers.commands import command
from helpers.encoded_images import preprocessing_of
from helpers.runs import small_preset

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("array_record") is None,
    reason="The package array_record is not installed.",
)


class Packed(tfds.core.GeneratorBasedBuilder):
    """24 images of the classes a, b and c, with an integer as a second label."""

    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = None
    name = "packed"

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(80, 80, 3)),
            "label": tfds.features.ClassLabel(names=["a", "b", "c"]),
            "kind": np.int64,
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features)
        )

    def _split_generators(self, dl_manager):
        return {
            "train": self._generate_examples(16), "test": self._generate_examples(8)
        }

    def _generate_examples(self, count):
        for index in range(count):
            image = np.full((80, 80, 3), 10 * index, np.uint8)
            yield index, {"image": image, "label": index % 3, "kind": index % 5}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """The data_dir of the data set, whose training split has three files."""
    folder = str(tmp_path_factory.mktemp("array_record"))
    Packed(data_dir=folder, file_format="array_record").download_and_prepare(
        download_config=tfds.download.DownloadConfig(num_shards=3)
    )
    return folder


def examples_of(source, seed=None):
    """Returns [(gray level, label, name), ...]."""
    return [
        (
            int(tf.io.decode_image(example["image"])[0, 0, 0]),
            int(example["label"]),
            example["name"].numpy().decode(),
        )
        for example in source.examples(seed)
    ]


@needs_package
@pytest.mark.parametrize("split", ["train", "train[3:9]", "train[14:]+test[:3]"])
def test_the_order_is_that_of_tfds(data_dir, split):
    source = datasets.load("packed", split, data_dir)
    expected = [
        (int(example["image"][0, 0, 0]), int(example["label"]))
        for example in tfds.builder("packed", data_dir=data_dir).as_data_source(split)
    ]
    examples = examples_of(source)
    assert [example[:2] for example in examples] == expected
    assert source.num_examples == len(expected)
    assert source.classes == ("a", "b", "c")
    # A name consists of the name of the file and the position of the example in it.
    names = [name for *_, name in examples]
    assert len(set(names)) == len(names)
    files = {name.partition("__")[0] for name in names}
    assert all("array_record-0000" in name for name in files)
    assert split != "train" or len(files) == 3


@needs_package
def test_all_examples_are_shuffled(data_dir):
    source = datasets.load("packed", "train", data_dir)
    in_order = examples_of(source)
    orders = [examples_of(source, seed) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    for order in orders:
        assert order != in_order and sorted(order) == sorted(in_order)


@needs_package
def test_a_resumed_epoch_has_the_same_batches(data_dir):
    source = datasets.load("packed", "train", data_dir)
    preprocessing = preprocessing_of("tiny")
    statistics = pixel_statistics.compute(source, preprocessing, verbose=0)

    def labels(first_step):
        batches = input_pipeline.training_batches(
            source, preprocessing, statistics, batch_size=4, seed=0, epoch=1, steps=4,
            first_step=first_step,
        )  # fmt: skip
        return [batch_labels.numpy().tolist() for _, batch_labels in batches]

    assert labels(0)[2:] == labels(2) and len(labels(0)) == 4


@needs_package
def test_classes_without_names_are_named_by_numbers(data_dir):
    source = datasets.load("packed", "train", data_dir, label_key="kind")
    assert source.classes == ("0", "1", "2", "3", "4")
    assert all(label == level // 10 % 5 for level, label, _ in examples_of(source))


@needs_package
def test_names_a_damaged_file(tmp_path, data_dir):
    builder = Packed(data_dir=str(tmp_path), file_format="array_record")
    builder.download_and_prepare()
    (path,) = tmp_path.rglob("*-train.array_record*")
    content = bytearray(path.read_bytes())
    content[100:110] = bytes(10)
    path.write_bytes(content)
    source = datasets.load("packed", "train", str(tmp_path))
    for remove in (False, True):
        if remove:
            path.unlink()
        with pytest.raises(OSError, match="packed, split train could not be read") as e:
            source.take_indices([0])
        assert "\n" not in str(e.value)
    assert path.name in str(e.value)


@needs_package
def test_a_data_service_is_refused(data_dir, tmp_path):
    source = datasets.load("packed", "train", data_dir)
    with pytest.raises(ValueError, match="ArrayRecord.*Leave the data service out"):
        loop.train(
            small_preset(), source, source, str(tmp_path), data_service="host:1"
        )


@needs_package
@pytest.mark.large
def test_commands_read_the_format(data_dir, tmp_path):
    data = ["--dataset=packed", f"--data_dir={data_dir}"]
    run = f"{tmp_path}/run"
    for args in (
        ["train", *data, "--preset=tiny", "--epochs=1", f"--workdir={run}"],
        ["evaluate", f"--weights={run}"],
        ["prepare", *data, f"--output_dir={tmp_path}/copy", "--image_size=73"],
    ):
        code, _, err = command(*args)
        assert code == 0, err
    original = datasets.load("packed", "train", data_dir)
    copy = datasets.load("packed_73", "train", f"{tmp_path}/copy")
    assert [label for _, label, _ in examples_of(original)] == [
        label for _, label, _ in examples_of(copy)
    ]


def test_positions_and_names_of_parts_of_files(monkeypatch):
    """The package is replaced by a list of records."""

    class Records(list):
        def __init__(self, parts):
            super().__init__(
                f"{part.filename} {part.skip + i}".encode()
                for part in parts
                for i in range(part.take)
            )

        def __getitems__(self, positions):
            return [self[position] for position in positions]

    class Features:
        def deserialize_example(self, record, decoders):
            return {"image": record}

    module = types.SimpleNamespace(ArrayRecordDataSource=Records)
    name = "array_record.python.array_record_data_source"
    for parent in ("array_record", "array_record.python"):
        monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
    monkeypatch.setitem(sys.modules, name, module)
    parts = [
        types.SimpleNamespace(filename="/d/x-0", skip=4, take=2, examples_in_shard=6),
        types.SimpleNamespace(filename="/d/x-1", skip=0, take=1, examples_in_shard=5),
    ]
    info = types.SimpleNamespace(
        splits={"s": types.SimpleNamespace(file_instructions=parts)}, features=None
    )
    decoders = types.SimpleNamespace(
        extract_features=lambda _: Features(), decoders=None
    )
    builder = types.SimpleNamespace(info=info)
    pairs = [("/d/x-0 4", "x-0__4"), ("/d/x-0 5", "x-0__5"), ("/d/x-1 0", "x-1__0")]
    shuffled = np.random.default_rng(3).permutation(3)
    for seed, order in ((None, [0, 1, 2]), (3, shuffled)):
        examples = array_records.as_dataset(builder, "s", decoders, seed)
        assert [
            (example["image"].numpy().decode(), example["tfds_id"].numpy().decode())
            for example in examples
        ] == [pairs[position] for position in order]


def test_names_the_package_that_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    info = types.SimpleNamespace(full_name="packed/1.0.0")
    builder = types.SimpleNamespace(
        name="packed", data_path="/data/packed/1.0.0", info=info
    )
    with pytest.raises(ModuleNotFoundError, match="pip install array_record") as error:
        array_records.check_installed(builder)
    assert str(error.value).endswith(
        "tfds convert_format --dataset_version_dir=/data/packed/1.0.0 "
        "--out_file_format=tfrecord --out_dir=/data_tfrecord/packed/1.0.0"
    )
