"""The networks of `confirmations`, trained in PyTorch, many random seeds at a time.

    python -m experiments.pytorch_training cifar10.npz runs.jsonl small base

This module shares no code with the package, so that a mistake in the package would show
as a difference. It needs PyTorch, NumPy and Pillow, and no TensorFlow. The file with
the images is written by `pytorch_confirmations`. The runs of an arm are appended to the
file of results, one line for each seed. All seeds of an arm are trained side by side:
parameters and batches have a leading dimension for the seeds.
"""

import dataclasses
import io
import json
import math
import platform
import sys

import numpy as np
from PIL import Image
import torch
from torch.nn import functional

FIRST_SEED = 1000
BATCH_SIZE = 64
CROP, MARGIN = 24, 4  # Center crops begin at pixel 4 of 32.
_LEARNING_RATE, _MOMENTUM, _WEIGHT_DECAY = 0.004, 0.9, 0.004
_BIAS_FACTOR = 2  # The learning rate of the biases relative to that of the kernels.


@dataclasses.dataclass(frozen=True)
class Study:
    """The size of a study: images, epochs, hidden layers and seeds.

    Attributes:
        num_images: the number of training images.
        epochs: the number of epochs.
        boundaries: the epochs before which the learning rate is divided by 10.
        hidden: the numbers of units of the hidden layers.
        num_seeds: the number of seeds.
        arms: the names of the arms.
    """

    num_images: int
    epochs: int
    boundaries: tuple[int, ...]
    hidden: tuple[int, ...]
    num_seeds: int
    arms: tuple[str, ...]


_COMPONENTS = ("base", "no_norm", "no_overlap", "no_pca_color")
STUDIES = {
    "small": Study(10_000, 50, (40, 46), (256,), 40, _COMPONENTS),
    "all": Study(50_000, 20, (15, 18), (256,), 8, _COMPONENTS),
    "wide": Study(5_000, 200, (160, 184), (1024, 1024), 16, ("base", "no_dropout")),
}


@dataclasses.dataclass(frozen=True)
class Arm:
    """The components of a network, of which an arm other than "base" lacks one."""

    norm: bool = True
    pool_size: int = 3
    color_std: float = 0.1
    dropout: float = 0.5


ARMS = {
    "base": Arm(),
    "no_norm": Arm(norm=False),
    "no_overlap": Arm(pool_size=2),
    "no_pca_color": Arm(color_std=0.0),
    "no_dropout": Arm(dropout=0.0),
}


# ---- The network -------------------------------------------------------------------


def initial_parameters(seeds, hidden):
    """Returns {name: tensor [seeds, ...]}, the initial kernels and biases.

    Kernels of convolutions are [seeds, outputs, inputs * 25], and those of other layers
    [seeds, inputs, outputs]. Biases are 0.

    Args:
        seeds: the random seeds. The parameters of a seed do not depend on the others.
        hidden: the numbers of units of the hidden layers.
    """
    shapes = {"conv1": (32, 75), "conv2": (32, 800), "conv3": (64, 800)}
    stds = {"conv1": 0.0001, "conv2": 0.01, "conv3": 0.01}
    num_inputs = 3 * 3 * 64
    for number, units in enumerate(hidden, 4):
        shapes[f"fc{number}"] = (num_inputs, units)
        stds[f"fc{number}"] = math.sqrt(2 / num_inputs)
        num_inputs = units
    shapes["fc10"], stds["fc10"] = (num_inputs, 10), 0.01
    parameters = {}
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    for name, shape in shapes.items():
        draws = [torch.randn(shape, generator=generator) for generator in generators]
        parameters[f"{name}.kernel"] = stds[name] * torch.stack(draws)
        units = shape[0] if name.startswith("conv") else shape[1]
        parameters[f"{name}.bias"] = torch.zeros(len(seeds), units)
    return parameters


