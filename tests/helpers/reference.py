"""AlexNet's forward and backward passes in NumPy, float64, as a test oracle.

Nothing here comes from the package: operations and networks are written a second
time from their sources (the paper; the authors' layers-145.cfg; Caffe's
train_val.prototxt; torchvision's alexnet.py; cuda-convnet's layers-18pct.cfg),
so that a mistake goes unnoticed only if it is made twice.

An operation takes images [B, H, W, C] (`dense`: vectors [B, features]), its weights
if it has any, and constants, and returns (output, backward). `backward` takes the
gradient with respect to the output and returns a list of the gradients with respect
to the input and, for operations with weights, the kernel and the bias.

A family is a network without widths: a tuple of steps `(layer name, operation,
constants)`, where the layer name is None if the operation has no weights. The caller
chooses the widths and the weights.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def convolution(x, kernel, bias, *, size, stride=1, padding=(0, 0), groups=1):
    """Convolves each group of channels with its group of filters.

    The kernel is [size, size, C / groups, filters]. `padding` is the number of zeros
    before and after the pixels, both in height and in width.
    """
    assert kernel.shape[:2] == (size, size)
    padded = np.pad(x, ((0, 0), padding, padding, (0, 0)))
    towers = [
        _patches(tower, size, stride)  # [B, H', W', C / groups, size, size]
        for tower in np.split(padded, groups, axis=3)
    ]
    kernels = np.split(kernel, groups, axis=3)
    y = [
        np.tensordot(patches, filters, axes=((3, 4, 5), (2, 0, 1)))
        for patches, filters in zip(towers, kernels)
    ]

    def backward(dy):
        parts = np.split(dy, groups, axis=3)
        dx = [
            _scatter(
                np.tensordot(part, filters, axes=((3,), (3,))),
                padded.shape[1:3],
                stride,
            )
            for part, filters in zip(parts, kernels)
        ]
        dkernel = [
            np.tensordot(patches, part, axes=((0, 1, 2), (0, 1, 2)))
            for patches, part in zip(towers, parts)
        ]
        inside = slice(padding[0], padding[0] + x.shape[1])
        return [
            np.concatenate(dx, axis=3)[:, inside, inside],
            np.concatenate(dkernel, axis=3).transpose(1, 2, 0, 3),
            dy.sum(axis=(0, 1, 2)),
        ]

    return np.concatenate(y, axis=3) + bias, backward


def dense(x, kernel, bias):
    """Applies a fully connected layer: [B, D] to [B, units]."""

    def backward(dy):
        return [dy @ kernel.T, x.T @ dy, dy.sum(axis=0)]

    return x @ kernel + bias, backward


def flatten(x):
    """Flattens in the order H, W, C."""
    return x.reshape(len(x), -1), lambda dy: [dy.reshape(x.shape)]


def relu(x):
    """Sets negative values to 0."""
    return np.maximum(x, 0), lambda dy: [dy * (x > 0)]


def max_pool(x, *, size=3, stride=2, overhang=0):
    """Applies max pooling to x with `overhang` more rows and columns at the end."""
    padded = _append(x, overhang, -np.inf)
    patches = _patches(padded, size, stride)
    patches = patches.reshape(*patches.shape[:4], size * size)

    def backward(dy):
        is_max = patches.argmax(axis=4)[..., None] == np.arange(size * size)
        shares = (dy[..., None] * is_max).reshape(*dy.shape, size, size)
        dx = _scatter(np.moveaxis(shares, 3, 5), padded.shape[1:3], stride)
        return [dx[:, : x.shape[1], : x.shape[2]]]

    return patches.max(axis=4), backward


def average_pool(x, *, size=3, stride=2, overhang=0):
    """Applies average pooling with the windows of `max_pool`.

    The average is over the pixels of a window that are inside the image.
    """
    padded = _append(x, overhang, 0)
    inside = _append(np.ones_like(x), overhang, 0)
    counts = _patches(inside, size, stride).sum(axis=(4, 5))

    def backward(dy):
        shares = np.tile(
            (dy / counts)[:, :, :, None, None], (1, 1, 1, size, size, 1)
        )
        dx = _scatter(shares, padded.shape[1:3], stride)
        return [dx[:, : x.shape[1], : x.shape[2]]]

    return _patches(padded, size, stride).sum(axis=(4, 5)) / counts, backward


def map_norm(x, *, k, alpha, beta=0.75, n=5, towers=1):
    """Divides each value of x by (k + alpha * sum of squares)^beta.

    The squares are those at the same pixel in the n nearest maps of the same tower,
    with fewer maps at the edges of the tower.
    """

    def sum_neighbors(values):
        sides = ((0, 0), (0, 0), (0, 0), (n // 2, n // 2))
        return np.concatenate(
            [
                sliding_window_view(np.pad(tower, sides), n, axis=3).sum(axis=4)
                for tower in np.split(values, towers, axis=3)
            ],
            axis=3,
        )

    return _normalize(x, sum_neighbors, k, alpha, beta)


def spatial_norm(x, *, k, alpha, beta=0.75, n=5):
    """Divides each value of x by (k + alpha * sum of squares)^beta.

    The squares are those of the n x n nearest pixels in the same map, with fewer
    pixels at the edges of the map.
    """

    def sum_neighbors(values):
        sides = ((0, 0), (n // 2, n // 2), (n // 2, n // 2), (0, 0))
        return _patches(np.pad(values, sides), n, 1).sum(axis=(4, 5))

    return _normalize(x, sum_neighbors, k, alpha, beta)


def cross_entropy(logits, labels):
    """Returns (mean cross-entropy of a batch, gradient with respect to the logits)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    one_hot = np.eye(logits.shape[1])[labels]
    loss = -(log_p * one_hot).sum() / len(labels)
    return loss, (np.exp(log_p) - one_hot) / len(labels)


