"""Tests the features of many images against those of single images."""

import dataclasses
import os

import h5py
import keras
import numpy as np
import pytest

import alexnet_tf
from alexnet_tf.data import datasets
from alexnet_tf.data import preprocess
from alexnet_tf import inference
from alexnet_tf.inference import extraction
from alexnet_tf.inference import retrieval
from alexnet_tf.models.weights import save_weights
from helpers.images import source_with_bad_third
from helpers.images import write_image_folder
from helpers.networks import untrained_classifier


@dataclasses.dataclass(frozen=True)
class Setup:
    """A network, its weights file, and a folder of six images in two class folders."""

    classifier: inference.classifier.Classifier
    weights: str
    images: str

    def extract(self, images, layers=("fc6",), **options):
        """Returns what `extract_features` does, for batches of four images."""
        options = dict(preset="tiny", batch_size=4, verbose=0) | options
        return inference.extract_features(self.weights, images, layers, **options)

    def paths(self):
        return [
            f"{self.images}/class{label}/{index}.jpg"
            for label in range(2)
            for index in range(3)
        ]

    def crops(self, path, ten_crop=False):
        """Returns the input of the model for one image, [crops, H, W, 3]."""
        with open(path, "rb") as file:
            encoded = file.read()
        if not ten_crop:
            return self.classifier.center_crop(encoded)[np.newaxis]
        preprocessing = self.classifier.preset.preprocessing
        return preprocess.ten_crop(encoded, preprocessing, self.classifier.statistics)

    def features(self, path, layer, ten_crop=False):
        """Returns the features of the crops of one image, [crops, ...]."""
        model = alexnet_tf.features(self.classifier.model, layer)
        return model(self.crops(path, ten_crop), training=False).numpy()


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    folder = tmp_path_factory.mktemp("extraction")
    classifier = untrained_classifier()
    weights = str(folder / "weights.safetensors")
    save_weights(classifier.model, weights)
    write_image_folder(folder / "images", classes=2, count=3)
    return Setup(classifier, weights, str(folder / "images"))


@pytest.fixture
def bad_folder(setup, tmp_path):
    """A folder with the images 0.jpg, 2.jpg and 5.jpg, and unreadable ones."""
    folder = tmp_path / "bad"
    folder.mkdir()
    for index in (0, 2, 5):
        os.link(setup.paths()[index], folder / f"{index}.jpg")
    for index in (1, 3, 4):
        (folder / f"{index}.jpg").write_text("no image")
    return str(folder)


def test_several_layers_equal_the_features_of_each_image(setup):
    result = setup.extract(setup.images, ["fc6", "conv5", "norm1", "input"])
    assert result.names == setup.paths()
    assert result.labels is None and result.errors == []
    assert [*result.features] == ["fc6", "conv5", "norm1", "input"]
    assert result.features["conv5"].shape == (6, 3, 3, 32)
    for layer, array in result.features.items():
        expected = np.stack([setup.features(path, layer)[0] for path in result.names])
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, expected, rtol=1e-6, atol=1e-6)
        assert expected.std(axis=0).max() > 1e-3


def test_the_default_layer_is_the_penultimate(setup):
    path = setup.paths()[0]
    result = setup.extract(path, None)
    np.testing.assert_allclose(
        result.features["fc7"], setup.features(path, "fc7"), rtol=1e-6, atol=1e-6
    )


def test_pooling_averages_maps_over_height_and_width(setup):
    layers = ["conv5", "fc6"]
    pooled = setup.extract(setup.images, layers, pool="mean").features
    whole = setup.extract(setup.images, layers).features
    assert pooled["conv5"].shape == (6, 32)
    np.testing.assert_allclose(
        pooled["conv5"], whole["conv5"].mean(axis=(1, 2)), rtol=1e-6, atol=1e-6
    )
    np.testing.assert_array_equal(pooled["fc6"], whole["fc6"])