def logits(parameters, images, arm, masks=None):
    """Returns the logits, [seeds, B, 10].

    Args:
        parameters: as `initial_parameters` returns them.
        images: float32 [seeds, B, 3, 24, 24].
        arm: an `Arm`.
        masks: {name of a hidden layer: float32 [seeds, B, units]}, the factors of the
            units in training; None for evaluation.
    """
    x = _convolve(images, parameters, "conv1")  # [seeds, B, 32, 24, 24]
    x = _max_pool(x, arm.pool_size).relu()  # [seeds, B, 32, 12, 12]
    if arm.norm:
        x = _normalize(x)
    x = _convolve(x, parameters, "conv2").relu()
    if arm.norm:
        x = _normalize(x)
    x = _average_pool(x, arm.pool_size)  # [seeds, B, 32, 6, 6]
    x = _convolve(x, parameters, "conv3").relu()
    x = _average_pool(x, arm.pool_size)  # [seeds, B, 64, 3, 3]
    # In the order height, width, maps, as in TensorFlow.
    x = x.permute(0, 1, 3, 4, 2).flatten(2)  # [seeds, B, 576]
    for name in hidden_layers(parameters):
        x = _multiply(x, parameters, name).relu()
        if masks is not None:
            x = x * masks[name]
    return _multiply(x, parameters, "fc10")


def hidden_layers(parameters):
    """Returns {name of a hidden layer: number of units}."""
    names = [name.partition(".")[0] for name in parameters if name.endswith(".bias")]
    return {
        name: parameters[f"{name}.bias"].shape[1]
        for name in names
        if name.startswith("fc") and name != "fc10"
    }


def _convolve(x, parameters, name):
    """Convolves with kernels of 5 x 5 pixels and zero padding of 2 pixels."""
    kernel, bias = parameters[f"{name}.kernel"], parameters[f"{name}.bias"]
    batch, _, height, width = x.shape[1:]
    # `functional.unfold` would start a GPU kernel for each image.
    windows = functional.pad(x, (2, 2, 2, 2)).unfold(3, 5, 1).unfold(4, 5, 1)
    windows = windows.permute(0, 2, 5, 6, 1, 3, 4)  # [seeds, inputs, 5, 5, B, ...]
    windows = windows.reshape(len(x), kernel.shape[2], -1)
    outputs = torch.baddbmm(bias[..., None], kernel, windows)
    outputs = outputs.unflatten(2, (batch, height, width))
    return outputs.transpose(1, 2)  # [seeds, B, outputs, height, width]


def _multiply(x, parameters, name):
    kernel, bias = parameters[f"{name}.kernel"], parameters[f"{name}.bias"]
    return torch.baddbmm(bias[:, None], x, kernel)


def _normalize(x):
    """Normalizes across 9 maps: x / (1 + .001 / 9 * sum of squares)^.75."""
    squares = functional.pad(x.square(), (0, 0, 0, 0, 4, 4))
    num_maps = x.shape[2]
    sums = sum(squares[:, :, first : first + num_maps] for first in range(9))
    return x * (1 + 0.001 / 9 * sums) ** -0.75


def _max_pool(x, size):
    """Pools with a stride of 2. A window of 3 extends beyond the end by one pixel."""
    padded = functional.pad(x.flatten(0, 1), (0, size - 2) * 2, value=-math.inf)
    return functional.max_pool2d(padded, size, 2).unflatten(0, x.shape[:2])


def _average_pool(x, size):
    """Pools like `_max_pool`. Padding does not count in the averages."""
    padded = functional.pad(x.flatten(0, 1), (0, size - 2) * 2)
    counts = functional.pad(torch.ones_like(x[0, 0, :1]), (0, size - 2) * 2)
    pooled = functional.avg_pool2d(padded, size, 2)
    pooled = pooled / functional.avg_pool2d(counts, size, 2)
    return pooled.unflatten(0, x.shape[:2])


# ---- Training ----------------------------------------------------------------------


def step(parameters, velocities, gradients, learning_rate):
    """Updates parameters and velocities in place, with the paper's rule.

    Args:
        parameters, velocities, gradients: {name: tensor}.
        learning_rate: the learning rate of the kernels.
    """
    for name, parameter in parameters.items():
        rate, decay = learning_rate, _WEIGHT_DECAY
        if not name.endswith("kernel"):
            rate, decay = _BIAS_FACTOR * learning_rate, 0.0
        update(parameter, velocities[name], gradients[name], rate, decay)


