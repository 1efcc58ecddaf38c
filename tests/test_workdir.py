"""The work directory of a run: its flags, its metrics and its lock."""

import os
import re
import subprocess
import sys

import pytest

from alexnet_tf import cli
from alexnet_tf import train
from alexnet_tf.workdir import append_metrics
from alexnet_tf.workdir import check_writable
from alexnet_tf.workdir import create_or_verify
from alexnet_tf.workdir import locked
from alexnet_tf.workdir import read_flags
from alexnet_tf.workdir import read_metrics
from alexnet_tf.workdir import truncate_metrics
from alexnet_tf.workdir import WorkDirectoryInUse


def test_create_or_verify_writes_a_flagfile(tmp_path):
    path = tmp_path / "new" / "run"
    create_or_verify(str(path), {"seed": 3, "boundaries": (1, 2), "init": None})
    assert (path / "flags.txt").read_text() == "--seed=3\n--boundaries=1,2\n"


def write_empty_checkpoint(path):
    """Makes the work directory `path` look like that of a run with a checkpoint."""
    (path / "checkpoints").mkdir()
    (path / "checkpoints" / "checkpoint").write_text("")


def test_accepts_the_same_flags_again(tmp_path):
    create_or_verify(str(tmp_path), {"seed": 3})
    write_empty_checkpoint(tmp_path)
    create_or_verify(str(tmp_path), {"seed": 3})


def test_flags_may_change_before_the_first_checkpoint(tmp_path):
    create_or_verify(str(tmp_path), {"seed": 3})
    create_or_verify(str(tmp_path), {"seed": 4})
    assert (tmp_path / "flags.txt").read_text() == "--seed=4\n"


def test_names_the_flags_that_have_changed(tmp_path):
    create_or_verify(str(tmp_path), {"seed": 3, "epochs": 9})
    write_empty_checkpoint(tmp_path)
    with pytest.raises(ValueError, match="--seed=3. Received: --seed=4.") as error:
        create_or_verify(str(tmp_path), {"seed": 4, "epochs": 9})
    assert "epochs" not in str(error.value)
    assert (tmp_path / "flags.txt").read_text() == "--seed=3\n--epochs=9\n"


@pytest.mark.parametrize(
    "now, resolved, message",
    [
        # Another preset brings another learning rate, which was not given.
        (
            {"preset": "paper", "learning_rate": 0.02},
            ["learning_rate", "data"],
            "--preset=tiny. Received: --preset=paper. Give",
        ),
        # The learning rate was given when the run began.
        (
            {"preset": "tiny", "learning_rate": 0.01},
            ["preset", "learning_rate", "data"],
            "--learning_rate=0.05. Received: --learning_rate=0.01 (default). Give",
        ),
        # The preset is not given either; it is the default for the data set.
        (
            {"preset": "paper", "learning_rate": 0.02},
            ["preset", "learning_rate", "data"],
            "--preset=tiny. Received: --preset=paper (default). Give",
        ),
        # Another value is given, and one that was given then is missing.
        (
            {"data": "list:b.txt", "learning_rate": 0.01},
            ["preset", "learning_rate"],
            "=0.05 --data='list:my a.txt'. Received: --learning_rate=0.01 (default) "
            "--data=list:b.txt. Give the same flags to resume it, which --flagfile=",
        ),
        (
            {"preset": "tiny", "learning_rate": 0.05, "data": "list:my b.txt"},
            ["preset", "learning_rate"],
            "--data='list:my a.txt'. Received: --data='list:my b.txt'. Give",
        ),
    ],
)
def test_names_only_flags_that_were_given(tmp_path, now, resolved, message):
    before = {"preset": "tiny", "learning_rate": 0.05, "data": "list:my a.txt"}
    create_or_verify(str(tmp_path), before)
    write_empty_checkpoint(tmp_path)
    with pytest.raises(ValueError) as error:
        create_or_verify(str(tmp_path), {**before, **now}, resolved=resolved)
    assert message in str(error.value)