def _normalize(x, sum_neighbors, k, alpha, beta):
    scale = k + alpha * sum_neighbors(x**2)

    def backward(dy):
        # Each x is a term of the sums of its neighbors too.
        through_sums = sum_neighbors(dy * x * scale ** (-beta - 1))
        return [dy * scale**-beta - 2 * alpha * beta * x * through_sums]

    return x * scale**-beta, backward


def _patches(x, size, stride):
    """Returns all windows of x: [B, H', W', C, size, size]."""
    patches = sliding_window_view(x, (size, size), axis=(1, 2))
    return patches[:, ::stride, ::stride]


def _scatter(patches, shape, stride):
    """Sums windows [B, H', W', size, size, C] pixel by pixel into [B, *shape, C]."""
    batch, height, width, size, _, channels = patches.shape
    x = np.zeros((batch, *shape, channels))
    for i in range(size):
        for j in range(size):
            rows = slice(i, i + stride * height, stride)
            columns = slice(j, j + stride * width, stride)
            x[:, rows, columns] += patches[:, :, :, i, j]
    return x


def _append(x, count, value):
    """Appends `count` rows and columns of `value` at the bottom and on the right."""
    sides = ((0, 0), (0, count), (0, count), (0, 0))
    return np.pad(x, sides, constant_values=value)


def _conv(name, size, **constants):
    return name, convolution, dict(size=size, **constants)


def _fc(name):
    return name, dense, {}


_RELU = None, relu, {}
_FLATTEN = None, flatten, {}
_POOL = None, max_pool, {}
# The windows extend one pixel past the bottom and the right of an even number of rows
# and columns, as in cuda-convnet.
_CIFAR10_MAX_POOL = None, max_pool, dict(overhang=1)
_CIFAR10_AVERAGE_POOL = None, average_pool, dict(overhang=1)

# Section 3.3: k = 2, n = 5, alpha = 10^-4, beta = .75, as printed.
_PAPER_NORM = None, map_norm, dict(k=2, alpha=1e-4)
# layers-145.cfg: minDiv=2, scale=.0001, which the code divides by the size, 5; each
# GPU normalizes over the maps that it computes.
_CODE_NORM = None, map_norm, dict(k=2, alpha=2e-5, towers=2)
# layers-145.cfg: scale=.001, which the code divides by 5 * 5.
_CODE_SPATIAL_NORM = None, spatial_norm, dict(k=1, alpha=4e-5)
# train_val.prototxt: alpha: 0.0001, which Caffe divides by local_size: 5; k is 1
# by default.
_CAFFE_NORM = None, map_norm, dict(k=1, alpha=2e-5)
# layers-18pct.cfg: scale=.00005, which the code divides by 3 * 3.
_CIFAR10_NORM = None, spatial_norm, dict(k=1, alpha=5e-5 / 9, n=3)

_FULLY_CONNECTED = (
    _FLATTEN, _fc("fc6"), _RELU, _fc("fc7"), _RELU, _fc("fc8"),
)
_DEEP = (
    _conv("conv3", 3, padding=(1, 1)), _RELU,
    _conv("conv4", 3, padding=(1, 1), groups=2), _RELU,
    _conv("conv5", 3, padding=(1, 1), groups=2), _RELU, _POOL,
    *_FULLY_CONNECTED,
)  # fmt: skip

