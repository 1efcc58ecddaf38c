"""Mean images of Caffe are read from both formats; other files are rejected."""

import io
import tracemalloc

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

from alexnet_tf.data import mean_file
from helpers import caffe_protobuf
from helpers.protobuf_files import blob
from helpers.protobuf_files import field
from helpers.protobuf_files import fields
from helpers.weight_arrays import damaged

# An image of 2 x 4 pixels. Blue is 10 to 17, green 110 to 117 and red 210 to 217.
MEAN = (
    np.arange(8, dtype="f4").reshape(1, 2, 4)
    + np.array([10, 110, 210], "f4")[:, np.newaxis, np.newaxis]
)


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def binaryproto(array):
    return blob(array[np.newaxis], old_shape=True)


# {name: bytes of a file with `MEAN`}.
FILES = {
    "imagenet_mean.binaryproto": binaryproto(MEAN),
    "new_shape": blob(MEAN),
    "new_shape_4d": blob(MEAN[np.newaxis]),
    "not_packed": blob(MEAN, packed=False),
    "several_runs": blob(MEAN, runs=3),
    "double": blob(MEAN.astype(np.float64)),
    "ilsvrc_2012_mean.npy": npy(MEAN),
    "double.npy": npy(MEAN.astype(np.float64)),
    "4d.npy": npy(MEAN[np.newaxis]),
    "big_endian_fortran.npy": npy(np.asfortranarray(MEAN.astype(">f4"))),
}


def write(tmp_path, content, name="mean"):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def reason(tmp_path, content):
    """Returns the message of the error that reading a file raises.

    Reading the file must use less than 20 MB of memory.
    """
    path = write(tmp_path, content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError) as error:
            mean_file.read(path)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()
    assert str(error.value).startswith(f"The mean image cannot be read: {path}: it")
    return str(error.value)


@pytest.mark.parametrize("name", FILES)
def test_reads_rgb_images_from_both_formats(tmp_path, name):
    mean = mean_file.read(write(tmp_path, FILES[name], name))
    assert mean.shape == (2, 4, 3) and mean.dtype == np.float32
    np.testing.assert_array_equal(mean[0, 0], [210, 110, 10])
    np.testing.assert_array_equal(mean[1, 1], [215, 115, 15])
    np.testing.assert_array_equal(mean, np.moveaxis(MEAN[::-1], 0, -1))


def test_reads_files_that_the_library_of_protobuf_writes(tmp_path):
    message = caffe_protobuf.make_messages()["BlobProto"](
        num=1, channels=3, height=2, width=4, data=MEAN.ravel()
    )
    content = message.SerializeToString()
    assert content == FILES["imagenet_mean.binaryproto"]
    np.testing.assert_array_equal(
        mean_file.read(write(tmp_path, content))[..., 2], MEAN[0]
    )


def test_the_image_does_not_depend_on_the_file_after_reading(tmp_path):
    path = write(tmp_path, FILES["ilsvrc_2012_mean.npy"])
    mean = mean_file.read(path)
    with open(path, "r+b") as file:
        file.write(bytes(path.stat().st_size))
    np.testing.assert_array_equal(mean[0, 0], [210, 110, 10])


def test_rejects_arrays_that_are_not_mean_images(tmp_path):
    for array, message in [
        (MEAN[:2], "shape (2, 2, 4) instead of (3, H, W)"),
        (np.moveaxis(MEAN, 0, -1), "shape (2, 4, 3) instead of"),
        (MEAN[0], "shape (2, 4) instead of"),
        (np.stack([MEAN, MEAN]), "shape (2, 3, 2, 4) instead of"),
        (MEAN[:, :0], "0 x 4 pixels instead of 1 to 4096"),
        (np.zeros((3, 4097, 1), "f4"), "4097 x 1 pixels instead of"),
        (np.where(MEAN == 10, np.nan, MEAN), "not finite"),
        (np.where(MEAN == 10, np.inf, MEAN), "not finite"),
        (np.full((3, 2, 2), 1e300), "not finite"),
        (MEAN - 128, "range from -118 to 89 instead"),
        (2 * MEAN, "range from 20 to 434 instead"),
    ]:
        for content in (npy(array), blob(array)):
            assert message in reason(tmp_path, content), message
    for array in (MEAN.astype("u1"), MEAN.astype("c8"), np.array("mean")):
        assert "instead of floating-point numbers" in reason(tmp_path, npy(array))


def test_rejects_other_files(tmp_path):
    rng = np.random.default_rng(0)
    contents = [b"", b"x", b"a text\n" * 9, bytes(100), rng.bytes(1000), b"PK\3\4"]
    for content in contents:
        assert "neither of the two formats" in reason(tmp_path, content)
    missing = tmp_path / "missing.npy"
    for path in (missing, tmp_path):
        with pytest.raises(FileNotFoundError, match=f"no mean image at {path}"):
            mean_file.read(path)


HEADER = "{{'descr': '{}', 'fortran_order': False, 'shape': {}}}\n"


def npy_with_header(text):
    text = text.encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    "content",
    [
        field(7, fields(1, [3, 2**31, 2**31])) + field(5, bytes(48)),
        b"".join(map(field, (1, 2, 3, 4, 5), (1, 3, 2**31, 2**31, bytes(48)))),
        npy_with_header(HEADER.format("<f4", (3, 100_000, 100_000))),
        npy_with_header(HEADER.format("|O", (3, 2, 2))),
        npy_with_header("__import__('os').mkdir('ran')\n"),
        npy_with_header("(" * 9000),
        b"\x93NUMPY\x01\x00",
        b"\x93NUMPY\x09\x00" + bytes(200),
    ],
)
def test_rejects_malicious_files(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    assert "Expected a mean image of Caffe" in reason(tmp_path, content)
    assert [path.name for path in tmp_path.iterdir()] == ["mean"]


@pytest.mark.parametrize("kept_share", [0.3, 0.5, 0.99])
@pytest.mark.parametrize("name", ["imagenet_mean.binaryproto", "ilsvrc_2012_mean.npy"])
def test_rejects_truncated_files(tmp_path, name, kept_share):
    content = FILES[name]
    reason(tmp_path, content[: int(kept_share * len(content))])


@pytest.mark.parametrize("name", ["imagenet_mean.binaryproto", "ilsvrc_2012_mean.npy"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_files_are_read_completely_or_rejected(tmp_path_factory, name, data):
    path = tmp_path_factory.getbasetemp() / "damaged_mean"
    path.write_bytes(damaged(FILES[name], data))
    tracemalloc.start()
    try:
        mean = mean_file.read(path)
        assert mean.shape[2] == 3 and np.isfinite(mean).all()
    except ValueError as error:
        assert str(error).startswith("The mean image cannot be read: ")
    finally:
        assert tracemalloc.get_traced_memory()[1] < 20e6
        tracemalloc.stop()
