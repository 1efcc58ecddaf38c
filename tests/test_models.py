"""The networks against their pinned sizes and an independent NumPy copy."""

import dataclasses
import functools
import math

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf

from alexnet_tf import models, presets

# With the classes that the preset was made for.
CLASSES = {"cifar10_quick": 10, "tiny": 10}
PARAMETERS = {
    "paper": 60_965_224,
    "code2012": 60_965_224,
    "caffe": 60_965_224,
    "caffenet": 60_965_224,
    "single_tower": 62_378_344,
    "owt": 61_100_840,
    "paper_conv6": 61_555_304,
    "cifar10_quick": 89_578,
    "tiny": 65_514,
}
# Multiplications for one picture; torchvision prints .714 GFLOPs for `owt`.
MULTIPLICATIONS = {
    "paper": 724_406_816,
    "single_tower": 1_135_256_096,
    "owt": 714_188_480,
}
PARAMETERS_BY_LAYER = {
    "paper": {
        "conv1": 34_944,
        "conv2": 307_456,
        "conv3": 885_120,
        "conv4": 663_936,
        "conv5": 442_624,
        "fc6": 37_752_832,
        "fc7": 16_781_312,
        "fc8": 4_097_000,
    },
    "single_tower": {
        "conv1": 34_944,
        "conv2": 614_656,
        "conv3": 885_120,
        "conv4": 1_327_488,
        "conv5": 884_992,
        "fc6": 37_752_832,
        "fc7": 16_781_312,
        "fc8": 4_097_000,
    },
    "owt": {
        "conv1": 23_296,
        "conv2": 307_392,
        "conv3": 663_936,
        "conv4": 884_992,
        "conv5": 590_080,
        "fc6": 37_752_832,
        "fc7": 16_781_312,
        "fc8": 4_097_000,
    },
}

_DEEP = """
    conv3 13x13x384  relu3 13x13x384  conv4 13x13x384  relu4 13x13x384
    conv5 13x13x256  relu5 13x13x256  pool5 6x6x256
"""
_CLASSIFIER = """
    flatten 9216  fc6 4096  relu6 4096  drop6 4096  fc7 4096  relu7 4096
    drop7 4096  fc8 1000  prob 1000
"""
_PAPER_CONVOLUTIONS = f"""
    input 224x224x3  pad_conv1 227x227x3
    conv1 55x55x96  relu1 55x55x96  norm1 55x55x96  pool1 27x27x96
    conv2 27x27x256  relu2 27x27x256  norm2 27x27x256  pool2 13x13x256
    {_DEEP}
"""
# Every layer in its order, with its maps for one picture.
SHAPES = {
    "paper": _PAPER_CONVOLUTIONS + _CLASSIFIER,
    "code2012": f"""
        input 224x224x3  pad_conv1 227x227x3
        conv1 55x55x96  norm1 55x55x96  pool1 27x27x96  relu1 27x27x96
        conv2 27x27x256  relu2 27x27x256  norm2 27x27x256  cnorm2 27x27x256
        pool2 13x13x256
        conv3 13x13x384  relu3 13x13x384  conv4 13x13x384  relu4 13x13x384
        conv5 13x13x256  pool5 6x6x256  relu5 6x6x256 {_CLASSIFIER}
    """,
    "caffe": f"""
        input 227x227x3
        conv1 55x55x96  relu1 55x55x96  norm1 55x55x96  pool1 27x27x96
        conv2 27x27x256  relu2 27x27x256  norm2 27x27x256  pool2 13x13x256
        {_DEEP} {_CLASSIFIER}
    """,
    "caffenet": f"""
        input 227x227x3
        conv1 55x55x96  relu1 55x55x96  pool1 27x27x96  norm1 27x27x96
        conv2 27x27x256  relu2 27x27x256  pool2 13x13x256  norm2 13x13x256
        {_DEEP} {_CLASSIFIER}
    """,
    "single_tower": _PAPER_CONVOLUTIONS + _CLASSIFIER,
    "owt": """
        input 224x224x3  pad_conv1 228x228x3
        conv1 55x55x64  relu1 55x55x64  pool1 27x27x64
        conv2 27x27x192  relu2 27x27x192  pool2 13x13x192
        conv3 13x13x384  relu3 13x13x384  conv4 13x13x256  relu4 13x13x256
        conv5 13x13x256  relu5 13x13x256  pool5 6x6x256
        drop5 6x6x256  flatten 9216  fc6 4096  relu6 4096
        drop6 4096  fc7 4096  relu7 4096  fc8 1000  prob 1000
    """,
    "paper_conv6": f"""
        {_PAPER_CONVOLUTIONS} conv6 6x6x256  relu_conv6 6x6x256 {_CLASSIFIER}
    """,
    "cifar10_quick": """
        input 32x32x3
        conv1 32x32x32  pool1 16x16x32  relu1 16x16x32  norm1 16x16x32
        conv2 16x16x32  relu2 16x16x32  pool2 8x8x32  norm2 8x8x32
        conv3 8x8x64  relu3 8x8x64  pool3 4x4x64
        flatten 1024  fc10 10  prob 10
    """,
    "tiny": """
        input 64x64x3  pad_conv1 67x67x3
        conv1 15x15x16  relu1 15x15x16  norm1 15x15x16  pool1 7x7x16
        conv2 7x7x32  relu2 7x7x32  norm2 7x7x32  pool2 3x3x32
        conv3 3x3x48  relu3 3x3x48  conv4 3x3x48  relu4 3x3x48
        conv5 3x3x32  relu5 3x3x32  pool5 1x1x32
        flatten 32  fc6 128  relu6 128  drop6 128  fc7 128  relu7 128
        drop7 128  fc8 10  prob 10
    """,
}

_LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
_GAUSSIAN = dict.fromkeys(_LAYERS, 0.01)
_CODE_DEEP = {"conv3": 0.03, "conv4": 0.03, "conv5": 0.03}
_CAFFE_GAUSSIAN = {**_GAUSSIAN, "fc6": 0.005, "fc7": 0.005}
# Standard deviations of Gaussian kernels; "he" stands for sqrt(2 / fan_in),
# "torch" for uniform within 1 / sqrt(fan_in).
DEVIATIONS = {
    "paper": _GAUSSIAN,
    "code2012": {**_GAUSSIAN, **_CODE_DEEP},
    "caffe": _CAFFE_GAUSSIAN,
    "caffenet": _CAFFE_GAUSSIAN,
    "single_tower": _GAUSSIAN,
    "owt": dict.fromkeys(_LAYERS, "torch"),
    "paper_conv6": {**_GAUSSIAN, "conv6": 0.03},
    "cifar10_quick": {
        "conv1": 0.0001, "conv2": 0.01, "conv3": 0.01, "fc10": 0.01,
    },
    "tiny": dict.fromkeys(_LAYERS, "he"),
}  # fmt: skip
_ONES = dict.fromkeys(("conv2", "conv4", "conv5", "fc6", "fc7"), 1.0)
# Of the layers that do not start at 0; those of `owt` are drawn.
BIASES = {
    "paper": _ONES,
    "code2012": _ONES,
    "caffe": dict.fromkeys(_ONES, 0.1),
    "caffenet": _ONES,
    "single_tower": _ONES,
    "paper_conv6": {**_ONES, "conv6": 1.0},
    "cifar10_quick": {},
    "tiny": {},
}


# Narrow copies: pool5 is 2x2, so that the order of its maps matters to fc6,
# and conv1's last window hangs over the edge where the full network's does.
WIDTHS = dict(
    conv1=16, conv2=24, conv3=12, conv4=16, conv5=8, fc6=20, fc7=18, fc8=7
)
CIFAR10_WIDTHS = dict(conv1=6, conv2=8, conv3=10, fc10=7)
SIDES = {
    "paper": 96,
    "code2012": 96,
    "caffe": 99,
    "caffenet": 99,
    "owt": 96,
    "cifar10_quick": 16,
}
# About ten times what float32 costs here; wrong networks are off by .03 to 2.
TOLERANCE = 2e-5
WRONG = 0.02


@pytest.fixture(scope="module", params=list(presets.PRESETS))
def full(request):
    """(preset's name, its model), built once: 61 million Gaussians each."""
    keras.utils.set_random_seed(1)
    return request.param, build_full(request.param)


