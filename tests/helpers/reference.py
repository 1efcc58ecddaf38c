"""AlexNet forward and backward in NumPy, float64, to hold the models against.

Nothing here comes from the package: operations and networks are written anew
from their sources (the paper; the authors' layers-145.cfg; Caffe's
train_val.prototxt; torchvision's alexnet.py; cuda-convnet's layers-18pct.cfg),
so that a mistake would have to be made twice to go unnoticed.

An operation takes [B, H, W, C] (dense: [B, D]), its weights if it has any, and
constants, and gives (output, backward). `backward` takes the gradient of the
output and gives a list of those of the input and, with weights, of kernel and
bias.

A family is a tuple of steps: `(operation, constants)`, with the name of the
weights in front where there are any. Widths and weights are the caller's.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def convolution(x, kernel, bias, *, size, stride=1, margins=(0, 0), groups=1):
    """Filter group g sees channel group g; `margins` zeros before and after.

    The kernel is [size, size, C / groups, filters].
    """
    assert kernel.shape[:2] == (size, size)
    padded = np.pad(x, ((0, 0), margins, margins, (0, 0)))
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
        inside = slice(margins[0], margins[0] + x.shape[1])
        return [
            np.concatenate(dx, axis=3)[:, inside, inside],
            np.concatenate(dkernel, axis=3).transpose(1, 2, 0, 3),
            dy.sum(axis=(0, 1, 2)),
        ]

    return np.concatenate(y, axis=3) + bias, backward


def dense(x, kernel, bias):
    def backward(dy):
        return [dy @ kernel.T, x.T @ dy, dy.sum(axis=0)]

    return x @ kernel + bias, backward


def flatten(x):
    """In the order H, W, C."""
    return x.reshape(len(x), -1), lambda dy: [dy.reshape(x.shape)]


def relu(x):
    return np.maximum(x, 0), lambda dy: [dy * (x > 0)]


def max_pool(x, *, size=3, stride=2, overhang=0):
    """Windows reach `overhang` pixels beyond the bottom and the right."""
    padded = _overhang(x, overhang, -np.inf)
    patches = _patches(padded, size, stride)
    patches = patches.reshape(*patches.shape[:4], size * size)

    def backward(dy):
        won = patches.argmax(axis=4)[..., None] == np.arange(size * size)
        share = (dy[..., None] * won).reshape(*dy.shape, size, size)
        dx = _scatter(np.moveaxis(share, 3, 5), padded.shape[1:3], stride)
        return [dx[:, : x.shape[1], : x.shape[2]]]

    return patches.max(axis=4), backward


def average_pool(x, *, size=3, stride=2, overhang=0):
    """As `max_pool`; beyond the edges there is nothing to average."""
    padded = _overhang(x, overhang, 0)
    inside = _overhang(np.ones_like(x), overhang, 0)
    counts = _patches(inside, size, stride).sum(axis=(4, 5))

    def backward(dy):
        share = np.tile(
            (dy / counts)[:, :, :, None, None], (1, 1, 1, size, size, 1)
        )
        dx = _scatter(share, padded.shape[1:3], stride)
        return [dx[:, : x.shape[1], : x.shape[2]]]

    return _patches(padded, size, stride).sum(axis=(4, 5)) / counts, backward


def map_norm(x, *, k, alpha, beta=0.75, n=5, towers=1):
    """x / (k + alpha * sum of squares over n maps of its tower)^beta."""

    def neighbours(values):
        sides = ((0, 0), (0, 0), (0, 0), (n // 2, n // 2))
        return np.concatenate(
            [
                sliding_window_view(np.pad(tower, sides), n, axis=3).sum(axis=4)
                for tower in np.split(values, towers, axis=3)
            ],
            axis=3,
        )

    return _normalize(x, neighbours, k, alpha, beta)


def spatial_norm(x, *, k, alpha, beta=0.75, n=5):
    """x / (k + alpha * sum of squares over n x n pixels of its map)^beta."""

    def neighbours(values):
        sides = ((0, 0), (n // 2, n // 2), (n // 2, n // 2), (0, 0))
        return _patches(np.pad(values, sides), n, 1).sum(axis=(4, 5))

    return _normalize(x, neighbours, k, alpha, beta)


def cross_entropy(logits, labels):
    """The mean over the batch, and its gradient."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    right = np.eye(logits.shape[1])[labels]
    loss = -(log_p * right).sum() / len(labels)
    return loss, (np.exp(log_p) - right) / len(labels)


def _normalize(x, neighbours, k, alpha, beta):
    scale = k + alpha * neighbours(x**2)

    def backward(dy):
        # x_i stands in the sums of its neighbours, as they do in its own.
        through_sums = neighbours(dy * x * scale ** (-beta - 1))
        return [dy * scale**-beta - 2 * alpha * beta * x * through_sums]

    return x * scale**-beta, backward


def _patches(x, size, stride):
    """[B, H', W', C, size, size]."""
    patches = sliding_window_view(x, (size, size), axis=(1, 2))
    return patches[:, ::stride, ::stride]


def _scatter(patches, shape, stride):
    """Sums [B, H', W', size, size, C] where they came from: [B, *shape, C]."""
    batch, height, width, size, _, channels = patches.shape
    x = np.zeros((batch, *shape, channels))
    for i in range(size):
        for j in range(size):
            rows = slice(i, i + stride * height, stride)
            columns = slice(j, j + stride * width, stride)
            x[:, rows, columns] += patches[:, :, :, i, j]
    return x


def _overhang(x, overhang, value):
    sides = ((0, 0), (0, overhang), (0, overhang), (0, 0))
    return np.pad(x, sides, constant_values=value)