def update(parameter, velocity, gradient, learning_rate, weight_decay):
    """Updates one parameter and its velocity in place, with the paper's rule."""
    if weight_decay:
        gradient = gradient + weight_decay * parameter
    velocity.mul_(_MOMENTUM).sub_(gradient, alpha=learning_rate)
    parameter.add_(velocity)


def gradients_of(parameters, images, labels, arm, masks):
    """Returns {name: gradient of the mean cross-entropy of each seed}."""
    leaves = {
        name: value.detach().requires_grad_() for name, value in parameters.items()
    }
    outputs = logits(leaves, images, arm, masks)
    # The sum over the seeds of the means over the batch.
    loss = functional.cross_entropy(
        outputs.flatten(0, 1), labels.flatten(), reduction="sum"
    ) / labels.shape[1]
    return dict(zip(leaves, torch.autograd.grad(loss, [*leaves.values()])))


class Batches:
    """Augmented random batches of an epoch, for several seeds at a time.

    Args:
        images: uint8 [N, 32, 32, 3], on the device.
        labels: int64 [N].
        num_seeds: the number of seeds.
        color_std: the standard deviation of the factors of PCA color augmentation.
        generator: a `torch.Generator` of the device. Arms with generators of the same
            seed see the same crops in the same order.
    """

    def __init__(self, images, labels, num_seeds, color_std, generator):
        self._images, self._labels, self._num_seeds = images, labels, num_seeds
        self._color_std, self._generator = color_std, generator
        pixels = images.double().flatten(0, 2)
        variances, components = torch.linalg.eigh(torch.cov(pixels.T, correction=0))
        self._colors = (components * variances.clamp(min=0).sqrt()).T.float()
        self.mean = center_crops(images.double().mean(dim=0)[None])[0].float()

    def epoch(self):
        """Yields (float32 [seeds, B, 3, 24, 24], int64 [seeds, B])."""
        orders = torch.stack([self._permutation() for _ in range(self._num_seeds)])
        for first in range(0, len(self._images) - BATCH_SIZE + 1, BATCH_SIZE):
            indices = orders[:, first : first + BATCH_SIZE]
            yield self._augment(indices), self._labels[indices]

    def _permutation(self):
        return torch.randperm(
            len(self._images), generator=self._generator, device=self._images.device
        )

    def _augment(self, indices):
        shape, device = indices.shape, indices.device
        offsets = torch.randint(
            0, 2 * MARGIN + 1, (2, *shape), generator=self._generator, device=device
        )
        flips = torch.rand(shape, generator=self._generator, device=device) < 0.5
        draws = torch.randn((*shape, 3), generator=self._generator, device=device)
        crops = take_crops(self._images, indices, *offsets, flips)
        colors = self._color_std * draws @ self._colors  # [seeds, B, 3]
        crops = crops.float() - self.mean + colors[:, :, None, None]
        return crops.permute(0, 1, 4, 2, 3).contiguous()


def take_crops(images, indices, rows, columns, flips):
    """Returns crops [..., 24, 24, 3] of images.

    Args:
        images: [N, 32, 32, 3].
        indices: the images of the crops, int64 [...].
        rows, columns: where the crops begin, int64 [...].
        flips: whether the crops are flipped, bool [...].
    """
    positions = torch.arange(CROP, device=images.device)
    rows = rows[..., None] + positions  # [..., 24]
    flipped = torch.where(flips[..., None], positions.flip(0), positions)
    columns = columns[..., None] + flipped
    return images[indices[..., None, None], rows[..., None], columns[..., None, :]]


def center_crops(images):
    """Returns the center crops [N, 24, 24, 3] of images [N, 32, 32, 3]."""
    end = MARGIN + CROP
    return images[:, MARGIN:end, MARGIN:end]


