"""Options and fixtures of all tests, which run on three virtual CPU devices.

With virtual devices, distributed training is tested on any machine. The tests of
`pytest --gpu` run on GPUs instead, see tests/gpu.
"""

import fcntl
import gc
import os
import pathlib
import sys

# The experiments are not installed with the package, but imported from the repository.
# Its root is the last entry of the path, so that an installed package is tested.
sys.path.append(str(pathlib.Path(__file__).parents[1]))

# TensorFlow reads both variables when it is imported. Rewriting the many small graphs
# for oneDNN takes an eighth of the time of a test run, so only long runs use oneDNN.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1" if "--large" in sys.argv else "0")
# Collecting garbage while libraries load finds none and takes a second.
gc.disable()

import numpy as np
import pytest

from helpers import gpu_machine


def pytest_configure(config):
    # The process that only distributes the tests need not wait for TensorFlow.
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        gc.enable()
        return
    import tensorflow as tf

    if config.getoption("--gpu"):
        gpu_machine.configure_gpus()
        return
    cpus = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        cpus[0], [tf.config.LogicalDeviceConfiguration()] * 3
    )


def pytest_collection_finish():
    """Keeps the garbage collector from traversing the libraries.

    Otherwise it takes 8% of the time of a test run.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    gc.enable()


def pytest_addoption(parser):
    parser.addoption(
        "--large", action="store_true", help="Also run the tests marked large."
    )
    parser.addoption(
        "--gpu",
        action="store_true",
        help="Run the tests marked gpu on the GPUs of this machine, and no others.",
    )
    parser.addoption(
        "--pretend_gpu",
        action="store_true",
        help="Run the tests marked gpu on virtual CPU devices, to test these tests.",
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    # A process takes all memory of the GPUs.
    return 0 if config.getoption("--gpu") else None


def pytest_collection_modifyitems(config, items):
    uses_gpu = config.getoption("--gpu") or config.getoption("--pretend_gpu")
    skipped = {
        "large": not config.getoption("--large") and "pass --large to run it",
        "gpu": not uses_gpu and "pass --gpu to run it",
    }
    for mark, reason in skipped.items():
        for item in items:
            if reason and mark in item.keywords:
                item.add_marker(pytest.mark.skip(reason=f"{mark}: {reason}"))
    if uses_gpu:
        items[:] = [item for item in items if "gpu" in item.keywords]
        gpu_machine.note_promises(items)


def pytest_terminal_summary(terminalreporter, config):
    if config.getoption("--gpu") or config.getoption("--pretend_gpu"):
        gpu_machine.report_promises(terminalreporter)


@pytest.fixture(scope="session")
def gpus(request):
    """The names of the GPUs, such as "/device:GPU:0"; skips without one.

    With --pretend_gpu, they are the second and the third CPU device.
    """
    return gpu_machine.gpu_names(request.config.getoption("--pretend_gpu"))


@pytest.fixture(scope="session")
def textures_data_dir(tmp_path_factory):
    """The data_dir of the data set textures, generated once for all test processes."""
    from alexnet_tf.data import datasets

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with open(folder / "textures.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        datasets.load("textures", "train", str(folder / "textures"))
    return folder / "textures"


@pytest.fixture
def textures_by_default(monkeypatch, textures_data_dir):
    """Makes the data set textures load from `textures_data_dir` by default."""
    from alexnet_tf.data import tfds_source

    load_builder = tfds_source._builder
    monkeypatch.setattr(
        tfds_source,
        "_builder",
        lambda name, data_dir: load_builder(name, data_dir or str(textures_data_dir)),
    )


@pytest.fixture
def make_source(tmp_path):
    """A function that returns a `Source` of random JPEGs, 72 pixels high and 80 wide.

    make_source(count, name="images", mean=128, classes=10):
        count: the number of images; also the random seed of their pixels.
        name: the name of the data set. The name of an example is "NAME INDEX".
        mean: the mean of the pixels before they are clipped to [0, 255].
        classes: the number of classes. The label is the index modulo `classes`.
    """
    import tensorflow as tf

    from alexnet_tf.data.source import Source

    def make(count, name="images", mean=128, classes=10):
        rng = np.random.default_rng(count)
        images = [
            tf.io.encode_jpeg(
                np.clip(rng.normal(mean, 60, (72, 80, 3)), 0, 255).astype(np.uint8)
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
    """A folder of 20 images in 10 class folders, for the data set `folder:PATH`."""
    for example in make_source(20).examples().as_numpy_iterator():
        name = example["name"].decode()
        folder = tmp_path / "images" / name[-1]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.jpg").write_bytes(example["image"])
    return tmp_path / "images"


@pytest.fixture(autouse=True)
def uncompiled_augmentation(request, monkeypatch):
    """Augments without XLA, which takes .2 seconds to compile each pipeline.

    The tests make hundreds of pipelines. Tests that are marked `compiled` use XLA.
    """
    from alexnet_tf.data import preprocess

    if "compiled" not in request.keywords:
        monkeypatch.setattr(preprocess, "_compiled", preprocess._uncompiled)


@pytest.fixture(scope="session")
def traced_formats():
    """A list of one item: whether all decoders were used in the last tracing.

    Before any function is traced, the item is None.
    """
    return [None]


@pytest.fixture(autouse=True)
def fewer_formats(request, monkeypatch, traced_formats):
    """Leaves out the decoders of GIF and of rare kinds of BMP.

    Their 1,100 operations take a third of the time of a short training run, because
    each start of a pipeline optimizes them. Tests that are marked `all_formats` use
    all decoders.
    """
    import tensorflow as tf

    from alexnet_tf.data import bad_images
    from alexnet_tf.data import decode
    from alexnet_tf.data import preprocess

    uses_all = "all_formats" in request.keywords
    if traced_formats != [uses_all]:
        traced_formats[:] = [uses_all]
        # These functions keep the decoders with which they were traced.
        preprocess._decoder.cache_clear()
        bad_images._ensure_readable = tf.function(
            decode.ensure_readable, autograph=False
        )
    if not uses_all:
        decode_image = decode._decode_image
        monkeypatch.setattr(decode, "_decode_other", decode_image)
        monkeypatch.setattr(
            decode,
            "_shape_of_other",
            lambda encoded: tf.shape(decode_image(encoded))[:2],
        )


@pytest.fixture
def zero_kernels(monkeypatch):
    """Makes `RandomNormal` initializers return 0.

    A full-size network is then built a second faster, because 61 million random
    numbers are not drawn. Other initializers are not changed.
    """
    import keras
    import tensorflow as tf

    def zeros(self, shape, dtype=None):
        return tf.zeros(shape, dtype or "float32")

    monkeypatch.setattr(keras.initializers.RandomNormal, "__call__", zeros)


@pytest.fixture
def figures_as_text(monkeypatch):
    """Makes training runs write the data of their figures as text instead of PNGs.

    Plotting takes a fifth of the time of such a run. test_plots.py tests the PNGs.
    """
    from alexnet_tf import plots

    def write_as_text(data, path, *_):
        pathlib.Path(path).write_text(repr(data))

    monkeypatch.setattr(plots, "curves", write_as_text)
    monkeypatch.setattr(plots, "kernels", write_as_text)


@pytest.fixture
def simulated_steps(monkeypatch):
    """Makes training runs read their images, but compute no network."""
    from helpers import simulation

    simulation.simulate_steps(monkeypatch)


@pytest.fixture
def simulated_runs(monkeypatch):
    """Makes training runs read no images and compute no network."""
    from helpers import simulation

    simulation.simulate_runs(monkeypatch)