def test_ten_crop_averages_the_features_of_the_ten_crops(setup):
    result = setup.extract(setup.images, ["conv5", "fc6"], ten_crop=True)
    for layer, array in result.features.items():
        of_crops = [setup.features(path, layer, True) for path in result.names]
        assert len(of_crops[0]) == 10
        np.testing.assert_allclose(
            array, np.mean(of_crops, axis=1), rtol=1e-5, atol=1e-6
        )


def test_the_network_is_loaded_with_all_of_its_arguments(setup, monkeypatch):
    def load(*arguments):
        assert arguments == ("weights", "caffe", "caffe", "mean.npy")
        return setup.classifier

    monkeypatch.setattr(extraction, "load_classifier", load)
    arguments = dict(preset="caffe", layout="caffe", mean="mean.npy")
    path = setup.paths()[0]
    result = inference.extract_features("weights", path, verbose=0, **arguments)
    assert result.names == [path]


def test_data_sets_give_labels_and_keep_their_order(setup):
    data = f"folder:{setup.images}"
    result = setup.extract(None, dataset=data, split="train[:5]")
    examples = [*datasets.load(data, "train[:5]").examples().as_numpy_iterator()]
    assert result.names == [os.fsdecode(example["name"]) for example in examples]
    assert result.names != sorted(result.names)
    assert result.labels.tolist() == [example["label"] for example in examples]
    assert result.labels.dtype == np.int32
    expected = [setup.features(path, "fc6")[0] for path in result.names]
    np.testing.assert_allclose(
        result.features["fc6"], expected, rtol=1e-6, atol=1e-6
    )


def test_the_data_set_of_a_run_is_the_default(setup, tmp_path, monkeypatch):
    (tmp_path / "flags.txt").write_text(
        f"--dataset=folder:{setup.images}\n--eval_split=train[4:]\n"
    )
    monkeypatch.setattr(extraction, "load_classifier", lambda *_: setup.classifier)
    result = inference.extract_features(str(tmp_path), layers="fc7", verbose=0)
    expected = setup.extract(
        None, "fc7", dataset=f"folder:{setup.images}", split="train[4:]"
    )
    assert result.names == expected.names and len(result.names) == 2
    np.testing.assert_array_equal(result.features["fc7"], expected.features["fc7"])


def test_lists_give_labels_only_if_all_images_have_one(setup, tmp_path):
    list_file = tmp_path / "list.txt"
    list_file.write_text(f"{setup.paths()[4]} 12\n{setup.paths()[1]} 7\n")
    result = setup.extract(f"list:{list_file}")
    assert result.names == [setup.paths()[4], setup.paths()[1]]
    assert result.labels.tolist() == [12, 7]
    mixed = setup.extract([f"list:{list_file}", setup.paths()[0]])
    assert len(mixed.names) == 3 and mixed.labels is None


@pytest.mark.parametrize("batch_size", [1, 4])
def test_goes_on_past_unreadable_images(setup, bad_folder, batch_size):
    """With batches of one image, there are batches without a readable image."""
    patterns = [f"{bad_folder}/missing*.png", bad_folder]
    result = setup.extract(patterns, batch_size=batch_size)
    assert result.names == [f"{bad_folder}/{index}.jpg" for index in (0, 2, 5)]
    expected = [setup.features(path, "fc6")[0] for path in result.names]
    np.testing.assert_allclose(
        result.features["fc6"], expected, rtol=1e-6, atol=1e-6
    )
    names, reasons = zip(*result.errors)
    assert [*names] == [
        f"{bad_folder}/missing*.png",
        *(f"{bad_folder}/{index}.jpg" for index in (1, 3, 4)),
    ]
    assert reasons[0] == "No such file or directory"
    for reason in reasons[1:]:
        assert reason.startswith(
            "8 bytes that cannot be decoded as a JPEG, PNG, BMP, GIF or WebP image: "
            "Unknown"
        )