def build_full(name):
    return models.AlexNet(name, CLASSES.get(name, 1000))


def weighted(model):
    return [layer for layer in model.layers if layer.weights]


def test_every_preset_has_pins():
    """A preset without a pinned count, shapes or start fails here."""
    names = set(presets.PRESETS)
    assert set(PARAMETERS) == set(SHAPES) == set(DEVIATIONS) == names
    assert set(BIASES) == names - {"owt"}


def test_parameters(full):
    """The number of parameters, in all and, where published, by layer."""
    name, model = full
    found = {layer.name: layer.count_params() for layer in weighted(model)}
    assert model.count_params() == sum(found.values()) == PARAMETERS[name]
    if name in PARAMETERS_BY_LAYER:
        assert found == PARAMETERS_BY_LAYER[name]


def test_shapes(full):
    """Names, order and output shapes of all layers."""
    name, model = full
    found = [
        f"{layer.name} {'x'.join(map(str, layer.output.shape[1:]))}"
        for layer in model.layers
    ]
    words = SHAPES[name].split()
    assert found == [" ".join(pair) for pair in zip(words[::2], words[1::2])]
    assert all(layer.output.shape[0] is None for layer in model.layers)


def test_multiplications(full):
    """Kernel sizes times the places they are applied at."""
    name, model = full
    if name not in MULTIPLICATIONS:
        pytest.skip("no published figure")
    found = sum(
        math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1])
        for layer in weighted(model)
    )
    assert found == MULTIPLICATIONS[name]


def test_kernels_start(full):
    """Each kernel has its preset's mean, deviation and distribution."""
    name, model = full
    assert {layer.name for layer in weighted(model)} == set(DEVIATIONS[name])
    for layer in weighted(model):
        kernel = layer.kernel.numpy()
        start = DEVIATIONS[name][layer.name]
        fan_in = math.prod(kernel.shape[:-1])
        if start == "torch":
            assert_uniform(kernel, 1 / math.sqrt(fan_in))
        elif start == "he":
            assert_gaussian(kernel, math.sqrt(2 / fan_in))
        else:
            assert_gaussian(kernel, start)


def test_biases_start(full):
    """1 (Caffe's AlexNet: .1) in conv2, conv4, conv5, fc6, fc7, else 0."""
    name, model = full
    for layer in weighted(model):
        bias = layer.bias.numpy()
        if name == "owt":
            fan_in = math.prod(layer.kernel.shape[:-1])
            assert_uniform(bias, 1 / math.sqrt(fan_in))
        else:
            wanted = np.float32(BIASES[name].get(layer.name, 0.0))
            assert (bias == wanted).all(), layer.name


def assert_gaussian(values, deviation):
    """Mean, deviation and fourth moment within 5 standard errors."""
    n = values.size
    assert abs(values.std() / deviation - 1) < 5 / math.sqrt(2 * n)
    assert abs(values.mean()) < 5 * deviation / math.sqrt(n)
    # Gaussians cut off at 2 deviations would have neither.
    z = values.ravel()[: 10**6] / np.float32(deviation)
    assert abs((z**4).mean() - 3) < 5 * math.sqrt(96 / z.size)
    assert np.abs(z).max() > 2.5


def assert_uniform(values, limit):
    """Deviation within 5 standard errors, and nothing beyond `limit`."""
    n = values.size
    assert np.abs(values).max() <= np.float32(limit)
    assert abs(values.std() * math.sqrt(3) / limit - 1) < 5 * math.sqrt(0.2 / n)
    assert abs(values.mean()) < 5 * limit / math.sqrt(3 * n)


def test_neurons():
    """Fig. 2's caption is right but for conv1: 290,400, not 253,440."""
    symbolic = models.neurons(narrow_classifier("paper"))
    del symbolic["fc6"], symbolic["fc7"]
    assert symbolic == {
        "input": 150_528,
        "conv1": 290_400,
        "conv2": 186_624,
        "conv3": 64_896,
        "conv4": 64_896,
        "conv5": 43_264,
        "fc8": 1000,
    }
