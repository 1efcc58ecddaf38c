"""A run that meets an unreadable image after it was stopped."""

import shutil
import signal

import numpy as np
import pytest

from alexnet_tf.data.bad_images import BadImageError
from alexnet_tf import train
from alexnet_tf.training.loop import TrainingInterrupted
from alexnet_tf.training.run import train_dataset
from alexnet_tf.workdir import read_flags
from helpers.images import write_image_folder
from helpers.runs import CallAtStep
from helpers.runs import final_arrays
from helpers.runs import run_metrics
from helpers.runs import shallow_preset


def train_an_epoch(folder, name, **options):
    """Trains for 4 steps of 3 images, from where a run of that name was stopped."""
    return train_dataset(
        f"folder:{folder}/data", shallow_preset(epochs=1), str(folder / name),
        eval_split="train", batch_size=3, **options,
    )  # fmt: skip


@pytest.mark.large
@pytest.mark.usefixtures("figures_as_text", "simulated_steps")
def test_a_stopped_run_can_be_resumed_without_unreadable_images(tmp_path, caplog):
    """Without such images, the weights are those of an uninterrupted run."""
    write_image_folder(tmp_path / "data")
    train_an_epoch(tmp_path, "straight")
    stop = CallAtStep(2, lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(TrainingInterrupted, match="after step 2"):
        train_an_epoch(tmp_path, "stopped", log_steps=1, callbacks=[stop])
    shutil.copytree(tmp_path / "stopped", tmp_path / "damaged")

    skip = dict(on_bad_image="skip", max_bad_images=1)
    train_an_epoch(tmp_path, "stopped", log_steps=2, **skip)
    expected, arrays = (final_arrays(tmp_path / run) for run in ("straight", "stopped"))
    assert expected.keys() == arrays.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)
    assert read_flags(str(tmp_path / "stopped"))["on_bad_image"] == "skip"

    (tmp_path / "data" / "class1" / "4.jpg").write_bytes(b"no image")
    with pytest.raises(BadImageError, match="class1/4.jpg") as e:
        train_an_epoch(tmp_path, "damaged")
    # Without the image, the run could not be resumed.
    assert str(e.value).endswith(" Repair the image.")
    assert train_an_epoch(tmp_path, "damaged", **skip)["bad_images"] == 1
    warning = f"Unreadable image left out: {tmp_path}/data/class1/4.jpg."
    assert [message for message in caplog.messages if "left out" in message] == [
        warning
    ]
    lines = run_metrics(tmp_path / "damaged")
    counts = [line["bad_images"] for line in lines if line["split"] == "eval"]
    assert counts == [1] and lines[-1]["step"] == 4


def test_the_error_for_an_unreadable_image_has_the_command_that_skips_it(
    monkeypatch, capsys
):
    def fail(**_):
        raise BadImageError("Received: x.jpg.")

    monkeypatch.setattr("alexnet_tf.training.run.train_dataset", fail)
    monkeypatch.setattr("sys.argv", ["train", "--dataset=folder:my images"])
    with pytest.raises(SystemExit, match="Received: x.jpg. Repair the image or") as e:
        train.main(["train"])
    command = "--dataset=folder:my images' --on_bad_image=skip"
    assert str(e.value).endswith(command)
    assert str(BadImageError("A.")) == (
        "A. Repair the image or remove it from the data set."
    )