def test_goes_on_past_unreadable_images_that_are_not_files(make_source):
    source = source_with_bad_third(make_source, image=b"no image")
    classifier = untrained_classifier()
    blocks = extraction.feature_blocks(
        classifier, source, ["fc6"], batch_size=4, verbose=0
    )
    first, second = blocks
    assert first.names == ["images 0", "images 1", "images 3"]
    assert first.labels.tolist() == [0, 1, 3] and second.labels.tolist() == [4, 5]
    ((name, reason),) = first.errors
    assert name == "images 2" and reason.startswith("8 bytes that cannot")
    good = [*make_source(6).examples().as_numpy_iterator()]
    model = alexnet_tf.features(classifier.model, "fc6")
    for index, row in zip((0, 1, 3), first.features["fc6"]):
        crop = classifier.center_crop(good[index]["image"])
        np.testing.assert_allclose(row, model(crop[None])[0], rtol=1e-6, atol=1e-6)


def test_stops_at_the_first_unreadable_image_on_request(setup, bad_folder):
    message = r"readable images. Received: .*/1.jpg: 8 bytes.*on_bad_image=\"skip\""
    with pytest.raises(ValueError, match=message):
        setup.extract(bad_folder, on_bad_image="error")


def test_an_error_leaves_the_existing_file(setup, bad_folder, tmp_path):
    """The error is in the second batch, after the first has been written."""
    folder = tmp_path / "output"
    folder.mkdir()
    (folder / "f.npz").write_text("old")
    options = dict(batch_size=1, on_bad_image="error", output=folder / "f.npz")
    with pytest.raises(ValueError, match="1.jpg"):
        setup.extract(bad_folder, **options)
    assert (folder / "f.npz").read_text() == "old"
    assert [path.name for path in folder.iterdir()] == ["f.npz"]


def read_file(path):
    """Returns the arrays of a .npz, .npy or .h5 file, with names as strings."""
    if path.suffix == ".npz":
        return dict(np.load(path, allow_pickle=False))
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            arrays = {key: values[:] for key, values in file.items()}
            return arrays | {"names": file["names"].asstr()[:]}
    lines = path.with_suffix(".names.txt").read_text(encoding="utf-8").splitlines()
    names, labels = zip(*(line.split("\t") for line in lines))
    return {"fc6": np.load(path), "names": names, "labels": np.array(labels, int)}


def test_files_hold_what_the_call_returns(setup, bad_folder, tmp_path, monkeypatch):
    """Two of the eight images of the list are unreadable. Each is read only once."""
    blocks, feature_blocks = [], extraction.feature_blocks

    def recorded_blocks(classifier, source, layers, **options):
        if not blocks:
            blocks.extend(feature_blocks(classifier, source, layers, **options))
        for block in blocks:
            features = {layer: block.features[layer] for layer in layers}
            yield dataclasses.replace(block, features=features)

    monkeypatch.setattr(extraction, "feature_blocks", recorded_blocks)
    list_file = tmp_path / "list.txt"
    paths = [*setup.paths()[::-1], *(f"{bad_folder}/{index}.jpg" for index in (1, 3))]
    paths.insert(1, paths.pop())
    lines = [f"{path} {label}\n" for label, path in enumerate(paths, 5)]
    list_file.write_text("".join(lines), encoding="utf-8")
    images = f"list:{list_file}"
    expected = setup.extract(images, ["fc6", "conv5"])
    assert expected.labels.tolist() == [5, 7, 8, 9, 10, 11]
    assert len(expected.errors) == 2
    for extension in (".npz", ".npy", ".h5"):
        path = tmp_path / f"f{extension}"
        layers = ["fc6"] if extension == ".npy" else ["fc6", "conv5"]
        written = setup.extract(images, layers, output=path)
        assert written.features is None and written.errors == expected.errors
        arrays = read_file(path)
        assert arrays.keys() == {*layers, "names", "labels"}
        for layer in layers:
            np.testing.assert_array_equal(arrays[layer], expected.features[layer])
        for names in (written.names, arrays["names"]):
            assert [*names] == expected.names
        for labels in (written.labels, arrays["labels"]):
            np.testing.assert_array_equal(labels, expected.labels)


def test_no_file_is_written_without_a_readable_image(setup, tmp_path):
    message = r"at least one readable image. Received: 1 .*\*.png: No such file"
    with pytest.raises(ValueError, match=message):
        setup.extract(f"{tmp_path}/*.png", output=tmp_path / "f.npy")
    assert not [*tmp_path.iterdir()]


