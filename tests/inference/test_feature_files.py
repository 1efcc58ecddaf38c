"""Tests the files that features are written to."""

import os
import tracemalloc

import h5py
import numpy as np
import pytest

from alexnet_tf.inference import feature_files

EXTENSIONS = [".npz", ".npy", ".h5"]


def write(path, blocks, names, labels=None):
    """Writes {layer: rows} dictionaries to a file."""
    with feature_files.create(path) as file:
        for block in blocks:
            file.append(block)
        file.finish(names, labels)


def test_extensions_may_be_in_upper_case(tmp_path):
    path = tmp_path / "F.NPY"
    feature_files.check_path(path, ["fc6"])
    blocks = make_blocks(["fc6"])
    write(path, blocks, list("abcdef"))
    rows = np.concatenate([block["fc6"] for block in blocks])
    np.testing.assert_array_equal(np.load(path), rows)


def make_blocks(layers, counts=(3, 1, 2), row=(2, 4)):
    """Returns {layer: random rows} for each number of rows in `counts`."""
    rng = np.random.default_rng(0)
    return [
        {layer: rng.normal(size=(count, *row)).astype(np.float32) for layer in layers}
        for count in counts
    ]


def read_npz(path):
    """Returns ({layer: array}, names, labels) of a .npz file, labels None if absent."""
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    return arrays, arrays.pop("names").tolist(), arrays.pop("labels", None)


def read_npy(path):
    """Returns what `read_npz` does for a .npy file, whose layer is called fc6."""
    lines = path.with_suffix(".names.txt").read_text().splitlines()
    names, tabs, labels = zip(*(line.partition("\t") for line in lines))
    labels = np.array(labels, np.int32) if all(tabs) else None
    return {"fc6": np.load(path, mmap_mode="r")}, [*names], labels


def read_h5(path):
    """Returns what `read_npz` does for an HDF5 file."""
    with h5py.File(path) as file:
        names = file["names"].asstr()[:].tolist()
        arrays = {key: values[:] for key, values in file.items() if key != "names"}
    return arrays, names, arrays.pop("labels", None)


@pytest.mark.parametrize(
    "extension, layers, read",
    [
        (".npz", {"fc6", "conv5"}, read_npz),
        (".npy", {"fc6"}, read_npy),
        (".h5", {"fc6", "conv5"}, read_h5),
    ],
)
@pytest.mark.parametrize("labels", [None, np.array([4, 0, 2, 1, 0, 3], np.int32)])
def test_files_hold_the_rows_the_names_and_the_labels(
    tmp_path, extension, layers, read, labels
):
    blocks, names = make_blocks(layers), [*"abcde", "long name/é.png"]
    path = tmp_path / f"f{extension}"
    write(path, blocks, names, labels)
    arrays, read_names, read_labels = read(path)
    assert arrays.keys() == layers
    for layer in layers:
        expected = np.concatenate([block[layer] for block in blocks])
        np.testing.assert_array_equal(arrays[layer], expected)
        assert arrays[layer].dtype == np.float32
    assert read_names == names
    if labels is None:
        assert read_labels is None
    else:
        np.testing.assert_array_equal(read_labels, labels)
        assert read_labels.dtype == np.int32


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_only_complete_files_remain(tmp_path, extension):
    path = tmp_path / f"f{extension}"
    blocks = make_blocks(["fc6"])
    write(path, blocks[:1], [*"abc"])
    contents = {file: file.read_bytes() for file in tmp_path.iterdir()}
    expected_names = {".npy": {"f.npy", "f.names.txt"}}.get(extension, {path.name})
    assert {file.name for file in contents} == expected_names
    with pytest.raises(OSError, match="disk full"):
        with feature_files.create(path) as file:
            file.append(blocks[1])
            raise OSError("disk full")
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == contents


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_writing_needs_memory_for_a_block_only(tmp_path, extension):
    """40 blocks of 1 MB are written with less than 4 MB, names included."""

    def blocks():
        for _ in range(40):
            yield {"fc6": np.ones((256, 1024), np.float32)}

    names = [str(index) for index in range(40 * 256)]
    tracemalloc.start()
    write(tmp_path / f"f{extension}", blocks(), names)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 2**20 < peak < 4 * 2**20
    assert (tmp_path / f"f{extension}").stat().st_size > 40 * 2**20


def test_a_line_of_the_names_file_belongs_to_each_row(tmp_path):
    """Names need not be UTF-8, and a line break in a name becomes a backslash and n."""
    names = ["a\nb", os.fsdecode(b"\xff"), "c"]
    write(tmp_path / "f.npy", make_blocks(["fc6"], [3]), names)
    content = (tmp_path / "f.names.txt").read_bytes()
    assert content == b"a\\nb\n\xff\nc\n"


@pytest.mark.parametrize("extension", [".npz", ".h5"])
def test_names_need_not_be_utf8(tmp_path, extension):
    path, name = tmp_path / f"f{extension}", os.fsdecode(b"\xff.png")
    write(path, make_blocks(["fc6"], [1]), [name])
    if extension == ".npz":
        assert np.load(path, allow_pickle=False)["names"].tolist() == [name]
    else:
        with h5py.File(path) as file:
            assert file["names"][0] == b"\xff.png"


@pytest.mark.parametrize(
    "name, layers, error, message",
    [
        ("f.txt", ["fc6"], ValueError, r"one of .npz, .npy, .h5. Received: .*f.txt"),
        ("f.npy", ["fc6", "fc7"], ValueError, "one layer for a .npy.*fc6, fc7"),
        ("missing/f.npz", ["fc6"], FileNotFoundError, "folder of output does not"),
        ("folder.h5", ["fc6"], IsADirectoryError, "output is a folder: .*folder.h5"),
        ("g.npy", ["fc6"], IsADirectoryError, "output is a folder: .*g.names.txt"),
    ],
)
def test_rejects_paths_that_cannot_be_written(tmp_path, name, layers, error, message):
    (tmp_path / "folder.h5").mkdir()
    (tmp_path / "g.names.txt").mkdir()
    with pytest.raises(error, match=message):
        feature_files.check_path(tmp_path / name, layers)
