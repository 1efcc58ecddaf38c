"""The train command and `train_dataset`, the library function that it calls."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

from absl import flags
import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf import cli
from alexnet_tf.data import pixel_statistics
from alexnet_tf.network_json import read_network
from alexnet_tf import presets
from alexnet_tf import train
from alexnet_tf import training
from alexnet_tf.training.checkpoints import Progress
from alexnet_tf.training.options import TrainingOptions
from alexnet_tf.training import run
from alexnet_tf.training.run_preset import resolve_preset
from helpers.commands import command as run_command
from helpers.images import write_image_folder
from helpers.runs import layers_of
from helpers.runs import run_metrics
from helpers.runs import run_weights
from helpers.simulation import simulated_runs

ROOT = pathlib.Path(__file__).parents[1]

pytestmark = pytest.mark.usefixtures("figures_as_text")


def command(*args):
    """Runs the command in this process; returns its error or exit status, or None."""
    try:
        train.main(["train", *args])
    except SystemExit as error:
        return error.code


def parse(*args):
    """Returns the values of the command's flags."""
    return cli.parse(train.FLAGS, ["train", *args])


@pytest.fixture
def tiny_run_flags(tmp_path):
    """The flags of a run of two steps of tiny on 12 images of 2 classes."""
    data = write_image_folder(tmp_path / "data")
    return [
        f"--dataset={data}",
        "--eval_split=train",
        "--preset=tiny",
        "--batch_size=6",
        "--epochs=1",
        f"--workdir={tmp_path / 'run'}",
    ]


@pytest.fixture
def run_flags(tiny_run_flags):
    """The flags of `tiny_run_flags` with one convolution, traced in half the time."""
    return [*tiny_run_flags, "--ablate=norm,conv2,conv3,conv4,conv5"]


def compute_statistics(run_flags):
    """Makes a run compute the mean image, which later runs on these images read."""
    with simulated_runs():
        assert command(*run_flags) is None


