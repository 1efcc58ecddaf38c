"""Views that other processes make: a dispatcher and two workers on this machine."""

import pathlib
import re
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

PIXELS = presets.get("tiny").preprocessing
KNOWN = pixel_statistics.imagenet(PIXELS)


@pytest.fixture(scope="module")
def service():
    """HOST:PORT of a dispatcher with two workers, started as a user would."""
    processes = []

    def start(*args):
        process = subprocess.Popen(
            [sys.executable, "-m", "alexnet_tf.serve_data", "--address=localhost",
             *args],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            cwd=pathlib.Path(__file__).parents[2],
        )  # fmt: skip
        processes.append(process)
        return process.stdout.readline()

    try:
        said = start()
        address = re.fullmatch(r"The dispatcher, at (localhost:\d+)\.\n", said)[1]
        for _ in range(2):
            assert start(f"--dispatcher={address}") == f"A worker of {address}.\n"
        yield address
    finally:
        for process in processes:
            process.kill()


@pytest.fixture
def source(image_folder):
    return datasets.load(f"folder:{image_folder}", "train")


def epoch(source, service, **changes):
    settings = dict(batch_size=4, seed=1, epoch=0, steps=5) | changes
    return list(
        input_pipeline.training_batches(
            source, PIXELS, KNOWN, data_service=service, **settings
        ).as_numpy_iterator()
    )


def views(batches):
    """{(label, bytes of a view)}"""
    return {
        (label, image.tobytes())
        for images, labels in batches
        for image, label in zip(images, labels)
    }


def test_an_epoch_has_each_image_once(source, service):
    """In whatever order, and again with the same views."""
    batches = epoch(source, service)
    labels = np.concatenate([labels for _, labels in batches])
    assert sorted(labels) == sorted(2 * list(range(10)))
    once = views(batches)
    assert len(once) == 20 and once == views(epoch(source, service))
    assert not once & views(epoch(source, service, epoch=1))
    assert not once & views(epoch(source, service, seed=2))


def test_the_views_are_those_made_here(source, service, monkeypatch):
    """By the same function: of the place that a name stands for."""
    monkeypatch.setattr(
        input_pipeline, "_map_on_data_service", lambda examples, view, *_: examples.map(
            lambda example: view(
                input_pipeline.index_from_name(example["name"]), example
            )
        )
    )
    here = views(epoch(source, service))
    monkeypatch.undo()
    assert views(epoch(source, service)) == here


def test_an_epoch_that_goes_on_has_the_steps_left(source, service):
    assert len(epoch(source, service, first_step=3)) == 2
    # Two devices: each has half of a batch.
    halves = epoch(source, service, num_replicas=2)
    assert len(halves) == 10 and halves[0][0].shape[0] == 2


def test_training_takes_its_views_from_the_service(source, service, tmp_path):
    args = (
        f"--dataset={source.name}", "--eval_split=train", "--preset=tiny",
        "--epochs=1", "--batch_size=4", f"--workdir={tmp_path}/run",
    )  # fmt: skip
    code, out, err = command("train", *args, f"--data_service={service}")
    assert code == 0, err
    assert "Validation error" in out
    assert "data_service" not in (tmp_path / "run" / "flags.txt").read_text()


def test_a_bad_image_is_named(source, service, tmp_path, monkeypatch):
    """Though where it came in the epoch is not known here."""
    monkeypatch.setattr(pixel_statistics, "load_or_compute", lambda *_: KNOWN)
    bad = next((tmp_path / "images" / "3").iterdir())
    bad.write_bytes(b"\xff\xd8\xff junk")
    preset = presets.override(presets.get("tiny"), batch_size=4, epochs=1)
    (tmp_path / "run").mkdir()
    with pytest.raises(ValueError, match=re.escape(str(bad))):
        loop.train(
            preset, source, source, str(tmp_path / "run"), data_service=service
        )


@pytest.mark.parametrize(
    "flags, says",
    [
        (["--data_service=host"], "dispatcher's HOST:PORT. Received: 'host'"),
        (["--data_service=localhost:9"], "data service at localhost:9. Received"),
        (["--data_service=localhost:9", "--cache"], "--data_service or --cache"),
    ],
)
def test_what_can_t_be_is_refused(flags, says, tmp_path):
    code, _, err = command("train", f"--workdir={tmp_path}", *flags)
    assert code == 1 and says in err


def test_a_port_that_is_none_is_refused():
    with pytest.raises(ConnectionError, match="localhost:99999"):
        data_service.check_dispatcher("localhost:99999")
