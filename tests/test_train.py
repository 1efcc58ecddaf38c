"""The train command, as a user would type it."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

from absl import flags
from absl.testing import flagsaver
import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.data import pixel_statistics
from alexnet_tf import presets
from alexnet_tf import train
from alexnet_tf.training import run
from alexnet_tf.training.run import resolve_preset
from alexnet_tf.workdir import read_network
from helpers.images import write_image_folder
from helpers.runs import layers_of

ROOT = pathlib.Path(__file__).parents[1]

pytestmark = pytest.mark.usefixtures("skip_figures")


def command(*args):
    """Runs the command in this process; returns why it exited, or None."""
    with flagsaver.flagsaver():
        flags.FLAGS.unparse_flags()
        flags.FLAGS(["train", *args])
        try:
            train.main(["train"])
        except SystemExit as exit:
            return exit.code


@pytest.fixture
def images(tmp_path):
    """Flags for a run of two steps on 12 images."""
    data = write_image_folder(tmp_path / "data")
    return [
        f"--dataset={data}",
        "--eval_split=train",
        "--preset=tiny",
        "--batch_size=6",
        "--epochs=1",
        f"--workdir={tmp_path / 'run'}",
    ]


def python(*args):
    return subprocess.run(
        [sys.executable, "-m", "alexnet_tf.train", *args],
        capture_output=True,
        text=True,
    )


def test_help_names_every_flag_and_needs_no_tensorflow(tmp_path):
    for name in ("tensorflow", "keras", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported')")
    done = subprocess.run(
        [sys.executable, "-m", "alexnet_tf.train", "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
    )
    for flag in train._RUN + train._FINE_TUNING + train._PRESET:
        pattern = rf"--(\[no\])?{flag.name}:"
        assert re.search(pattern, done.stdout), flag.name + done.stderr
        assert len(flags.FLAGS[flag.name].help) > 10


def test_the_main_job_for_one_epoch(tmp_path, textures_folder):
    """No flags but where to, and how long."""
    done = python(
        "--epochs=1", f"--data_dir={textures_folder}", f"--workdir={tmp_path}/run"
    )
    assert done.returncode == 0, done.stderr
    assert "Validation error: top-1 " in done.stdout
    for line in done.stdout.splitlines()[-4:]:
        assert os.path.exists(line)
    settings = (tmp_path / "run" / "flags.txt").read_text().splitlines()
    assert "--preset=tiny" in settings
    assert "--eval_split=validation" in settings
    assert "--learning_rate=0.01" in settings


def test_flags_txt_is_a_flagfile_of_the_same_run(tmp_path, images):
    assert command(*images, "--learning_rate=0.02", "--noflip") is None
    resolved = tmp_path / "run" / "flags.txt"
    before = resolved.read_text()
    again = [f"--flagfile={resolved}", f"--workdir={tmp_path / 'run'}"]
    assert command(*again) is None
    assert resolved.read_text() == before
    assert "--flip=False\n" in before and "--learning_rate=0.02\n" in before


@pytest.mark.parametrize("dataset, name", [("textures", "tiny"), ("x", "paper")])
def test_the_preset_follows_the_data_set(dataset, name):
    assert resolve_preset(dataset) == presets.get(name)


def test_flags_override_single_values():
    with flagsaver.flagsaver():
        flags.FLAGS.unparse_flags()
        flags.FLAGS(
            ["train", "--boundaries=3,5", "--schedule=step", "--mean=channel"]
        )
        arguments = train._arguments()
    overrides = {name: arguments[name] for name in presets.OVERRIDES}
    preset = resolve_preset(arguments["dataset"], **overrides)
    assert preset.recipe.boundaries == (3, 5)
    assert preset.recipe.schedule == "step"
    assert preset.preprocessing.mean == "channel"
    assert preset.recipe.batch_size == 32


def test_drops_are_whole_numbers():
    with flagsaver.flagsaver(), pytest.raises(
        flags.IllegalFlagValueError, match="boundaries=.*'a'.*: must be epochs"
    ):
        flags.FLAGS(["train", "--boundaries=3,a"])


@pytest.mark.large
def test_devices_may_change_when_resuming(images):
    assert command(*images, "--num_devices=2") is None
    assert command(*images, "--num_devices=3") is None


def test_a_slash_at_the_end_is_no_part_of_the_name(
    tmp_path, images, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    args = [arg for arg in images if not arg.startswith("--workdir")]
    assert command(*args, f"--dataset=folder:{tmp_path}/data/") is None
    assert os.listdir(tmp_path / "runs") == ["data-tiny"]


@pytest.mark.parametrize(
    "change, message",
    [
        ("--dataset=nothing_like_it", "nothing_like_it"),
        ("--dataset=folder:/nowhere", "/nowhere"),
        ("--dataset=list:/nowhere.txt", "/nowhere.txt"),
        ("--eval_split=test", "one of the splits train.*split='test'"),
        ("--train_split=trian[:5]", "split='trian"),
        ("--batch_size=13", "12 images, batch_size=13"),
        ("--weights=/nowhere.npy", "exists at /nowhere.npy"),
        ("--reinit=fc8", "reinit=fc8 alone"),
        ("--freeze=fc9", "freeze to name some of the layers conv1.*fc9"),
        ("--train_layers=fc9", "train_layers some of conv1.*: fc9"),
        ("--lr_mult=fc9:2", "lr_mult to name some of the layers conv1.*fc9"),
        ("--weights=", "an empty --weights"),
        ("--train_layers=", "an empty --train_layers"),
        ("--weights=x.npy --reinit=fc8 --freeze=fc8", "reinit to name .* trained"),
        ("--freeze=fc6 --lr_mult=fc6:2", "layers that are trained.*fc6, frozen"),
        (
            "--freeze=conv1,conv2,conv3,conv4,conv5,fc6,fc7,fc8",
            "layer that is not frozen",
        ),
        ("--cache_features", "all convolutions frozen.*conv1, conv2"),
        ("--num_devices=4", "num_devices=4|4 devices"),
        ("--crop_size=99", "crop_size=99"),
        ("--workdir=/dev/null/run", "directory /dev/null/run cannot be written"),
    ],
)
def test_reports_a_bad_flag_in_one_line(images, change, message):
    reason = command(*images, *change.split())
    assert isinstance(reason, str) and "\n" not in reason
    assert re.search(message, reason), reason


@pytest.mark.parametrize("flag", ["--preset=alexnet", "--precision=half"])
def test_an_unknown_choice_lists_the_choices(flag):
    done = python(flag)
    assert done.returncode == 1
    assert "should be one of <" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_empty_folder_is_said(tmp_path, images):
    (tmp_path / "empty").mkdir()
    reason = command(*images, f"--dataset=folder:{tmp_path / 'empty'}")
    assert "Received: none" in reason


def test_a_run_with_other_flags_is_refused_by_name(images):
    assert command(*images) is None
    reason = command(*images, "--seed=1")
    assert "--seed=0. Received: --seed=1." in reason


@pytest.mark.parametrize(
    "keep, pass_first",
    [
        (0, True),
        (200, False),
        pytest.param(200, True, marks=pytest.mark.large),
        pytest.param(0, False, marks=pytest.mark.large),
    ],
)
def test_a_bad_jpeg_is_named(tmp_path, images, keep, pass_first):
    """A zero-byte and a truncated one; found by the pass for the mean image,
    or in training when the pass is done."""
    if not pass_first:
        assert command(*images) is None
        images.append(f"--workdir={tmp_path / 'again'}")
    bad = tmp_path / "data" / "class1" / "3.jpg"
    bad.write_bytes(bad.read_bytes()[:keep])
    reason = command(*images)
    assert f"{bad} of folder:" in reason
    assert f"({keep} bytes)" in reason


@pytest.mark.parametrize(
    "pass_first, devices",
    [
        (False, 2),
        pytest.param(True, 1, marks=pytest.mark.large),
        pytest.param(True, 2, marks=pytest.mark.large),
        pytest.param(False, 1, marks=pytest.mark.large),
    ],
)
def test_an_image_that_vanishes_is_said_in_one_line(
    tmp_path, images, pass_first, devices, monkeypatch
):
    """Between the listing and the reading."""
    images.append(f"--num_devices={devices}")
    if not pass_first:
        assert command(*images) is None
    lost = tmp_path / "data" / "class1" / "3.jpg"
    monkeypatch.setattr(run, "create_or_verify", lambda *_, **__: lost.unlink())
    reason = command(*images, f"--workdir={tmp_path}")
    assert f"completely: {lost}; No such file or directory. Restore" in reason
    assert "\n" not in reason


def test_a_corrupt_record_is_said_in_one_line(tmp_path, textures_folder):
    data = f"--data_dir={tmp_path}/data"
    shutil.copytree(textures_folder, tmp_path / "data")
    record = next((tmp_path / "data").rglob("*-train.tfrecord-*"))
    content = bytearray(record.read_bytes())
    content[5000] ^= 255
    record.write_bytes(content)
    reason = command(data, f"--workdir={tmp_path}/run", "--epochs=1")
    assert "corrupted record at " in reason and "textures" in reason
    assert "\n" not in reason


def test_imagenet_without_its_archives_says_what_to_download(tmp_path):
    reason = command("--dataset=imagenet2012", f"--data_dir={tmp_path}")
    for part in (
        "ILSVRC2012_img_train.tar",
        "ILSVRC2012_img_val.tar",
        str(tmp_path / "downloads" / "manual"),
    ):
        assert part in reason


def test_metrics_are_json_lines(tmp_path, images):
    assert command(*images) is None
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    for line in map(json.loads, lines):
        assert {"step", "epoch", "loss", "top1_error", "top5_error"} <= set(line)


def test_ctrl_c_while_tensorflow_is_imported_is_said_in_one_line(tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise KeyboardInterrupt")
    done = subprocess.run(
        [sys.executable, "-m", "alexnet_tf.train"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
    )
    assert done.returncode == 130
    assert done.stderr.startswith("alexnet_tf.train: interrupted, nothing")
    assert done.stderr.count("\n") == 1


def test_ctrl_c_in_the_pass_for_the_mean_is_said_in_one_line(
    images, monkeypatch, capsys
):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(pixel_statistics, "compute", interrupted)
    assert command(*images) == 130
    assert "interrupted, nothing saved; the same" in capsys.readouterr().err


def test_a_signal_ends_with_its_exit_status(tmp_path, images):
    """Stopped in the middle and run again to the end."""
    signum = signal.SIGTERM
    args = [*images, "--epochs=2"]
    child = subprocess.Popen(
        [sys.executable, "-u", "-m", "alexnet_tf.train", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in child.stdout:
        if line.startswith("Epoch 1/"):
            break
    child.send_signal(signum)
    _, errors = child.communicate()
    assert child.returncode == 128 + signum, errors
    stopped = re.search(rf"Stopped by {signum.name} after step (\d)", errors)
    # In the middle, or its epoch's validation was still to come.
    assert stopped and int(stopped[1]) in (1, 2)
    assert "eval" not in (tmp_path / "run" / "metrics.jsonl").read_text()
    assert command(*args) is None
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 2, 4, 4]


@pytest.mark.parametrize(
    "value", ["fc8", "fc8:", "fc8:x", ":2", "fc8:-1", "fc8:2,fc7:2,fc8:10"]
)
def test_multipliers_are_layers_and_numbers(value):
    with flagsaver.flagsaver(), pytest.raises(
        flags.IllegalFlagValueError, match="lr_mult=.*such as fc8:10.* once"
    ):
        flags.FLAGS(["train", f"--lr_mult={value}"])


def test_runs_and_weights_may_be_at_home(monkeypatch):
    """Not in a folder of the name ~."""
    monkeypatch.setenv("HOME", "/home/ada")
    with flagsaver.flagsaver():
        flags.FLAGS(["train", "--workdir=~/runs/a", "--weights=~/caffe.npy"])
        assert flags.FLAGS.workdir == "/home/ada/runs/a"
        assert flags.FLAGS.weights == "/home/ada/caffe.npy"


def test_freeze_and_train_layers_exclude_each_other():
    with flagsaver.flagsaver(), pytest.raises(
        flags.IllegalFlagValueError, match="freeze|train_layers"
    ):
        flags.FLAGS(["train", "--freeze=conv1", "--train_layers=fc8"])


def test_batches_shrink_to_a_small_data_set(tmp_path, images):
    """Unless their size was asked for (see the bad flags above)."""
    images.remove("--batch_size=6")
    assert command(*images) is None
    settings = (tmp_path / "run" / "flags.txt").read_text()
    assert "--batch_size=12\n" in settings


def unbalanced(folder):
    """20 images of 2 classes: 17 dark ones and 3 bright ones."""
    for name, count, level in (("dark", 17, 60), ("bright", 3, 190)):
        os.makedirs(folder / name)
        for index in range(count):
            random = np.random.default_rng((level, index))
            pixels = random.normal(level, 20, (90, 70, 3)).clip(0, 255)
            encoded = tf.io.encode_jpeg(pixels.astype(np.uint8)).numpy()
            (folder / name / f"{index}.jpg").write_bytes(encoded)
    return f"folder:{folder}"


@pytest.mark.parametrize(
    "cached", [True, pytest.param(False, marks=pytest.mark.large)]
)
def test_fine_tuning_from_a_run_on_twenty_images(
    tmp_path, images, cached
):
    """2 classes in place of 3, unbalanced, with the run's own preset."""
    source = write_image_folder(tmp_path / "source", classes=3)
    run, tuned = tmp_path / "run", tmp_path / "tuned"
    assert command(*images, f"--dataset={source}") is None
    args = [
        f"--dataset={unbalanced(tmp_path / 'target')}",
        "--eval_split=train",
        f"--weights={run}",
        "--reinit=fc8",
        "--freeze=conv1,conv2,conv3,conv4,conv5",
        "--lr_mult=fc6:30,fc7:30,fc8:30",
        "--epochs=15",
        "--dropout=0",
        "--schedule=constant",
        f"--workdir={tuned}",
        f"--cache_features={cached}",
    ]
    assert command(*args) is None
    settings = (tuned / "flags.txt").read_text()
    # A tenth of the preset's, and as many images as there are.
    assert "--learning_rate=0.001\n" in settings
    assert "--preset=tiny\n" in settings and "--batch_size=20\n" in settings
    last = json.loads((tuned / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["top1_error"] <= 0.1
    before, after = layers_of(run), layers_of(tuned)
    for name, arrays in before.items():
        for array, now in zip(arrays, after[name]):
            if name.startswith("conv"):
                np.testing.assert_array_equal(array, now, err_msg=name)
            elif name == "fc6":
                assert not np.array_equal(array, now)
    assert [array.shape for array in after["fc8"]] == [(128, 2), (2,)]
    # What it started from is no longer needed.
    shutil.rmtree(run)
    assert command(*args) is None


def test_a_run_as_weights_brings_its_preset(tmp_path, images):
    assert command(*images, "--noflip") is None
    preset = resolve_preset("x", weights=str(tmp_path / "run"))
    assert preset.name == "tiny" and not preset.preprocessing.flip
    reason = command(*images, f"--weights={tmp_path / 'run'}", "--preset=paper")
    assert "preset of the run" in reason and "preset='paper'" in reason


@pytest.mark.parametrize("dataset", ["textures", "folder:pets"])
def test_a_file_of_weights_needs_its_preset(dataset):
    """Caffe's would fit the paper's network, and be fed with the wrong pixels."""
    with pytest.raises(ValueError, match="weights=caffe.npy alone.*preset=caffe"):
        resolve_preset(dataset, weights="caffe.npy")


def test_a_run_from_weights_without_a_part_goes_on(tmp_path, images):
    """Its own network has that part no more."""
    assert command(*images) is None
    args = [*images, f"--weights={tmp_path / 'run'}", "--ablate=norm"]
    args.append(f"--workdir={tmp_path / 'tuned'}")
    assert command(*args) is None
    assert command(*args) is None
    names = [layer.name for layer in read_network(tmp_path / "tuned")[0].layers]
    assert "conv2" in names and not {"norm1", "norm2"} & {*names}
    reason = command(*args, "--ablate=overlap")
    assert "--ablate=norm" in reason and "--ablate=overlap" in reason


@pytest.mark.parametrize("more", [-1, 1])
def test_a_run_goes_on_with_as_many_images_only(tmp_path, images, more):
    assert command(*images) is None
    folder = tmp_path / "data" / "class0"
    if more > 0:
        shutil.copy(folder / "0.jpg", folder / "new.jpg")
    else:
        (folder / "0.jpg").unlink()
    reason = command(*images)
    before, now = (
        f"folder:{tmp_path / 'data'}, split train={count}" for count in (12, 12 + more)
    )
    assert f"its numbers of images: {before}. Received: {now}." in reason


def test_a_batch_of_all_images_stays_whatever_the_devices(tmp_path, images):
    """13 on one device would be 12 on two, of which the command says nothing."""
    args = [arg for arg in images if not arg.startswith("--batch")]
    shutil.copy(*(tmp_path / "data" / "class0" / name for name in ("0.jpg", "6.jpg")))
    assert command(*args) is None
    reason = command(*args, "--num_devices=2")
    assert "batch that 2 devices can share equally. Received: batch_size=13" in reason


def test_other_classes_without_reinit_are_refused(tmp_path, images):
    source = write_image_folder(tmp_path / "source", classes=3)
    assert command(*images, f"--dataset={source}") is None
    reason = command(
        *images, f"--weights={tmp_path / 'run'}", f"--workdir={tmp_path / 'b'}"
    )
    assert "fc8" in reason and "kernel 128x2" in reason and "128x3" in reason


def test_cached_images_are_read_once(tmp_path, images, monkeypatch):
    """The files are gone before the first step."""

    def vanish(*_, **__):
        for path in (tmp_path / "data").rglob("*.jpg"):
            path.unlink()

    monkeypatch.setattr(run, "create_or_verify", vanish)
    assert command(*images, "--cache", "--epochs=2") is None
