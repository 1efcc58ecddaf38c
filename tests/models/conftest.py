"""Fixtures of the tests of models and layers."""

import keras
import pytest


@pytest.fixture
def channels_first_by_default():
    """Changes the data format of Keras, and restores it."""
    previous = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format(previous)