def run_in_new_process(*args):
    """Runs the command in a new process; returns the `CompletedProcess`.

    The command chooses whether to use oneDNN.
    """
    environment = dict(os.environ)
    environment.pop("TF_ENABLE_ONEDNN_OPTS", None)
    return subprocess.run(
        [sys.executable, "-m", "alexnet_tf.train", *args],
        capture_output=True,
        text=True,
        env=environment,
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
    for name in vars(parse()):
        pattern = rf"--(\[no\])?{name}: .{{10}}"
        assert re.search(pattern, done.stdout), name + done.stderr


def test_one_epoch_with_default_flags(tmp_path, textures_data_dir):
    """Only the directories, the number of epochs and that of the images are given."""
    done = run_in_new_process(
        "--epochs=1",
        "--train_split=train[:320]",
        f"--data_dir={textures_data_dir}",
        f"--workdir={tmp_path}/run",
    )
    assert done.returncode == 0, done.stderr
    *_, error, curves, conv1, metrics, checkpoints, advice, _, predict, _ = (
        done.stdout.splitlines()
    )
    assert "Validation error: top-1 " in error and "Commands to try" in advice
    for path in (curves, conv1, metrics, checkpoints):
        assert os.path.exists(path)
    name, *arguments = predict.split()[2:]
    assert name == "alexnet_tf.predict" and run_command("predict", *arguments)[0] == 0
    # On a machine without a GPU, these notices of TensorFlow look like errors.
    for notice in ("cuInit", "cudart_stub", "oneDNN", "absl::InitializeLog"):
        assert notice not in done.stderr
    settings = (tmp_path / "run" / "flags.txt").read_text().splitlines()
    assert "--preset=tiny" in settings
    assert "--eval_split=validation" in settings
    assert "--learning_rate=0.01" in settings


@pytest.mark.usefixtures("simulated_runs")
def test_flags_txt_is_a_flagfile_of_the_same_run(tmp_path, run_flags):
    assert command(*run_flags, "--learning_rate=0.02", "--noflip") is None
    flagfile = tmp_path / "run" / "flags.txt"
    before = flagfile.read_text()
    args = [f"--flagfile={flagfile}", f"--workdir={tmp_path / 'run'}"]
    assert command(*args) is None
    assert flagfile.read_text() == before
    assert "--flip=False\n" in before and "--learning_rate=0.02\n" in before


@pytest.mark.usefixtures("simulated_runs")
def test_the_library_function_does_what_the_command_does(tmp_path, tiny_run_flags):
    """Both write the same flags.txt, weights and metrics, bit for bit."""
    assert command(*tiny_run_flags, "--learning_rate=0.02", "--seed=3") is None
    metrics = training.train_dataset(
        f"folder:{tmp_path / 'data'}",
        "tiny",
        str(tmp_path / "library"),
        eval_split="train",
        seed=3,
        batch_size=6,
        epochs=1,
        learning_rate=0.02,
    )
    paths = tmp_path / "run", tmp_path / "library"
    by_command, by_function = ((path / "flags.txt").read_text() for path in paths)
    assert by_function == by_command and "--learning_rate=0.02\n" in by_command
    lines = [run_metrics(path) for path in paths]
    assert lines[0] == lines[1]
    assert lines[0][-1]["split"] == "eval"
    assert metrics == {name: lines[0][-1][name] for name in metrics}
    assert {*metrics} == {"loss", "top1_error"}  # There are two classes.
    for expected, actual in zip(*map(run_weights, paths), strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("dataset, name", [("textures", "tiny"), ("x", "paper")])
def test_the_default_preset_depends_on_the_data_set(dataset, name):
    assert resolve_preset(dataset) == presets.get(name)


def test_flags_override_single_values():
    arguments = train.arguments_of(
        parse("--boundaries=3,5", "--schedule=step", "--mean=channel")
    )
    overrides = {name: arguments[name] for name in presets.OVERRIDES}
    preset = resolve_preset(arguments["dataset"], **overrides)
    assert preset.recipe.boundaries == (3, 5)
    assert preset.recipe.schedule == "step"
    assert preset.preprocessing.mean == "channel"
    assert preset.recipe.batch_size == 32


def test_boundaries_are_whole_numbers():
    with pytest.raises(
        flags.IllegalFlagValueError, match="boundaries=.*'a'.*: must be whole numbers"
    ):
        parse("--boundaries=3,a")


@pytest.mark.large
def test_devices_may_change_when_resuming(run_flags):
    assert command(*run_flags, "--num_devices=2") is None
    assert command(*run_flags, "--num_devices=3") is None


@pytest.mark.usefixtures("simulated_runs")
def test_the_spelling_of_a_path_does_not_make_another_run(
    tmp_path, run_flags, monkeypatch
):
    """The default work directory is the same, and flags.txt keeps the first name."""
    monkeypatch.chdir(tmp_path)
    args = [arg for arg in run_flags if not arg.startswith("--workdir")]
    assert command(*args, "--dataset=folder:data/") is None
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in (tmp_path / "data", "./data", "~/data/"):
        assert command(*args, f"--dataset=folder:{path}", "--log_steps=7") is None
    assert os.listdir(tmp_path / "runs") == ["data-tiny"]
    flags_text = (tmp_path / "runs" / "data-tiny" / "flags.txt").read_text()
    assert flags_text.startswith("--dataset=folder:data\n")
    shutil.copytree(tmp_path / "data", tmp_path / "other")
    reason = command(*args, "--dataset=folder:other", "--workdir=runs/data-tiny")
    assert "--dataset=folder:data. Received: --dataset=folder:other" in reason


@pytest.mark.usefixtures("simulated_runs")
def test_a_run_keeps_the_spelling_that_an_earlier_version_recorded(
    tmp_path, run_flags, monkeypatch
):
    """The order of the images, and the parts of a split, depended on it."""
    assert command(*run_flags) is None
    flags_file = tmp_path / "run" / "flags.txt"
    flags_text = flags_file.read_text()
    flags_file.write_text(flags_text.replace("/data\n", "/data/\n", 1))
    data_file = tmp_path / "run" / "data.json"
    data_file.write_text(data_file.read_text().replace("/data,", "/data/,"))
    sources = []
    monkeypatch.setattr(
        run.loop, "train",
        lambda _, source, *__, **___: sources.append(source) or {"top1_error": 0.0},
    )  # fmt: skip
    assert command(*run_flags) is None
    assert sources[0].name == f"folder:{tmp_path}/data/"


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
        ("--train_layers=fc9", "train_layers to name some of conv1.*=fc9"),
        ("--lr_mult=fc9:2", "lr_mult to name some of the layers conv1.*fc9"),
        ("--weights=", "an empty --weights"),
        ("--train_layers=", "an empty --train_layers"),
        ("--weights=x.npy --reinit=fc8 --freeze=fc8", "reinit to name .* trained"),
        ("--freeze=fc6 --lr_mult=fc6:2", "layers that are trained.*fc6, frozen"),
        (
            "--freeze=conv1,conv2,conv3,conv4,conv5,fc6,fc7,fc8",
            "layer that is not frozen",
        ),
        ("--cache_features", "all convolutions to be frozen.*conv1, conv2"),
        ("--num_devices=4", "num_devices=4|4 devices"),
        ("--crop_size=99", "crop_size=99"),
        ("--workdir=/dev/null/run", "directory /dev/null/run cannot be written"),
    ],
)
def test_reports_a_bad_flag_in_one_line(tiny_run_flags, change, message):
    reason = command(*tiny_run_flags, *change.split())
    assert isinstance(reason, str) and "\n" not in reason
    assert re.search(message, reason), reason