def train(study, arm, images, labels, epochs=None):
    """Trains all seeds of an arm; returns (parameters, mean of the center crops).

    Args:
        study: a `Study`.
        arm: an `Arm`.
        images, labels: the training images and their labels, on the device.
        epochs: the number of epochs. Default: that of the study.
    """
    device = images.device
    seeds = range(FIRST_SEED, FIRST_SEED + study.num_seeds)
    parameters = initial_parameters(seeds, study.hidden)
    parameters = {name: value.to(device) for name, value in parameters.items()}
    velocities = {name: torch.zeros_like(value) for name, value in parameters.items()}
    generator = torch.Generator(device).manual_seed(FIRST_SEED)
    dropout_generator = torch.Generator(device).manual_seed(FIRST_SEED + 1)
    batches = Batches(images, labels, len(seeds), arm.color_std, generator)
    for epoch in range(study.epochs if epochs is None else epochs):
        drops = sum(epoch >= boundary for boundary in study.boundaries)
        learning_rate = _LEARNING_RATE / 10**drops
        for crops, crop_labels in batches.epoch():
            masks = _masks(parameters, arm.dropout, dropout_generator)
            gradients = gradients_of(parameters, crops, crop_labels, arm, masks)
            step(parameters, velocities, gradients, learning_rate)
    return parameters, batches.mean


def _masks(parameters, rate, generator):
    """Draws the factors of the hidden units: 0, or 1 / (1 - rate) if not dropped."""
    masks = {}
    for name, units in hidden_layers(parameters).items():
        shape = (len(parameters[f"{name}.bias"]), BATCH_SIZE, units)
        draws = torch.rand(shape, generator=generator, device=generator.device)
        masks[name] = (draws >= rate).float() / (1 - rate)
    return masks


@torch.no_grad()
def errors(parameters, arm, mean, images, labels):
    """Returns the top-1 errors on center crops, a list with one for each seed.

    Args:
        parameters, mean: the results of `train`.
        arm: an `Arm`.
        images, labels: the test images and their labels, on the device.
    """
    num_seeds = len(parameters["fc10.bias"])
    wrong = torch.zeros(num_seeds, device=images.device)
    for first in range(0, len(images), 500):
        crops = center_crops(images[first : first + 500]).float() - mean
        crops = crops.permute(0, 3, 1, 2).expand(num_seeds, *[-1] * 4)
        predicted = logits(parameters, crops, arm).argmax(dim=2)
        wrong += (predicted != labels[first : first + 500]).sum(dim=1)
    return (wrong.double() / len(images)).tolist()


# ---- The command -------------------------------------------------------------------


def read_images(path, split):
    """Returns the images uint8 [N, 32, 32, 3] and the labels int64 [N] of a split.

    Args:
        path: the file that `pytorch_confirmations` writes.
        split: "train" or "test".
    """
    with np.load(path) as file:
        encoded = file[f"{split}_bytes"]
        ends = np.cumsum(file[f"{split}_lengths"])
        labels = file[f"{split}_labels"].astype(np.int64)
    files = np.split(encoded, ends[:-1])
    images = [np.asarray(Image.open(io.BytesIO(file.tobytes()))) for file in files]
    return np.stack(images), labels


def load_data(path):
    """Returns ({split: [images, labels]}, the name of the processor).

    The tensors are on the GPU if there is one.

    Args:
        path: as for `read_images`.
    """
    device, processor = "cpu", platform.processor()
    if torch.cuda.is_available():
        device, processor = "cuda", torch.cuda.get_device_name()
    data = {
        split: [torch.from_numpy(array).to(device) for array in arrays]
        for split in ("train", "test")
        for arrays in [read_images(path, split)]
    }
    return data, processor


def append_result(path, arm, seed, processor, **errors):
    """Appends the line of a run to the file of results."""
    line = {"arm": arm, "seed": seed, "final": True, **errors, "processors": processor}
    line["pytorch"] = torch.__version__.partition("+")[0]
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def main(images_path, results_path, study_name, *arm_names):
    # PyTorch's default, which some installations change to TF32.
    torch.set_float32_matmul_precision("highest")
    data, processor = load_data(images_path)
    study = STUDIES[study_name]
    images, labels = (array[: study.num_images] for array in data["train"])
    for arm_name in arm_names or study.arms:
        arm = ARMS[arm_name]
        parameters, mean = train(study, arm, images, labels)
        measured = errors(parameters, arm, mean, *data["test"])
        for seed, error in enumerate(measured, FIRST_SEED):
            name = f"{study_name}_{arm_name}"
            append_result(results_path, name, seed, processor, error=error)
        print(study_name, arm_name, f"{np.mean(measured):.4f}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
