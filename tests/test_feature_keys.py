"""The flags --image_key and --label_key of the commands that load a run's data."""

import importlib

import pytest

from alexnet_tf.data import datasets
from alexnet_tf import published


@pytest.mark.parametrize(
    "name, args",
    [
        ("evaluate", ["--weights=tiny_textures"]),
        ("extract", ["--weights=tiny_textures", "--output=x.npz"]),
        ("export", ["--weights=tiny_textures", "--output=x", "--format=tflite_int8"]),
        ("report", [published.locate("tiny_textures"), "--output=x.html"]),
        ("visualize", ["--weights=tiny_textures", "--figure=crops", "--output=x.png"]),
    ],
)
def test_commands_load_the_given_features(name, args, tmp_path, monkeypatch):
    def load(dataset, split, data_dir, **keys):
        raise ValueError(f"{dataset} {sorted(keys.items())}")

    monkeypatch.setattr(datasets, "load_as_spelled", load)
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(f"alexnet_tf.{name}")
    data = ["--dataset=made", "--image_key=photo", "--label_key=kind"]
    expected = r"made \[\('image_key', 'photo'\), \('label_key', 'kind'\)\]"
    with pytest.raises(SystemExit, match=expected):
        module.main([name, *args, *data])