def test_an_unknown_choice_lists_the_choices():
    done = run_in_new_process("--precision=half")
    assert done.returncode == 1
    assert "one of <float32" in done.stderr and "Traceback" not in done.stderr
    assert "one of the presets paper, " in command("--preset=alexnet")


def test_reports_an_empty_folder(tmp_path, run_flags):
    (tmp_path / "empty").mkdir()
    reason = command(*run_flags, f"--dataset=folder:{tmp_path / 'empty'}")
    assert "Received: none" in reason


@pytest.mark.usefixtures("simulated_runs")
def test_resuming_with_another_flag_reports_the_flag(run_flags):
    assert command(*run_flags) is None
    reason = command(*run_flags, "--seed=1")
    assert "--seed=0. Received: --seed=1." in reason


@pytest.mark.usefixtures("simulated_runs")
def test_resuming_with_renamed_classes_changes_nothing(tmp_path, run_flags):
    """The labels of both classes would change, because they are sorted by name."""
    assert command(*run_flags) is None
    paths = [tmp_path / "run" / name for name in ("flags.txt", "network.json")]
    before = [path.read_bytes() for path in paths]
    first = tmp_path / "data" / "class0"
    first.rename(first.with_name("renamed"))
    reason = command(*run_flags, "--log_steps=7")
    assert f"with '{first.name}'. Received: 2 classes with 'renamed'." in reason
    assert [path.read_bytes() for path in paths] == before


@pytest.mark.usefixtures("simulated_runs")
def test_the_command_resumes_a_run_that_began_with_integers(tmp_path, tiny_run_flags):
    numbers = dict(dropout=0, momentum=0, weight_decay=0, learning_rate=1)
    training.train_dataset(
        f"folder:{tmp_path / 'data'}", "tiny", str(tmp_path / "run"),
        eval_split="train", batch_size=6, epochs=1, **numbers,
    )  # fmt: skip
    lines = (tmp_path / "run" / "flags.txt").read_text().splitlines()
    assert {f"--{name}={value}.0" for name, value in numbers.items()} <= {*lines}
    flags_of_numbers = (f"--{name}={value}" for name, value in numbers.items())
    assert command(*tiny_run_flags, *flags_of_numbers) is None


