"""Tests the command extract."""

import numpy as np
import pytest

from alexnet_tf import inference
from alexnet_tf.models.weights import save_weights
from helpers.commands import command
from helpers.images import write_image_folder
from helpers.networks import untrained_classifier


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a weights file, and four images in two class folders."""
    folder = tmp_path_factory.mktemp("extract")
    save_weights(untrained_classifier().model, str(folder / "weights.npz"))
    write_image_folder(folder / "images", classes=2, count=2)
    return folder


def extract(folder, *args):
    """Returns (exit status, stdout, stderr) of the command with the test's network."""
    return command(
        "extract", f"--weights={folder}/weights.npz", "--preset=tiny", *args
    )


def test_writes_the_features_that_the_call_returns(folder, tmp_path):
    """Flags may follow the images, and the command expands glob patterns."""
    output = tmp_path / "f.npz"
    code, out, err = extract(
        folder, "--layer=fc6,conv5", "--pool=mean", "--ten_crop", "--batch_size=3",
        f"{folder}/images/*/0.jpg", f"{folder}/images/class1", f"--output={output}",
    )  # fmt: skip
    assert (code, out) == (0, f"{output}: features of 4 images\n"), err
    expected = inference.extract_features(
        f"{folder}/weights.npz",
        [f"{folder}/images/*/0.jpg", f"{folder}/images/class1"],
        ["fc6", "conv5"],
        preset="tiny",
        pool="mean",
        ten_crop=True,
        batch_size=3,
        verbose=0,
    )
    with np.load(output, allow_pickle=False) as arrays:
        assert {*arrays} == {"fc6", "conv5", "names"}
        assert arrays["names"].tolist() == expected.names
        for layer, array in expected.features.items():
            np.testing.assert_allclose(arrays[layer], array, rtol=1e-5, atol=1e-6)


def test_writes_the_labels_of_a_data_set(folder, tmp_path):
    output = tmp_path / "f.npy"
    code, _, err = extract(
        folder, f"--dataset=folder:{folder}/images", "--split=train[:3]",
        f"--output={output}",
    )  # fmt: skip
    assert code == 0, err
    assert np.load(output).shape == (3, 128)
    lines = (tmp_path / "f.names.txt").read_text().splitlines()
    labels = {f"{folder}/images/class{i}/{j}.jpg\t{i}" for i in (0, 1) for j in (0, 1)}
    assert len(lines) == 3 and {*lines} <= labels


def test_names_unreadable_files_and_has_exit_status_1(folder, tmp_path):
    output = tmp_path / "f.h5"
    (tmp_path / "bad.png").write_text("no image")
    arguments = (f"{tmp_path}/*.png", f"{folder}/images", f"--output={output}")
    code, out, err = extract(folder, *arguments)
    assert (code, out) == (1, f"{output}: features of 4 images\n")
    assert f"alexnet_tf.extract: {tmp_path}/bad.png: 8 bytes that cannot be" in err
    output.unlink()
    code, out, err = extract(folder, *arguments, "--on_bad_image=error")
    assert (code, out) == (1, "") and "Expected readable images" in err
    assert [path.name for path in tmp_path.iterdir()] == ["bad.png"]


@pytest.mark.parametrize(
    "args, message",
    [
        (["--output={tmp}/f.npz"], "Expected images or a data set"),
        (["{images}", "--output={tmp}/a/f.npz"], "output does not exist: {tmp}/a."),
        (["{images}", "--output={tmp}/f.npz", "--mean={tmp}/mean.npy"], "/mean.npy"),
        (["{images}"], "--output"),
    ],
)
def test_reports_errors_in_one_line(folder, tmp_path, args, message):
    values = dict(tmp=tmp_path, images=folder / "images")
    code, out, err = extract(folder, *(arg.format(**values) for arg in args))
    assert (code, out) == (1, "")
    assert message.format(**values) in err.splitlines()[-1]
    assert not [*tmp_path.iterdir()]
