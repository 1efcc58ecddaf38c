"""A work directory belongs to one run."""

import os
import subprocess
import sys

import pytest

from alexnet_tf.files import write_text
from alexnet_tf.workdir import append_metrics
from alexnet_tf.workdir import create_or_verify
from alexnet_tf.workdir import locked
from alexnet_tf.workdir import read_flags
from alexnet_tf.workdir import read_metrics
from alexnet_tf.workdir import truncate_metrics


def test_claim_writes_a_flagfile(tmp_path):
    path = tmp_path / "new" / "run"
    create_or_verify(str(path), {"seed": 3, "boundaries": (1, 2), "init": None})
    assert (path / "flags.txt").read_text() == "--seed=3\n--boundaries=1,2\n"


def test_the_same_settings_may_claim_again(tmp_path):
    for _ in range(2):
        create_or_verify(str(tmp_path), {"seed": 3})


def save_something(path):
    (path / "checkpoints").mkdir()
    (path / "checkpoints" / "checkpoint").write_text("")


def test_a_run_that_saved_nothing_binds_nobody(tmp_path):
    create_or_verify(str(tmp_path), {"seed": 3})
    create_or_verify(str(tmp_path), {"seed": 4})
    assert (tmp_path / "flags.txt").read_text() == "--seed=4\n"


def test_other_settings_are_refused_by_name(tmp_path):
    create_or_verify(str(tmp_path), {"seed": 3, "epochs": 9})
    save_something(tmp_path)
    with pytest.raises(ValueError, match="--seed=3. Received: --seed=4.") as e:
        create_or_verify(str(tmp_path), {"seed": 4, "epochs": 9})
    assert "epochs" not in str(e.value)
    assert (tmp_path / "flags.txt").read_text() == "--seed=3\n--epochs=9\n"


def test_free_settings_may_change(tmp_path):
    create_or_verify(str(tmp_path), {"devices": 1})
    save_something(tmp_path)
    create_or_verify(str(tmp_path), {"devices": 2}, free=("devices",))
    assert (tmp_path / "flags.txt").read_text() == "--devices=2\n"


def test_a_place_that_takes_no_directory_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PermissionError, match="workdir=.*file/run"):
        create_or_verify(str(tmp_path / "file" / "run"), {})


def test_metrics_come_back_in_order(tmp_path):
    for step in (1, 2):
        append_metrics(str(tmp_path), step=step, loss=0.1)
    assert read_metrics(str(tmp_path)) == [
        {"step": 1, "loss": 0.1},
        {"step": 2, "loss": 0.1},
    ]


def test_a_line_cut_short_is_none(tmp_path):
    append_metrics(str(tmp_path), step=1)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 2, "lo')
    assert read_metrics(str(tmp_path)) == [{"step": 1}]


def test_what_comes_after_a_step_is_forgotten(tmp_path):
    for step in (10, 20, 30):
        append_metrics(str(tmp_path), step=step)
    (tmp_path / "metrics.csv").write_text("epoch,loss\n0,3\n1,2\n")
    truncate_metrics(str(tmp_path), step=20, epochs=1)
    assert [m["step"] for m in read_metrics(str(tmp_path))] == [10, 20]
    assert (tmp_path / "metrics.csv").read_text() == "epoch,loss\n0,3\n"


def test_a_file_that_can_t_be_replaced_leaves_nothing_beside(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        write_text(str(tmp_path / "folder"), "text")
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("line", ['{"step": 1', "[1, 2]", "\ufffd\x00"])
def test_a_damaged_line_is_named(tmp_path, line):
    append_metrics(str(tmp_path), step=1)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match="line 2 of .*metrics.jsonl. Received"):
        read_metrics(str(tmp_path))


@pytest.mark.parametrize("content", [b"--seed=3\nnonsense\n", b"\xff\xfe=1\n"])
def test_damaged_flags_are_named(tmp_path, content):
    (tmp_path / "flags.txt").write_bytes(content)
    with pytest.raises(ValueError, match="--flag=value in .*flags.txt. Received"):
        read_flags(str(tmp_path))


def test_a_directory_is_one_run_s_at_a_time(tmp_path):
    """Of two processes, or of two in one; and free again after an error."""
    code = (
        "import sys; from alexnet_tf.workdir import locked\n"
        "with locked(sys.argv[1]): print('held', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=f"workdir={tmp_path}, in which one"):
            with locked(str(tmp_path)):
                pass
        other.kill()
    with pytest.raises(RuntimeError), locked(str(tmp_path)):
        raise RuntimeError("an error")
    with locked(str(tmp_path)):
        assert [*tmp_path.iterdir()] == []
    (tmp_path / "file").write_text("")
    with pytest.raises(PermissionError, match="workdir=.*file/run"):
        with locked(str(tmp_path / "file" / "run")):
            pass


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_is_said_of_metrics(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError, match="metrics.jsonl. Received: No space left"):
        append_metrics(str(tmp_path), step=1)


def test_a_line_cut_short_is_forgotten_before_others_are_added(tmp_path):
    """As a kill or a full disk leaves it."""
    append_metrics(str(tmp_path), step=1)
    with open(tmp_path / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write('{"step": 2, "lo')
    truncate_metrics(str(tmp_path), 5, 0)
    append_metrics(str(tmp_path), step=2)
    assert read_metrics(str(tmp_path)) == [{"step": 1}, {"step": 2}]