@pytest.mark.usefixtures("simulated_runs")
def test_a_larger_number_of_epochs_continues_a_run(tmp_path, run_flags, capsys):
    flags_txt = tmp_path / "run" / "flags.txt"
    args = [*run_flags, "--schedule=constant"]
    assert command(*args) is None
    assert command(*args, "--epochs=2", "--early_stopping_patience=5") is None
    assert "--epochs=2\n" in flags_txt.read_text()
    assert "already finished" not in capsys.readouterr().out
    assert command(*args, "--epochs=2") is None
    output = capsys.readouterr().out
    assert "finished after 2 epochs. With a larger number of epochs (--ep" in output
    assert "Validation error: top-1" in output
    before = flags_txt.read_text()
    reason = command(*args, "--epochs=1")
    assert "trained, 2 epochs. Received: --epochs=1, with which it ends" in reason
    reason = command(*args, "--epochs=3", "--preset=paper", "--noflip")
    # Values that the preset brings are not named.
    expected = "--preset=tiny --flip=True. Received: --preset=paper --flip=False."
    assert expected in reason
    assert flags_txt.read_text() == before


@pytest.mark.usefixtures("simulated_runs")
def test_the_schedule_over_all_epochs_refuses_another_number(run_flags, capsys):
    flags = [*run_flags, "--schedule=stepped_exponential"]
    assert command(*flags) is None
    reason = command(*flags, "--epochs=2")
    assert "--epochs=1, as in the run" in reason and "stepped_exponential" in reason
    assert command(*flags) is None
    assert "finished after 1 epoch. Its schedule step" in capsys.readouterr().out


def test_flags_of_options_have_the_defaults_of_training_options(tmp_path):
    arguments = train.arguments_of(parse("--keep_best", "--class_weights=balanced"))
    for name, value in [("keep_best", True), ("class_weights", "balanced")]:
        assert arguments[name] == value
    for name in ("eval_every", "warmup_epochs", "reference_batch_size"):
        assert arguments[name] == getattr(TrainingOptions, name)


def test_names_the_function_that_takes_objects(make_source):
    with pytest.raises(ValueError, match="Expected the name.*_tf.training.train,"):
        training.train_dataset(make_source(12), "tiny")


@pytest.mark.usefixtures("simulated_steps")
@pytest.mark.parametrize(
    "bytes_kept, during_statistics",
    [
        (0, True),
        (200, False),
        pytest.param(200, True, marks=pytest.mark.large),
        pytest.param(0, False, marks=pytest.mark.large),
    ],
)
def test_reports_the_path_of_a_bad_jpeg(
    tmp_path, run_flags, bytes_kept, during_statistics
):
    """The file is empty or truncated.

    It is first read for the mean image, or in training if an earlier run has computed
    the mean image.
    """
    if not during_statistics:
        compute_statistics(run_flags)
        run_flags.append(f"--workdir={tmp_path / 'again'}")
    bad = tmp_path / "data" / "class1" / "3.jpg"
    bad.write_bytes(bad.read_bytes()[:bytes_kept])
    reason = command(*run_flags)
    assert f"{bad} of folder:" in reason
    assert f"({bytes_kept} bytes)" in reason


@pytest.mark.usefixtures("simulated_steps")
@pytest.mark.parametrize(
    "during_statistics, devices",
    [
        (False, 2),
        pytest.param(True, 1, marks=pytest.mark.large),
        pytest.param(True, 2, marks=pytest.mark.large),
        pytest.param(False, 1, marks=pytest.mark.large),
    ],
)
def test_reports_a_deleted_image_in_one_line(
    tmp_path, run_flags, during_statistics, devices, monkeypatch
):
    """The file is deleted after the folder was listed and before it is read."""
    run_flags.append(f"--num_devices={devices}")
    if not during_statistics:
        compute_statistics(run_flags)
    lost = tmp_path / "data" / "class1" / "3.jpg"
    monkeypatch.setattr(run, "create_or_verify", lambda *_, **__: lost.unlink())
    reason = command(*run_flags, f"--workdir={tmp_path}")
    assert f"completely: {lost}; No such file or directory. Restore" in reason
    assert "\n" not in reason


