"""Reading a data set of as many images as ImageNet, with fewer images."""

import pytest

from experiments import scale


@pytest.mark.parametrize("data_format", ["records", "folder"])
def test_prints_the_seconds_of_each_measurement(
    tmp_path, monkeypatch, capsys, data_format
):
    """300 images are 2 steps of 128, of which a resumed epoch leaves out one."""
    monkeypatch.setattr(scale, "_NUM_FILES", 20)
    monkeypatch.setattr(scale, "_NUM_CLASSES", 10)
    scale.main(
        ["scale", "--num_images=300", f"--format={data_format}", f"--folder={tmp_path}"]
    )
    header, _, *rows, empty, memory = capsys.readouterr().out.splitlines()
    assert header == f"| 300 images, {data_format} | seconds |"
    names = [row.split("|")[1].strip() for row in rows]
    assert names == [
        "load the data set", "first batch from step 0 of 2",
        "first batch from step 1 of 2", "read all images once",
    ]  # fmt: skip
    assert all(float(row.split("|")[2]) >= 0 for row in rows)
    assert empty == "" and memory.startswith("Peak memory: ")
    assert not [*tmp_path.iterdir()]