FAMILIES = {
    "paper": (
        _conv("conv1", 11, stride=4, padding=(0, 3)), _RELU, _PAPER_NORM, _POOL,
        _conv("conv2", 5, padding=(2, 2), groups=2), _RELU, _PAPER_NORM, _POOL,
        *_DEEP,
    ),
    "code2012": (
        _conv("conv1", 11, stride=4, padding=(0, 3)), _CODE_NORM, _POOL, _RELU,
        _conv("conv2", 5, padding=(2, 2), groups=2), _RELU,
        _CODE_NORM, _CODE_SPATIAL_NORM, _POOL,
        _conv("conv3", 3, padding=(1, 1)), _RELU,
        _conv("conv4", 3, padding=(1, 1), groups=2), _RELU,
        _conv("conv5", 3, padding=(1, 1), groups=2), _POOL, _RELU,
        *_FULLY_CONNECTED,
    ),
    "caffe": (
        _conv("conv1", 11, stride=4), _RELU, _CAFFE_NORM, _POOL,
        _conv("conv2", 5, padding=(2, 2), groups=2), _RELU, _CAFFE_NORM, _POOL,
        *_DEEP,
    ),
    "caffenet": (
        _conv("conv1", 11, stride=4), _RELU, _POOL, _CAFFE_NORM,
        _conv("conv2", 5, padding=(2, 2), groups=2), _RELU, _POOL, _CAFFE_NORM,
        *_DEEP,
    ),
    "owt": (
        _conv("conv1", 11, stride=4, padding=(2, 2)), _RELU, _POOL,
        _conv("conv2", 5, padding=(2, 2)), _RELU, _POOL,
        _conv("conv3", 3, padding=(1, 1)), _RELU,
        _conv("conv4", 3, padding=(1, 1)), _RELU,
        _conv("conv5", 3, padding=(1, 1)), _RELU, _POOL,
        *_FULLY_CONNECTED,
    ),
    "cifar10_full": (
        _conv("conv1", 5, padding=(2, 2)),
        _CIFAR10_MAX_POOL, _RELU, _CIFAR10_NORM,
        _conv("conv2", 5, padding=(2, 2)), _RELU,
        _CIFAR10_AVERAGE_POOL, _CIFAR10_NORM,
        _conv("conv3", 5, padding=(2, 2)), _RELU,
        _CIFAR10_AVERAGE_POOL,
        _FLATTEN, _fc("fc10"),
    ),
}  # fmt: skip


def draw_weights(family, widths, images, rng, deviation=100.0):
    """Draws random weights that are scaled to keep outputs in a useful range.

    The standard deviation of the logits, before the bias is added, is 1, so that the
    softmax is not saturated.

    Args:
        family: a key of `FAMILIES`.
        widths: {layer name: filters or units}, in the order of the layers.
        images: the images [B, H, W, 3] for which the scales are computed.
        rng: a `numpy.random.Generator`.
        deviation: the standard deviation of the outputs of each layer but the last,
            before the bias is added.

    Returns:
        {layer name: (kernel, bias)}.
    """
    weights, x = {}, images
    last = list(widths)[-1]
    for name, operation, constants in FAMILIES[family]:
        arguments = ()
        if name:
            shape = (x.shape[-1] // constants.get("groups", 1),)
            if operation is convolution:
                shape = (constants["size"],) * 2 + shape
            kernel = rng.standard_normal((*shape, widths[name]))
            bias = rng.standard_normal(widths[name])
            target = 1.0 if name == last else deviation
            kernel *= target / operation(x, kernel, 0, **constants)[0].std()
            weights[name] = arguments = kernel, 0.1 * target * bias
        x, _ = operation(x, *arguments, **constants)
    return weights


def forward(family, weights, images):
    """Returns the logits, and [(layer name or None, backward), ...] of all steps."""
    x, tape = images, []
    for name, operation, constants in FAMILIES[family]:
        arguments = weights[name] if name else ()
        x, backward = operation(x, *arguments, **constants)
        tape.append((name, backward))
    return x, tape


def gradients(family, weights, images, labels):
    """Returns the mean cross-entropy and its gradients {layer name: (kernel, bias)}."""
    logits, tape = forward(family, weights, images)
    loss, dx = cross_entropy(logits, labels)
    by_name = {}
    for name, backward in reversed(tape):
        dx, *dweights = backward(dx)
        if name:
            by_name[name] = tuple(dweights)
    return loss, by_name