def test_reports_a_corrupt_record_in_one_line(tmp_path, textures_data_dir):
    data = f"--data_dir={tmp_path}/data"
    shutil.copytree(textures_data_dir, tmp_path / "data")
    record = next((tmp_path / "data").rglob("*-train.tfrecord-*"))
    content = bytearray(record.read_bytes())
    content[5000] ^= 255
    record.write_bytes(content)
    reason = command(data, f"--workdir={tmp_path}/run", "--epochs=1")
    assert "corrupted record at " in reason and "textures" in reason
    assert "\n" not in reason


def test_reports_what_to_download_for_imagenet(tmp_path):
    reason = command("--dataset=imagenet2012", f"--data_dir={tmp_path}")
    for part in (
        "ILSVRC2012_img_train.tar",
        "ILSVRC2012_img_val.tar",
        str(tmp_path / "downloads" / "manual"),
    ):
        assert part in reason


@pytest.mark.usefixtures("simulated_runs")
def test_metrics_are_json_lines_and_a_table(tmp_path, run_flags):
    """With two classes, there are no top-5 errors."""
    assert command(*run_flags) is None
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    for line in map(json.loads, lines):
        assert {"step", "epoch", "loss", "top1_error"} <= set(line)
        assert "top5_error" not in line
    head = (tmp_path / "run" / "metrics.csv").read_text().splitlines()[0]
    assert head == "epoch,learning_rate,loss,top1_error,val_loss,val_top1_error"


@pytest.mark.usefixtures("simulated_runs")
def test_a_small_data_set_has_small_batches_unless_a_run_has_others(
    tmp_path, run_flags, monkeypatch, capsys
):
    """A tenth of 12 images is 1; the first run had batches of 6."""
    batches = []

    def train_without_steps(preset, *_, record_flags, **__):
        record_flags()
        batches.append(preset.recipe.batch_size)
        return {"loss": 1.0, "top1_error": 0.25}

    assert command(*run_flags) is None
    capsys.readouterr()
    monkeypatch.setattr(run.loop, "train", train_without_steps)
    flags_of_default = [flag for flag in run_flags if "--batch_size" not in flag]
    assert command(*flags_of_default) is None
    assert command(*flags_of_default, f"--workdir={tmp_path}/new") is None
    assert batches == [6, 1]
    # .01 * sqrt(1 / 32) = .00177
    flags_text = (tmp_path / "new" / "flags.txt").read_text()
    assert "--batch_size=1\n--learning_rate=0.00177\n" in flags_text
    summary = "Validation error: top-1 25.00% (center crop, 12 images).\n"
    assert capsys.readouterr().out.startswith(summary)


def test_reports_ctrl_c_during_the_import_of_tensorflow_in_one_line(tmp_path):
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


def test_reports_ctrl_c_during_the_pass_for_the_mean(
    run_flags, monkeypatch, capsys
):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(pixel_statistics, "compute", interrupt)
    assert command(*run_flags) == 130
    assert "interrupted, nothing saved; the same" in capsys.readouterr().err


@pytest.mark.usefixtures("simulated_runs")
def test_the_exit_status_names_the_signal(tmp_path, run_flags, monkeypatch, capsys):
    """A run is stopped after its first step and then resumed to the end."""
    args = [*run_flags, "--epochs=2", "--log_steps=1"]
    add = Progress.add

    def add_and_terminate(*arguments):
        add(*arguments)
        signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(Progress, "add", add_and_terminate)
        assert command(*args) == 128 + signal.SIGTERM
    assert "Stopped by SIGTERM after step 1" in capsys.readouterr().err
    assert "eval" not in (tmp_path / "run" / "metrics.jsonl").read_text()
    assert command(*args) is None
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 2, 3, 4, 4]


