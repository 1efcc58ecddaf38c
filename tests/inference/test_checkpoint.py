"""The best and the last weights of a run, in Python and in the commands."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.data import pixel_statistics
from alexnet_tf import inference
from alexnet_tf.inference.classifier import load_classifier
from alexnet_tf.models.readers.run_directory import WEIGHTS_FILE
from alexnet_tf.models.weights import save_weights
from alexnet_tf.network_json import write_network
from alexnet_tf.workdir import BEST_WEIGHTS_FILE
from alexnet_tf.workdir import STATISTICS_FILE
from helpers.commands import command
from helpers.networks import untrained_classifier


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(work directory, image, last, best): the two `Classifier`s of a run."""
    path = tmp_path_factory.mktemp("run")
    last, best = (untrained_classifier(seed) for seed in (0, 1))
    write_network(str(path), last.preset, last.classes)
    pixel_statistics.write(last.statistics, str(path / STATISTICS_FILE))
    save_weights(last.model, path / WEIGHTS_FILE)
    save_weights(best.model, path / BEST_WEIGHTS_FILE)
    (path / "data").mkdir()
    for label in last.classes:
        (path / "data" / label).mkdir()
        pixels = np.random.default_rng(int(label)).integers(0, 256, (80, 80, 3))
        encoded = tf.io.encode_jpeg(pixels.astype(np.uint8)).numpy()
        (path / "data" / label / "a.jpg").write_bytes(encoded)
    return path, path / "data" / "3" / "a.jpg", last, best


def test_the_best_or_the_last_weights_of_a_run_are_loaded(run):
    path, image, last, best = run
    encoded = image.read_bytes()
    expected = [network.probabilities(encoded) for network in (last, best)]
    assert np.abs(expected[0] - expected[1]).max() > 0.1
    for checkpoint, probabilities in (("last", expected[0]), ("best", expected[1])):
        loaded = load_classifier(str(path), checkpoint=checkpoint)
        np.testing.assert_allclose(
            loaded.probabilities(encoded), probabilities, rtol=1e-5
        )
    from_file = load_classifier(str(path / BEST_WEIGHTS_FILE))
    np.testing.assert_array_equal(
        from_file.probabilities(encoded), loaded.probabilities(encoded)
    )


def test_the_commands_use_the_best_weights(run):
    path, image, last, best = run
    weights = f"--weights={path}"
    for args, network in (([], last), (["--checkpoint=best"], best)):
        code, out, err = command("predict", weights, "--json", *args, image)
        assert code == 0, err
        prediction = json.loads(out)["predictions"][0]
        expected = network.predict(image.read_bytes())[0]
        assert prediction["name"] == expected[1]
        assert prediction["probability"] == pytest.approx(expected[2], rel=1e-4)
    dataset = f"folder:{path / 'data'}"
    errors = [
        inference.evaluate(
            [str(path)], checkpoint=checkpoint, dataset=dataset, split="train",
            protocol="center", verbose=0,
        ).probabilities
        for checkpoint in ("last", "best")
    ]
    assert np.abs(errors[0] - errors[1]).max() > 0.1
    code, out, err = command(
        "evaluate", weights, f"--dataset={dataset}", "--split=train",
        "--checkpoint=best",
    )
    assert code == 0 and f"| {path.name} (best) | " in out, err


def test_says_if_there_are_no_best_weights(run, tmp_path):
    path, image, _, _ = run
    shutil.copytree(path, tmp_path / "run")
    (tmp_path / "run" / BEST_WEIGHTS_FILE).unlink()
    message = f"The run in {tmp_path / 'run'} has no best checkpoint.*--keep_best"
    with pytest.raises(FileNotFoundError, match=message):
        load_classifier(str(tmp_path / "run"), checkpoint="best")
    with pytest.raises(ValueError, match="work directory of a run .* a file"):
        load_classifier(str(path / WEIGHTS_FILE), "tiny", checkpoint="best")
    with pytest.raises(ValueError, match="\"last\" or \"best\". .*checkpoint='first'"):
        load_classifier(str(path), checkpoint="first")