def test_a_directory_that_cannot_be_created_is_found_early(tmp_path, monkeypatch):
    """The test may be run by a user who may write everywhere."""
    check_writable(str(tmp_path / "new" / "run"))
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(PermissionError, match=f"{tmp_path}/file is not a directory"):
        check_writable(str(tmp_path / "file" / "run"))
    with monkeypatch.context() as patch, pytest.raises(PermissionError):
        patch.setattr(os.path, "exists", lambda path: False)  # As without a drive.
        patch.setattr(os.path, "isdir", lambda path: False)
        check_writable(str(tmp_path))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match=f"{tmp_path} is not a directory that"):
        check_writable(str(tmp_path / "new" / "run"))


@pytest.mark.parametrize("character", ["[", "]", "*", "?", "\\"])
def test_rejects_paths_that_tensorflow_reads_as_patterns(tmp_path, character):
    """A run could be trained there, but its checkpoints would not be found again."""
    message = f"without {re.escape(character)} in its path. Received: workdir=/"
    with pytest.raises(ValueError, match=message):
        check_writable(f"{tmp_path}/a{character}b/run")


def test_factors_of_layers_are_recorded_exactly(tmp_path):
    factors = {"fc6": 10.0, "fc7": 0.1234567, "fc8": 0.00001, "fc9": 0.1}
    create_or_verify(str(tmp_path), {"lr_mult": factors})
    text = (tmp_path / "flags.txt").read_text()
    assert text == "--lr_mult=fc6:10,fc7:0.1234567,fc8:1e-05,fc9:0.1\n"
    flagfile = f"--flagfile={tmp_path / 'flags.txt'}"
    arguments = train.arguments_of(cli.parse(train.FLAGS, ["train", flagfile]))
    assert arguments["lr_mult"] == factors


@pytest.mark.parametrize(
    "before, now", [(0, 0.0), (1, 1.0), (0.00001, "0.00001"), ("1e-3", 0.001)]
)
def test_numbers_are_compared_as_numbers(tmp_path, before, now):
    create_or_verify(str(tmp_path), {"dropout": before})
    write_empty_checkpoint(tmp_path)
    create_or_verify(str(tmp_path), {"dropout": now})
    with pytest.raises(ValueError, match="--dropout=0.25"):
        create_or_verify(str(tmp_path), {"dropout": 0.25})


def test_large_integers_are_not_rounded_to_compare_them(tmp_path):
    """The nearest double of both numbers is 2**53."""
    create_or_verify(str(tmp_path), {"seed": 2**53})
    write_empty_checkpoint(tmp_path)
    with pytest.raises(ValueError, match=f"--seed={2**53}. .*--seed={2**53 + 1}"):
        create_or_verify(str(tmp_path), {"seed": 2**53 + 1})


def test_a_run_on_a_path_that_is_not_utf_8_can_be_resumed(tmp_path):
    dataset = os.fsdecode(b"folder:/data/caf\xe9")
    create_or_verify(str(tmp_path), {"dataset": dataset})
    assert (tmp_path / "flags.txt").read_bytes() == b"--dataset=folder:/data/caf\xe9\n"
    write_empty_checkpoint(tmp_path)
    create_or_verify(str(tmp_path), {"dataset": dataset})
    assert read_flags(str(tmp_path)) == {"dataset": dataset}


@pytest.mark.parametrize("before, now", [({}, False), ({"turn": False}, None)])
def test_a_missing_flag_is_false(tmp_path, before, now):
    create_or_verify(str(tmp_path), {"seed": 3, **before})
    write_empty_checkpoint(tmp_path)
    create_or_verify(str(tmp_path), {"seed": 3, "turn": now})
    with pytest.raises(ValueError, match="--turn=True"):
        create_or_verify(str(tmp_path), {"seed": 3, "turn": True})


def test_flags_are_not_written_if_a_check_fails(tmp_path):
    def fail():
        raise ValueError("This run cannot be resumed.")

    create_or_verify(str(tmp_path), {"epochs": 2}, check=fail)
    write_empty_checkpoint(tmp_path)
    with pytest.raises(ValueError, match="cannot be resumed"):
        create_or_verify(str(tmp_path), {"epochs": 3}, ("epochs",), check=fail)
    assert (tmp_path / "flags.txt").read_text() == "--epochs=2\n"


def test_flags_in_may_change_may_change_when_a_run_is_resumed(tmp_path):
    create_or_verify(str(tmp_path), {"devices": 1})
    write_empty_checkpoint(tmp_path)
    create_or_verify(str(tmp_path), {"devices": 2}, may_change=("devices",))
    assert (tmp_path / "flags.txt").read_text() == "--devices=2\n"


