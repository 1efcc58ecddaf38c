"""Training on crops from a data service: a dispatcher and two workers."""

import pathlib
import re
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest

from alexnet_tf.data import data_service
from alexnet_tf.data import datasets
from alexnet_tf.data import input_pipeline
from alexnet_tf.data import pixel_statistics
from alexnet_tf import presets
from alexnet_tf.training import loop
from helpers.commands import command
from helpers.runs import shallow_preset

PREPROCESSING = presets.get("tiny").preprocessing
STATISTICS = pixel_statistics.imagenet(PREPROCESSING)


@pytest.fixture(scope="module")
def service():
    """The HOST:PORT of a dispatcher with two workers.

    One worker is a process of its own, which cannot call Python code of this one.
    """
    dispatcher = data_service.dispatcher(0)
    address = "localhost:" + dispatcher.target.rpartition(":")[2]
    worker = data_service.worker(address, 0, "localhost")
    process = subprocess.Popen(
        [sys.executable, "-m", "alexnet_tf.serve_data", "--address=localhost",
         f"--dispatcher={address}"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        cwd=pathlib.Path(__file__).parents[2],
    )  # fmt: skip
    try:
        assert process.stdout.readline() == f"A worker of {address}.\n"
        yield address
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 128 + signal.SIGINT
    finally:
        process.kill()
    del worker


def test_the_command_starts_a_dispatcher(monkeypatch):
    class Server:
        target = "grpc://0.0.0.0:81"

        def join(self):
            print("Joined.")

    def dispatcher(port):
        assert port == 80
        return Server()

    monkeypatch.setattr(data_service, "dispatcher", dispatcher)
    code, out, err = command("serve_data", "--address=localhost", "--port=80")
    assert code == 0 and out == "The dispatcher, at localhost:81.\nJoined.\n", err


@pytest.fixture
def source(image_folder):
    return datasets.load(f"folder:{image_folder}", "train")


def epoch_batches(source, service, **changes):
    """Returns the training batches of an epoch, [(images, labels), ...]."""
    settings = dict(batch_size=4, seed=1, epoch=0, steps=5) | changes
    return list(
        input_pipeline.training_batches(
            source, PREPROCESSING, STATISTICS, data_service=service, **settings
        ).as_numpy_iterator()
    )


def crops(batches):
    """Returns the set of all (label, bytes of the crop) in batches."""
    return {
        (label, image.tobytes())
        for images, labels in batches
        for image, label in zip(images, labels)
    }


def test_an_epoch_has_each_image_once(source, service):
    """Seed and epoch determine the crops, but not their order."""
    batches = epoch_batches(source, service)
    labels = np.concatenate([labels for _, labels in batches])
    assert sorted(labels) == sorted(2 * list(range(10)))
    first = crops(batches)
    assert len(first) == 20 and first == crops(epoch_batches(source, service))
    assert not first & crops(epoch_batches(source, service, epoch=1))
    assert not first & crops(epoch_batches(source, service, seed=2))


def test_crops_equal_those_of_the_local_pipeline(source, service, monkeypatch):
    """Both seed the augmentation of an image with an index hashed from its name."""

    def map_locally(examples, augment, *_):
        return examples.map(
            lambda example: augment(
                input_pipeline.index_from_name(example["name"]), example
            )
        )

    with monkeypatch.context() as patch:
        patch.setattr(input_pipeline, "_map_on_data_service", map_locally)
        local_crops = crops(epoch_batches(source, service))
    assert crops(epoch_batches(source, service)) == local_crops


def test_a_resumed_epoch_has_the_remaining_steps(source, service):
    assert len(epoch_batches(source, service, first_step=3)) == 2
    # Each of two devices has half of a batch.
    halves = epoch_batches(source, service, num_replicas=2)
    assert len(halves) == 10 and halves[0][0].shape[0] == 2


@pytest.mark.large
def test_training_takes_its_crops_from_the_service(source, service, tmp_path):
    """The service, too, skips unreadable images."""
    next((tmp_path / "images" / "3").iterdir()).write_bytes(b"no image")
    args = (
        f"--dataset={source.name}", "--eval_split=train", "--preset=tiny",
        "--epochs=1", "--batch_size=4", f"--workdir={tmp_path}/run",
        "--ablate=norm,conv2,conv3,conv4,conv5",
    )  # fmt: skip
    code, out, err = command(
        "train", *args, f"--data_service={service}", "--on_bad_image=skip"
    )
    assert code == 0, err
    assert "(center crop, 19 images, 1 unreadable left out)" in out
    assert "data_service" not in (tmp_path / "run" / "flags.txt").read_text()


@pytest.mark.usefixtures("simulated_steps")
def test_training_names_a_bad_image(source, service, tmp_path, monkeypatch):
    """The error of a worker does not contain the position of the image in the epoch."""
    monkeypatch.setattr(pixel_statistics, "load_or_compute", lambda *_: STATISTICS)
    bad = next((tmp_path / "images" / "3").iterdir())
    bad.write_bytes(b"\xff\xd8\xff junk")
    preset = shallow_preset(batch_size=4, epochs=1)
    (tmp_path / "run").mkdir()
    with pytest.raises(ValueError, match=re.escape(str(bad))):
        loop.train(
            preset, source, source, str(tmp_path / "run"), data_service=service
        )


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--data_service=host"], "dispatcher's HOST:PORT. Received: 'host'"),
        (
            ["--data_service=localhost:9"],
            "no dispatcher of a data service at localhost:9:",
        ),
        (["--data_service=localhost:9", "--cache"], "--data_service or --cache"),
    ],
)
def test_training_rejects_an_unusable_service(flags, message, tmp_path):
    code, _, err = command("train", f"--workdir={tmp_path}", *flags)
    assert code == 1 and message in err


def test_a_port_that_cannot_be_used_is_named():
    with socket.create_server(("", 0)) as other_program:
        port = other_program.getsockname()[1]
        code, _, err = command("serve_data", f"--port={port}")
    assert code == 1 and f"cannot listen on port {port} (" in err
    code, _, err = command("serve_data", "--port=65536")
    assert code == 1 and "--port" in err and "65535" in err


@pytest.mark.parametrize(
    "address",
    [
        "localhost:99999",
        # Looking up the name takes six seconds.
        pytest.param("no..host:80", marks=pytest.mark.large),
    ],
)
def test_rejects_an_invalid_address(address):
    with pytest.raises(ConnectionError, match=address):
        data_service.check_dispatcher(address)
