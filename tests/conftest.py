"""Three virtual CPU devices, so that distribution is tested on any machine."""

import fcntl
import gc
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pytest
import tensorflow as tf


def pytest_configure():
    cpus = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        cpus[0], [tf.config.LogicalDeviceConfiguration()] * 3
    )


def pytest_collection_finish():
    """What the libraries have made stays: looking through it took 8% of a run."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def pytest_addoption(parser):
    parser.addoption(
        "--large", action="store_true", help="Run the tests marked large too."
    )


def pytest_collection_modifyitems(config, items):
    if config.getoption("--large"):
        return
    skip = pytest.mark.skip(reason="large: give --large to run it")
    for item in items:
        if "large" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def textures_folder(tmp_path_factory):
    """The data_dir where textures is drawn, once for all processes."""
    from alexnet_tf.data import datasets

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with open(folder / "textures.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        datasets.load("textures", "train", str(folder / "textures"))
    return folder / "textures"


@pytest.fixture
def make_source(tmp_path):
    """make_source(count): a `Source` of small JPEGs in 10 classes."""
    from alexnet_tf.data.source import Source

    def make(count, name="images", mean=128, classes=10):
        random = np.random.default_rng(count)
        images = [
            tf.io.encode_jpeg(
                np.clip(random.normal(mean, 60, (72, 80, 3)), 0, 255).astype(
                    np.uint8
                )
            ).numpy()
            for _ in range(count)
        ]
        return Source(
            name,
            "train",
            tuple(str(label) for label in range(classes)),
            count,
            str(tmp_path),
            f"{name} {count} {mean}",
            lambda shuffle_seed: tf.data.Dataset.from_tensor_slices(
                {
                    "image": images,
                    "label": np.arange(count, dtype=np.int32) % classes,
                    "name": [f"{name} {index}" for index in range(count)],
                }
            ),
        )

    return make


@pytest.fixture
def image_folder(make_source, tmp_path):
    """20 images of 10 classes in class folders, for `folder:`."""
    for example in make_source(20).examples().as_numpy_iterator():
        name = example["name"].decode()
        folder = tmp_path / "images" / name[-1]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.jpg").write_bytes(example["image"])
    return tmp_path / "images"


@pytest.fixture(autouse=True)
def uncompiled_augmentation(request, monkeypatch):
    """Pipelines are made hundreds of times here, at .2 seconds of XLA each.

    Tests marked `compiled` hold them against these.
    """
    from alexnet_tf.data import preprocess

    if "compiled" not in request.keywords:
        monkeypatch.setattr(preprocess, "_compiled", preprocess._uncompiled)


@pytest.fixture
def zero_kernels(monkeypatch):
    """For tests of shapes: 61 million numbers take a second to draw."""
    import keras

    def zeros(self, shape, dtype=None):
        return tf.zeros(shape, dtype or "float32")

    monkeypatch.setattr(keras.initializers.RandomNormal, "__call__", zeros)


@pytest.fixture
def skip_figures(monkeypatch):
    """Runs write what they would draw, in place of a fifth of their time.

    The images themselves: test_plots.
    """
    from alexnet_tf import plots

    def write(shown, path, *_):
        pathlib.Path(path).write_text(repr(shown))

    monkeypatch.setattr(plots, "curves", write)
    monkeypatch.setattr(plots, "kernels", write)
