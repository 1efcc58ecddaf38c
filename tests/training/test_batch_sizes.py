"""Default batch sizes for small data sets, and the warning about few steps."""

import logging

import pytest

from alexnet_tf import presets
from alexnet_tf.training import batch_sizes


@pytest.mark.parametrize(
    "num_examples, num_replicas, batch_size",
    [
        (1_281_167, 1, 256),
        (2560, 1, 256),  # Exactly ten batches of the preset.
        (2559, 1, 255),
        (98, 1, 9),
        (98, 4, 8),  # Four devices share 9 images unequally.
        (12, 1, 1),
        (6, 1, 1),  # There are fewer than ten images.
        (12, 4, 4),
        (3, 4, 256),  # Four devices cannot share three images.
    ],
)
def test_the_default_gives_an_epoch_ten_steps(num_examples, num_replicas, batch_size):
    preset = presets.get("caffe")
    fitted = batch_sizes.fit(preset, num_examples, num_replicas)
    assert fitted == presets.override(preset, batch_size=batch_size)


def test_a_recorded_batch_size_is_kept(caplog):
    caplog.set_level(logging.INFO)
    preset = presets.get("caffe")
    assert batch_sizes.fit(preset, 98, 4, recorded=98).recipe.batch_size == 98
    assert "98 instead of 256, because there are only 98 training" in caplog.text
    assert batch_sizes.fit(preset, 256, 1, recorded=256) is preset
    assert batch_sizes.fit(preset, 10_000, 1, recorded=98) is preset


def test_warns_below_ten_steps(caplog):
    batch_sizes.warn_of_few_steps(10, 100)
    batch_sizes.warn_of_few_steps(13, 12)  # This is an error in `loop.train`.
    assert not caplog.records
    batch_sizes.warn_of_few_steps(10, 99)
    assert "only 9 steps of 10 images, because there are 99" in caplog.text
    batch_sizes.warn_of_few_steps(98, 98)
    assert "only 1 step of 98 images" in caplog.text
    assert {record.levelname for record in caplog.records} == {"WARNING"}