def test_an_unknown_layer_is_reported_before_any_data_is_read(setup, monkeypatch):
    with pytest.raises(ValueError, match="Expected one of the layers .*layer='fc9'"):
        setup.extract(None, ["fc6", "fc9"], dataset="folder:missing")


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(pool="max"), "Expected pool \"mean\" or None. Received: pool='max'"),
        (dict(on_bad_image="stop"), "\"skip\" or \"error\". Received: on_bad_image='s"),
        (dict(batch_size=0), "batch_size of at least 1. Received: batch_size=0"),
        (dict(dataset="cifar10"), "images or a data set.*images and dataset='cifar10'"),
        (dict(output="f.txt"), "Expected output to end in one of .npz"),
        (dict(images=None), "Expected images or a data set.*weights=missing alone"),
    ],
)
def test_rejects_unusable_arguments(options, message, monkeypatch):
    """Only the last of these errors needs the network."""
    if options.keys() == {"images"}:
        monkeypatch.setattr(
            extraction, "load_classifier", lambda *_: untrained_classifier()
        )
    arguments = dict(images="*.png", verbose=0) | options
    with pytest.raises(ValueError, match=message):
        inference.extract_features("missing", **arguments)


@pytest.mark.parametrize("count", [9, 12])
def test_rejects_a_source_with_a_wrong_count(make_source, count):
    source = dataclasses.replace(make_source(count), num_examples=11)
    blocks = extraction.feature_blocks(
        untrained_classifier(), source, ["fc6"], batch_size=5, verbose=0
    )
    with pytest.raises(ValueError, match="Expected 11 images"):
        [*blocks]


def test_rejects_images_that_were_resized_differently(make_source):
    squashed = dataclasses.replace(
        make_source(3), prepared={"image_size": 73, "resize": "squash"}
    )
    blocks = extraction.feature_blocks(
        untrained_classifier(), squashed, ["fc6"], verbose=0
    )
    with pytest.raises(ValueError, match="which was prepared"):
        next(blocks)


def test_a_tilde_in_the_output_stands_for_the_home_directory(
    setup, tmp_path, monkeypatch
):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    setup.extract(setup.paths()[:2], output="~/a.npy")
    assert np.load(tmp_path / "a.npy").shape == (2, 128)
    assert sorted(os.listdir(tmp_path)) == ["a.names.txt", "a.npy"]


@pytest.fixture(
    params=[
        pytest.param("mixed_float16", marks=pytest.mark.large), "mixed_bfloat16"
    ]
)  # fmt: skip
def half_precision(request):
    """Sets the dtype policy of new layers to one of half precision."""
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield
    keras.config.set_dtype_policy(previous)


def test_features_of_half_precision_are_float32(setup, tmp_path, half_precision):
    """NumPy and HDF5 do not know bfloat16."""
    layers = ["fc6", "conv2"]
    result = setup.extract(setup.images, layers, pool="mean")
    for name in ("a.npz", "a.h5"):
        setup.extract(setup.images, layers, pool="mean", output=str(tmp_path / name))
    with np.load(tmp_path / "a.npz") as npz, h5py.File(tmp_path / "a.h5") as hdf5:
        for layer in layers:
            expected = result.features[layer]
            assert expected.dtype == np.float32
            for file in (npz, hdf5):
                assert file[layer].dtype == np.float32
                np.testing.assert_array_equal(file[layer][:], expected)
    # The policy of `setup.classifier` is float32.
    exact = setup.features(setup.paths()[0], "fc6")[0]
    np.testing.assert_allclose(
        result.features["fc6"][0], exact, atol=0.05 * np.abs(exact).max()
    )
    model = alexnet_tf.inference.load_classifier(setup.weights, "tiny")
    with open(setup.paths()[0], "rb") as file:
        vectors = retrieval.features_of(model, [file.read()], "fc6")
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(
        vectors[0], result.features["fc6"][0], atol=0.02 * np.abs(exact).max()
    )
