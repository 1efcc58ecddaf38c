"""Weights that are written for torchvision's AlexNet."""

import keras
import numpy as np
import pytest
import safetensors.numpy

import alexnet_tf
from alexnet_tf.models import torch_layout
from helpers.networks import narrow_preset


@pytest.fixture(scope="module")
def model():
    """A narrow `owt` whose maps before fc6 are not square."""
    keras.utils.set_random_seed(1)
    return alexnet_tf.AlexNet(narrow_preset("owt"), 7, input_shape=(127, 95, 3))


@pytest.mark.parametrize("extension", ["safetensors", "npz"])
def test_files_are_read_back_as_those_of_torchvision(tmp_path, model, extension):
    path = tmp_path / f"w.{extension}"
    alexnet_tf.save_weights(model, path, layout="torch")
    other = alexnet_tf.AlexNet(narrow_preset("owt"), 7, input_shape=(127, 95, 3))
    alexnet_tf.load_weights(other, path)
    for array, expected in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(array, expected)


def test_arrays_have_the_names_and_the_order_of_torchvision(tmp_path, model):
    alexnet_tf.save_weights(model, tmp_path / "w.safetensors", layout="torch")
    arrays = safetensors.numpy.load_file(tmp_path / "w.safetensors")
    numbers = {"features": (0, 3, 6, 8, 10), "classifier": (1, 4, 6)}
    assert arrays.keys() == {
        f"{part}.{number}.{kind}"
        for part, part_numbers in numbers.items()
        for number in part_numbers
        for kind in ("weight", "bias")
    }
    conv2, fc6 = model.get_layer("conv2").kernel, model.get_layer("fc6").kernel
    assert arrays["features.3.weight"][2, 1, 4, 3] == conv2[4, 3, 1, 2]
    _, height, width, channels = model.get_layer("pool5").output.shape
    assert height != width and height * width > 1
    y, x, channel, unit = height - 1, 0, 2, 3
    column = (channel * height + y) * width + x
    row = (y * width + x) * channels + channel
    assert arrays["classifier.1.weight"][unit, column] == fc6[row, unit]
    np.testing.assert_array_equal(
        arrays["classifier.4.weight"], model.get_layer("fc7").kernel.numpy().T
    )


@pytest.mark.parametrize("name", ["paper", "cifar10_full"])
def test_rejects_other_networks(tmp_path, name):
    model = alexnet_tf.AlexNet(narrow_preset(name), 7, input_shape=(96, 96, 3))
    with pytest.raises(ValueError, match="model of the preset owt.*Received"):
        torch_layout.state_dict(model)
    path = tmp_path / "w.safetensors"
    with pytest.raises(ValueError, match="model of the preset owt"):
        alexnet_tf.save_weights(model, path, layout="torch")
    assert not path.exists()


def test_rejects_other_layouts_and_extensions(tmp_path, model):
    with pytest.raises(ValueError, match="layout to be None or \"torch\""):
        alexnet_tf.save_weights(model, tmp_path / "w.npz", layout="caffe")
    with pytest.raises(ValueError, match="one of .safetensors .npz. Received"):
        alexnet_tf.save_weights(model, tmp_path / "w.npy", layout="torch")


def test_torchvision_computes_the_same_outputs(tmp_path):
    torch = pytest.importorskip("torch")
    torchvision = pytest.importorskip("torchvision")
    keras.utils.set_random_seed(1)
    model = alexnet_tf.AlexNet("owt", 5, classifier_activation=None)
    arrays = torch_layout.state_dict(model)
    other = torchvision.models.alexnet(num_classes=5).eval()
    other.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
    images = np.random.default_rng(0).normal(0, 1, (2, 224, 224, 3)).astype(np.float32)
    with torch.no_grad():
        outputs = other(torch.tensor(images.transpose(0, 3, 1, 2))).numpy()
    np.testing.assert_allclose(outputs, model(images), rtol=1e-4, atol=1e-7)