@pytest.mark.large
def test_the_exit_status_of_a_process_names_the_signal(run_flags):
    child = subprocess.Popen(
        [sys.executable, "-u", "-m", "alexnet_tf.train", *run_flags, "--epochs=99"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in child.stdout:
        if line.startswith("Epoch 1/"):
            break
    child.send_signal(signal.SIGTERM)
    _, errors = child.communicate()
    assert child.returncode == 128 + signal.SIGTERM, errors
    assert re.search(r"Stopped by SIGTERM after step \d+", errors)


@pytest.mark.parametrize(
    "value", ["fc8", "fc8:", "fc8:x", ":2", "fc8:-1", "fc8:.", "fc8:2,fc7:2,fc8:10"]
)
def test_multipliers_are_layers_and_numbers(value):
    with pytest.raises(
        flags.IllegalFlagValueError, match="lr_mult=.*such as fc8:10.* once"
    ):
        parse(f"--lr_mult={value}")


def test_a_tilde_in_paths_is_the_home_directory(monkeypatch):
    """Runs and weights are not looked for in a folder called ~."""
    monkeypatch.setenv("HOME", "/home/ada")
    args = parse("--workdir=~/runs/a", "--weights=~/caffe.npy")
    assert args.workdir == "/home/ada/runs/a"
    assert args.weights == "/home/ada/caffe.npy"


def test_freeze_and_train_layers_exclude_each_other():
    with pytest.raises(flags.IllegalFlagValueError, match="freeze|train_layers"):
        parse("--freeze=conv1", "--train_layers=fc8")


def write_unbalanced_folder(folder):
    """Writes 17 dark and 3 bright JPEGs in class folders; returns the data set."""
    for name, count, level in (("dark", 17, 60), ("bright", 3, 190)):
        os.makedirs(folder / name)
        for index in range(count):
            rng = np.random.default_rng((level, index))
            pixels = rng.normal(level, 20, (90, 70, 3)).clip(0, 255)
            encoded = tf.io.encode_jpeg(pixels.astype(np.uint8)).numpy()
            (folder / name / f"{index}.jpg").write_bytes(encoded)
    return f"folder:{folder}"


@pytest.mark.parametrize(
    "cached", [True, pytest.param(False, marks=pytest.mark.large)]
)
def test_fine_tuning_from_a_run_on_twenty_images(tmp_path, tiny_run_flags, cached):
    """The data set has 2 unbalanced classes instead of the run's 3."""
    source = write_image_folder(tmp_path / "source", classes=3)
    base, tuned = tmp_path / "run", tmp_path / "tuned"
    with simulated_runs():
        # With the initialization of tiny, conv1 would hardly respond.
        assert command(*tiny_run_flags, f"--dataset={source}", "--init=he") is None
    args = [
        f"--dataset={write_unbalanced_folder(tmp_path / 'target')}",
        "--eval_split=train",
        f"--weights={base}",
        "--reinit=fc8",
        "--freeze=conv1,conv2,conv3,conv4,conv5",
        "--lr_mult=fc6:10,fc7:10,fc8:10",
        "--epochs=15",
        "--eval_every=15",
        "--dropout=0",
        "--schedule=constant",
        f"--workdir={tuned}",
        f"--cache_features={cached}",
    ]
    assert command(*args) is None
    settings = (tuned / "flags.txt").read_text()
    # The learning rate is that of the preset / 10 * sqrt(2 / 32).
    assert "--learning_rate=0.00025\n" in settings
    assert "--preset=tiny\n" in settings and "--batch_size=2\n" in settings
    last = json.loads((tuned / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["top1_error"] <= 0.1
    before, after = layers_of(base), layers_of(tuned)
    for name, arrays in before.items():
        for initial, tuned_array in zip(arrays, after[name]):
            if name.startswith("conv"):
                np.testing.assert_array_equal(initial, tuned_array, err_msg=name)
            elif name == "fc6":
                assert not np.array_equal(initial, tuned_array)
    assert [array.shape for array in after["fc8"]] == [(128, 2), (2,)]
    # A resumed run does not need the initial weights.
    shutil.rmtree(base)
    assert command(*args) is None


@pytest.mark.usefixtures("simulated_runs")
def test_weights_from_a_run_bring_its_preset(tmp_path, run_flags):
    assert command(*run_flags, "--noflip") is None
    preset = resolve_preset("x", weights=str(tmp_path / "run"))
    assert preset.name == "tiny" and not preset.preprocessing.flip
    reason = command(*run_flags, f"--weights={tmp_path / 'run'}", "--preset=paper")
    assert "preset of the run" in reason and "preset='paper'" in reason


@pytest.mark.parametrize("dataset", ["textures", "folder:pets"])
def test_a_weights_file_needs_a_preset(tmp_path, dataset):
    """Caffe's weights fit the paper's network, but need another preprocessing."""
    path = tmp_path / "caffe.npy"
    with pytest.raises(FileNotFoundError, match="npy is neither a file, .*torchv"):
        resolve_preset(dataset, weights=str(path))
    path.touch()
    with pytest.raises(ValueError, match="weights=.*caffe.npy alone.*preset=caffe"):
        resolve_preset(dataset, weights=str(path))


@pytest.mark.usefixtures("simulated_runs")
def test_a_fine_tuned_run_with_ablated_parts_resumes(tmp_path, tiny_run_flags):
    """The preset that the run has saved lacks these parts already."""
    assert command(*tiny_run_flags) is None
    args = [*tiny_run_flags, f"--weights={tmp_path / 'run'}", "--ablate=norm"]
    args.append(f"--workdir={tmp_path / 'tuned'}")
    assert command(*args) is None
    assert command(*args) is None
    names = [layer.name for layer in read_network(tmp_path / "tuned")[0].layers]
    assert "conv2" in names and not {"norm1", "norm2"} & {*names}
    reason = command(*args, "--ablate=overlap")
    assert "--ablate=norm" in reason and "--ablate=overlap" in reason


@pytest.mark.usefixtures("simulated_runs")
@pytest.mark.parametrize("change", [-1, 1])
def test_resuming_requires_the_same_number_of_images(tmp_path, run_flags, change):
    assert command(*run_flags) is None
    folder = tmp_path / "data" / "class0"
    if change > 0:
        shutil.copy(folder / "0.jpg", folder / "new.jpg")
    else:
        (folder / "0.jpg").unlink()
    reason = command(*run_flags)
    before, now = (
        f"folder:{tmp_path / 'data'}, split train={count}"
        for count in (12, 12 + change)
    )
    assert f": {before}. Received: {now}." in reason


@pytest.mark.usefixtures("simulated_runs")
def test_a_default_batch_size_is_kept_on_other_devices(run_flags):
    """On two devices, the default would silently become 2."""
    args = [arg for arg in run_flags if not arg.startswith("--batch")]
    assert command(*args) is None
    reason = command(*args, "--num_devices=2")
    assert "batch that 2 devices can share equally. Received: batch_size=1." in reason


@pytest.mark.usefixtures("simulated_runs")
def test_another_number_of_classes_requires_reinit(tmp_path, tiny_run_flags):
    source = write_image_folder(tmp_path / "source", classes=3)
    assert command(*tiny_run_flags, f"--dataset={source}") is None
    reason = command(
        *tiny_run_flags, f"--weights={tmp_path / 'run'}", f"--workdir={tmp_path / 'b'}"
    )
    assert "fc8" in reason and "kernel 128x2" in reason and "128x3" in reason


@pytest.mark.usefixtures("simulated_steps")
def test_cached_images_are_read_once(tmp_path, run_flags, monkeypatch):
    """The files are deleted before the first step."""

    def delete_images(*_, **__):
        for path in (tmp_path / "data").rglob("*.jpg"):
            path.unlink()

    monkeypatch.setattr(run, "create_or_verify", delete_images)
    assert command(*run_flags, "--cache") is None