def test_names_a_work_directory_that_cannot_be_created(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PermissionError, match="directory .*file/run cannot be written"):
        create_or_verify(str(tmp_path / "file" / "run"), {})


def test_reads_metrics_in_the_order_they_were_written(tmp_path):
    for step in (1, 2):
        append_metrics(str(tmp_path), step=step, loss=0.1)
    assert read_metrics(str(tmp_path)) == [
        {"step": 1, "loss": 0.1},
        {"step": 2, "loss": 0.1},
    ]


def test_ignores_a_truncated_last_line(tmp_path):
    append_metrics(str(tmp_path), step=1)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 2, "lo')
    assert read_metrics(str(tmp_path)) == [{"step": 1}]


def test_truncate_metrics_removes_the_metrics_after_a_step(tmp_path):
    for step in (10, 20, 30):
        append_metrics(str(tmp_path), step=step)
    (tmp_path / "metrics.csv").write_bytes(b"epoch,loss\r\n0,3\r\n1,2\r\n")
    truncate_metrics(str(tmp_path), step=20, errors=[0.5])
    assert [line["step"] for line in read_metrics(str(tmp_path))] == [10, 20]
    assert (tmp_path / "metrics.csv").read_bytes() == b"epoch,loss\r\n0,3\r\n"


def test_truncate_metrics_keeps_the_evaluations_of_evaluated_epochs(tmp_path):
    for epoch in (1, 2, 3, 4):
        append_metrics(str(tmp_path), step=10 * epoch, split="train", epoch=epoch)
        append_metrics(str(tmp_path), step=10 * epoch, split="eval", epoch=epoch)
    truncate_metrics(str(tmp_path), step=40, errors=[None, 0.5, None])
    lines = read_metrics(str(tmp_path))
    epochs = {
        split: [line["epoch"] for line in lines if line["split"] == split]
        for split in ("train", "eval")
    }
    assert epochs == {"train": [1, 2, 3, 4], "eval": [2]}


@pytest.mark.parametrize("line", ['{"step": 1', "[1, 2]", "\ufffd\x00"])
def test_names_a_damaged_line_of_the_metrics(tmp_path, line):
    append_metrics(str(tmp_path), step=1)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match="Line 2 of .*metrics.jsonl is damaged"):
        read_metrics(str(tmp_path))


@pytest.mark.parametrize("content", [b"--seed=3\nnonsense\n", b"\xff\xfe=1\n"])
def test_names_a_damaged_flags_file(tmp_path, content):
    (tmp_path / "flags.txt").write_bytes(content)
    with pytest.raises(ValueError, match="flags.txt is damaged: .*--flag=value"):
        read_flags(str(tmp_path))


def test_a_directory_is_locked_by_one_run(tmp_path):
    """The lock is released after an error, and when the process is killed."""
    code = (
        "import sys; from alexnet_tf.workdir import locked\n"
        "with locked(sys.argv[1]): print('locked', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(WorkDirectoryInUse, match=f"workdir={tmp_path}, in which a"):
            with locked(str(tmp_path)):
                pass
        process.kill()
    with pytest.raises(RuntimeError), locked(str(tmp_path)):
        raise RuntimeError("an error")
    with locked(str(tmp_path)):
        assert [*tmp_path.iterdir()] == []
    (tmp_path / "file").write_text("")
    with pytest.raises(PermissionError, match="directory .*file/run cannot be written"):
        with locked(str(tmp_path / "file" / "run")):
            pass


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_reports_a_full_disk_when_metrics_are_written(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError, match="metrics.jsonl: No space left"):
        append_metrics(str(tmp_path), step=1)


def test_a_truncated_line_is_removed_before_lines_are_appended(tmp_path):
    """A process that is killed or a full disk leaves such a line."""
    append_metrics(str(tmp_path), step=1)
    with open(tmp_path / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write('{"step": 2, "lo')
    truncate_metrics(str(tmp_path), step=5, errors=[])
    append_metrics(str(tmp_path), step=2)
    assert read_metrics(str(tmp_path)) == [{"step": 1}, {"step": 2}]