def _conv(name, size, **constants):
    return name, convolution, dict(size=size, **constants)


def _fc(name):
    return name, dense, {}


RELU = relu, {}
FLATTEN = flatten, {}
POOL = max_pool, {}

# Section 3.3: k = 2, n = 5, alpha = 10^-4, beta = .75, as printed.
_PAPER_NORM = map_norm, dict(k=2, alpha=1e-4)
# minDiv=2, scale=.0001, divided by the size of 5; each GPU its own maps.
_CODE_NORM = map_norm, dict(k=2, alpha=2e-5, towers=2)
# scale=.001, divided by 5 * 5.
_CODE_SPATIAL_NORM = spatial_norm, dict(k=1, alpha=4e-5)
# alpha: 0.0001, divided by local_size: 5; k is 1 where nothing is said.
_CAFFE_NORM = map_norm, dict(k=1, alpha=2e-5)
# scale=.00005, divided by 3 * 3.
_CIFAR10_NORM = spatial_norm, dict(k=1, alpha=5e-5 / 9, n=3)

_FULLY_CONNECTED = (
    FLATTEN, _fc("fc6"), RELU, _fc("fc7"), RELU, _fc("fc8"),
)
_DEEP = (
    _conv("conv3", 3, margins=(1, 1)), RELU,
    _conv("conv4", 3, margins=(1, 1), groups=2), RELU,
    _conv("conv5", 3, margins=(1, 1), groups=2), RELU, POOL,
    *_FULLY_CONNECTED,
)  # fmt: skip

FAMILIES = {
    "paper": (
        _conv("conv1", 11, stride=4, margins=(0, 3)), RELU, _PAPER_NORM, POOL,
        _conv("conv2", 5, margins=(2, 2), groups=2), RELU, _PAPER_NORM, POOL,
        *_DEEP,
    ),
    "code2012": (
        _conv("conv1", 11, stride=4, margins=(0, 3)), _CODE_NORM, POOL, RELU,
        _conv("conv2", 5, margins=(2, 2), groups=2), RELU,
        _CODE_NORM, _CODE_SPATIAL_NORM, POOL,
        _conv("conv3", 3, margins=(1, 1)), RELU,
        _conv("conv4", 3, margins=(1, 1), groups=2), RELU,
        _conv("conv5", 3, margins=(1, 1), groups=2), POOL, RELU,
        *_FULLY_CONNECTED,
    ),
    "caffe": (
        _conv("conv1", 11, stride=4), RELU, _CAFFE_NORM, POOL,
        _conv("conv2", 5, margins=(2, 2), groups=2), RELU, _CAFFE_NORM, POOL,
        *_DEEP,
    ),
    "caffenet": (
        _conv("conv1", 11, stride=4), RELU, POOL, _CAFFE_NORM,
        _conv("conv2", 5, margins=(2, 2), groups=2), RELU, POOL, _CAFFE_NORM,
        *_DEEP,
    ),
    "owt": (
        _conv("conv1", 11, stride=4, margins=(2, 2)), RELU, POOL,
        _conv("conv2", 5, margins=(2, 2)), RELU, POOL,
        _conv("conv3", 3, margins=(1, 1)), RELU,
        _conv("conv4", 3, margins=(1, 1)), RELU,
        _conv("conv5", 3, margins=(1, 1)), RELU, POOL,
        *_FULLY_CONNECTED,
    ),
    "cifar10_full": (
        _conv("conv1", 5, margins=(2, 2)),
        (max_pool, dict(overhang=1)), RELU, _CIFAR10_NORM,
        _conv("conv2", 5, margins=(2, 2)), RELU,
        (average_pool, dict(overhang=1)), _CIFAR10_NORM,
        _conv("conv3", 5, margins=(2, 2)), RELU,
        (average_pool, dict(overhang=1)),
        FLATTEN, _fc("fc10"),
    ),
}  # fmt: skip


def draw(family, widths, images, rng, deviation=100.0):
    """Weights {name: (kernel, bias)}: every output varies by `deviation`.

    `widths` gives filters and units by name; the last of them, the classes,
    get logits that vary by 1, for a softmax that is not yet certain.
    """
    weights, x = {}, images
    last = list(widths)[-1]
    for *name, operation, constants in FAMILIES[family]:
        arguments = []
        if name:
            shape = (x.shape[-1] // constants.get("groups", 1),)
            if operation is convolution:
                shape = (constants["size"],) * 2 + shape
            kernel = rng.standard_normal((*shape, widths[name[0]]))
            bias = rng.standard_normal(widths[name[0]])
            goal = 1.0 if name[0] == last else deviation
            kernel *= goal / operation(x, kernel, 0, **constants)[0].std()
            weights[name[0]] = arguments = kernel, 0.1 * goal * bias
        x, _ = operation(x, *arguments, **constants)
    return weights


def forward(family, weights, images):
    """Logits, and the way back: [(name or None, backward), ...]."""
    x, path = images, []
    for *name, operation, constants in FAMILIES[family]:
        arguments = weights[name[0]] if name else ()
        x, backward = operation(x, *arguments, **constants)
        path.append((name[0] if name else None, backward))
    return x, path


def gradients(family, weights, images, labels):
    """Mean cross-entropy, and its gradients {name: (kernel, bias)}."""
    logits, path = forward(family, weights, images)
    loss, dx = cross_entropy(logits, labels)
    found = {}
    for name, backward in reversed(path):
        dx, *of_weights = backward(dx)
        if name:
            found[name] = tuple(of_weights)
    return loss, found
