"""The number of members of .npz files is limited."""

import io
import zipfile

import numpy as np

from alexnet_tf.models import weight_formats
from helpers.weight_files import check_rejected


def write(path, count):
    """Writes a file with `count` arrays."""
    array = io.BytesIO()
    np.save(array, np.zeros(1, "f4"))
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(count):
            archive.writestr(f"a{number}/kernel.npy", array.getvalue())
    return path


def test_rejects_more_members_than_a_network_has(tmp_path, monkeypatch):
    path = write(tmp_path / "a.npz", 1000)
    assert len(weight_formats.open_weights(path).layers) == 1000
    path = write(tmp_path / "a.npz", 1001)
    # No member is opened.
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    check_rejected(path, "it has 1,001 arrays, more than the limit of 1,000")
