"""Default batch sizes for small data sets, and the warning about few steps."""

import logging

import pytest

from alexnet_tf import presets
from alexnet_tf.training import batch_sizes


@pytest.mark.parametrize(
    "num_examples, num_replicas, batch_size, learning_rate",
    [
        (1_281_167, 1, 256, 0.01),
        (2560, 1, 256, 0.01),  # Exactly ten batches of the preset.
        (2559, 1, 255, 0.00998),
        (98, 1, 9, 0.00187),  # .01 * sqrt(9 / 256) = .001875
        (98, 4, 8, 0.00177),  # Four devices share 9 images unequally.
        (12, 1, 1, 0.000625),
        (6, 1, 1, 0.000625),  # There are fewer than ten images.
        (12, 4, 4, 0.00125),
        (3, 4, 256, 0.01),  # Four devices cannot share three images.
        (1_281_167, 8, 256, 0.01),
        (1_281_167, 3, 255, 0.00998),  # Three devices cannot share 256 images.
        (1_281_167, 7, 252, 0.00992),
    ],
)
def test_the_default_gives_an_epoch_ten_steps_and_devices_equal_shares(
    num_examples, num_replicas, batch_size, learning_rate
):
    preset = presets.get("caffe")
    fitted = batch_sizes.fit(preset, num_examples, num_replicas)
    assert fitted.recipe.learning_rate == pytest.approx(learning_rate, abs=6e-6)
    assert fitted == presets.override(
        preset, batch_size=batch_size, learning_rate=fitted.recipe.learning_rate
    )
    kept = batch_sizes.fit(preset, num_examples, num_replicas, keep_learning_rate=True)
    assert kept == presets.override(preset, batch_size=batch_size)


def test_the_values_of_the_resumed_run_are_kept(caplog):
    caplog.set_level(logging.INFO)
    preset = presets.get("caffe")

    def fit(*values, **options):
        return batch_sizes.fit(preset, *values, **options).recipe

    recipe = fit(98, 4, recorded=(98, 0.02))
    assert (recipe.batch_size, recipe.learning_rate) == (98, 0.02)
    assert "only 98 training images: the batch size is 98 instead of 256" in caplog.text
    assert "the learning rate is 0.02 instead of 0.01." in caplog.text
    caplog.clear()
    recipe = fit(98, 4, recorded=(98, 0.02), keep_learning_rate=True)
    assert (recipe.batch_size, recipe.learning_rate) == (98, 0.01)
    assert "has 1 step(s). Use --batch_size" in caplog.text
    assert fit(256, 1, recorded=(256, 0.01)) == preset.recipe
    assert fit(10_000, 1, recorded=(98, 0.02)) == preset.recipe
    # A run with an optimizer of its own has recorded no learning rate.
    assert fit(98, 4, recorded=(98, None)).learning_rate == 0.01


@pytest.mark.parametrize("num_replicas", [1, 2, 3])
def test_a_run_that_began_on_three_devices_resumes_on_others(num_replicas, caplog):
    caplog.set_level(logging.INFO)
    preset, num_examples = presets.get("caffe"), 1_281_167
    began = batch_sizes.fit(preset, num_examples, 3)
    assert "batch equally: the batch size is 255 instead of 256, so" in caplog.text
    recorded = began.recipe.batch_size, began.recipe.learning_rate
    resumed = batch_sizes.fit(preset, num_examples, num_replicas, recorded=recorded)
    assert resumed == began


def test_warns_below_ten_steps(caplog):
    batch_sizes.warn_of_few_steps(10, 100)
    batch_sizes.warn_of_few_steps(13, 12)  # This is an error in `loop.train`.
    assert not caplog.records
    batch_sizes.warn_of_few_steps(10, 99)
    assert "only 9 steps of 10 images, because there are 99" in caplog.text
    batch_sizes.warn_of_few_steps(98, 98)
    assert "only 1 step of 98 images" in caplog.text
    assert {record.levelname for record in caplog.records} == {"WARNING"}
