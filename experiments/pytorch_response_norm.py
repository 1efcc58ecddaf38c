"""The networks of `response_norm`, trained in PyTorch, several side by side.

    python -m experiments.pytorch_response_norm cifar10.npz runs.jsonl short 2000 6

This command trains six pairs of networks, with the random seeds from 2000, and appends
one line for each network to the file of results. The file with the images is written by
`pytorch_confirmations`.

The networks have two convolutions, two locally connected layers (which have different
kernels at each position) and a fully-connected layer. The constants are those of
layers-conv-local-13pct.cfg, layers-conv-local-11pct.cfg and their parameter files:
crops of 24 x 24 pixels with flips, batches of 128, momentum .9, learning rates of .001
for kernels and .002 for biases, weight decay of .004 in the last three layers, first
40,000 images and then all 50,000. Only the learning rates of kernels are divided by 10,
twice. Unlike there, the order of the images is drawn again for each epoch, and the
last, incomplete batch is left out: an epoch of 40,000 images has 312 updates here and
316 there, where each file of 10,000 images ends with a small batch. The 40,000 images
are the first ones of TFDS. On GPUs, products are computed in TF32. The networks of a
seed see the same crops for the first 100 epochs, whatever their training.
"""

import dataclasses
import sys

import torch
from torch.nn import functional

from experiments import pytorch_training
from experiments.pytorch_training import CROP
from experiments.pytorch_training import MARGIN

BATCH_SIZE = 128
_LEARNING_RATE, _BIAS_LEARNING_RATE, _WEIGHT_DECAY = 0.001, 0.002, 0.004
_DECAYED = ("local3.kernel", "local4.kernel", "fc10.kernel")


@dataclasses.dataclass(frozen=True)
class Phase:
    """Epochs with the same images and learning rate.

    Attributes:
        num_images: the number of training images; the others are not used.
        epochs: the number of epochs.
        factor: the factor of the learning rate of kernels.
    """

    num_images: int
    epochs: int
    factor: float = 1.0


# "short" is the training of layer-params-conv-local-13pct.cfg (the numbers of epochs
# are in cuda-convnet's page Methodology), and "long" that of
# layer-params-conv-local-11pct.cfg.
_LAST_PHASES = (Phase(50_000, 10, 0.1), Phase(50_000, 10, 0.01))
TRAININGS = {
    "short": (Phase(40_000, 100), Phase(50_000, 40), *_LAST_PHASES),
    "long": (Phase(40_000, 300), Phase(50_000, 150), *_LAST_PHASES),
}


# ---- The network -------------------------------------------------------------------


def initial_parameters(seed):
    """Returns {name: float32 tensor}, the initial kernels and biases.

    Kernels of convolutions are [outputs, inputs, 5, 5], those of locally connected
    layers [positions, inputs * 9, outputs], and that of "fc10" [inputs, outputs].
    Locally connected layers have a bias for each position. Biases are 0.
    """
    shapes = {
        "conv1": (64, 3, 5, 5),
        "conv2": (64, 64, 5, 5),
        "local3": (36, 64 * 9, 32),
        "local4": (36, 32 * 9, 32),
        "fc10": (32 * 36, 10),
    }
    stds = {"conv1": 0.0001, "conv2": 0.01, "local3": 0.04, "local4": 0.04}
    biases = {"conv1": (64,), "conv2": (64,), "local3": (36, 1, 32), "fc10": (10,)}
    biases["local4"] = biases["local3"]
    generator = torch.Generator().manual_seed(seed)
    parameters = {}
    for name, shape in shapes.items():
        draws = torch.randn(shape, generator=generator)
        parameters[f"{name}.kernel"] = stds.get(name, 0.01) * draws
        parameters[f"{name}.bias"] = torch.zeros(biases[name])
    return parameters


def logits(parameters, images, norm):
    """Returns the logits [B, 10].

    Args:
        parameters: as `initial_parameters` returns them.
        images: float32 [B, 3, 24, 24].
        norm: whether there is response normalization.
    """
    x = images
    for name in ("conv1", "conv2"):
        kernel, bias = parameters[f"{name}.kernel"], parameters[f"{name}.bias"]
        x = functional.conv2d(x, kernel, bias, padding=2).relu()
        if norm:
            x = normalize(x)
        # A window extends beyond the end by one pixel: 24 -> 12 -> 6.
        x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
    for name in ("local3", "local4"):
        kernel, bias = parameters[f"{name}.kernel"], parameters[f"{name}.bias"]
        x = _local(x, kernel, bias).relu()  # [B, 32, 6, 6]
    return x.flatten(1) @ parameters["fc10.kernel"] + parameters["fc10.bias"]


def normalize(x):
    """Normalizes across 5 maps: x / (1 + .001 / 5 * sum of squares)^.75.

    cuda-convnet divides the scale of the files by the number of maps (CHM
    layer.py:1183).
    """
    maps = torch.arange(x.shape[1], device=x.device)
    neighbors = ((maps[:, None] - maps).abs() <= 2).to(x.dtype)
    sums = functional.conv2d(x.square(), neighbors[:, :, None, None])
    return x * (1 + 0.001 / 5 * sums) ** -0.75


def _local(x, kernel, bias):
    """Multiplies windows of 3 x 3 pixels with the kernel of their position."""
    windows = functional.pad(x, (1, 1, 1, 1)).unfold(2, 3, 1).unfold(3, 3, 1)
    windows = windows.permute(2, 3, 0, 1, 4, 5)  # [6, 6, B, inputs, 3, 3]
    windows = windows.reshape(36, len(x), -1)
    outputs = torch.baddbmm(bias, windows, kernel)  # [36, B, outputs]
    return outputs.permute(1, 2, 0).reshape(len(x), -1, 6, 6)


# ---- Training ----------------------------------------------------------------------


class Training:
    """The training of one network, whose steps run in a stream of their own.

    Args:
        images: uint8 [N, 32, 32, 3], on the device.
        labels: int64 [N].
        seed: the random seed. Networks with the same seed have the same initial
            parameters and see the same crops in the same order.
        norm: whether there is response normalization.
    """

    def __init__(self, images, labels, seed, norm):
        self._images, self._labels, self.norm = images, labels, norm
        device = images.device
        self.mean = pytorch_training.center_crops(images.float().mean(dim=0)[None])[0]
        self.parameters = {
            name: value.to(device).requires_grad_()
            for name, value in initial_parameters(seed).items()
        }
        self._velocities = {
            name: torch.zeros_like(value) for name, value in self.parameters.items()
        }
        self._generator = torch.Generator(device).manual_seed(seed)
        self._draws = torch.zeros(BATCH_SIZE, 4, dtype=torch.int64, device=device)
        self._logits, self._stream, self._graph = logits, None, None
        if device.type == "cuda":
            self._logits, self._stream = torch.compile(logits), torch.cuda.Stream()

    def start_phase(self, phase):
        """Prepares the steps of a phase. On a GPU, they are recorded as a graph."""
        self._phase = phase
        if self._stream is not None:
            self._graph = self._record()

    def _record(self):
        # Nothing may change while the step is tried before it is recorded.
        state = [*self.parameters.values(), *self._velocities.values()]
        saved = [tensor.detach().clone() for tensor in state]
        torch.cuda.synchronize()
        with torch.cuda.stream(self._stream):
            for _ in range(3):
                self._step()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            self._step()
        with torch.no_grad():
            for tensor, value in zip(state, saved):
                tensor.copy_(value)
        torch.cuda.synchronize()
        return graph

    def draw_epoch(self):
        """Returns int64 [steps, B, 4]: index, row, column and flip of each crop."""
        count, device = self._phase.num_images, self._images.device
        options = {"generator": self._generator, "device": device}
        order = torch.randperm(count, **options)
        offsets = torch.randint(0, 2 * MARGIN + 1, (count, 2), **options)
        flips = torch.randint(0, 2, (count, 1), **options)
        draws = torch.cat([order[:, None], offsets, flips], dim=1)
        steps = count // BATCH_SIZE
        return draws[: steps * BATCH_SIZE].unflatten(0, (steps, BATCH_SIZE))

    def step(self, draws):
        """Updates the parameters with the crops of a batch, int64 [B, 4]."""
        if self._graph is None:
            self._draws.copy_(draws)
            return self._step()
        with torch.cuda.stream(self._stream):
            self._draws.copy_(draws)
            self._graph.replay()

    def _step(self):
        crops, labels = self.crops(self._draws)
        outputs = self._logits(self.parameters, crops, self.norm)
        loss = functional.cross_entropy(outputs, labels)
        gradients = torch.autograd.grad(loss, [*self.parameters.values()])
        self.update(dict(zip(self.parameters, gradients)))

    def crops(self, draws):
        """Returns (float32 [B, 3, 24, 24], int64 [B]), crops less the mean image."""
        indices, rows, columns, flips = draws.T
        crops = pytorch_training.take_crops(
            self._images, indices, rows, columns, flips == 1
        )
        crops = crops.float() - self.mean
        # In memory, the channels stay last, which suits convolutions on GPUs.
        return crops.permute(0, 3, 1, 2), self._labels[indices]

    @torch.no_grad()
    def update(self, gradients):
        """Updates the parameters with {name: gradient}, by the paper's rule."""
        for name, parameter in self.parameters.items():
            rate, decay = _BIAS_LEARNING_RATE, 0.0
            if name.endswith("kernel"):
                rate = self._phase.factor * _LEARNING_RATE
            if name in _DECAYED:
                decay = _WEIGHT_DECAY
            velocity = self._velocities[name]
            pytorch_training.update(parameter, velocity, gradients[name], rate, decay)


def train(trainings, phases):
    """Trains several networks side by side.

    Args:
        trainings: a list of `Training`.
        phases: the `Phase`s, one after the other.
    """
    for phase in phases:
        for training in trainings:
            training.start_phase(phase)
        for _ in range(phase.epochs):
            epochs = [training.draw_epoch() for training in trainings]
            _synchronize()
            for draws in zip(*epochs):
                for training, each in zip(trainings, draws):
                    training.step(each)
            _synchronize()


def _synchronize():
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@torch.no_grad()
def errors(training, images, labels):
    """Returns the top-1 errors (of center crops, of the average of ten crops).

    Args:
        training: a `Training`.
        images, labels: the test images and their labels, on the device.
    """
    end = 2 * MARGIN
    places = [(MARGIN, MARGIN), (0, 0), (0, end), (end, 0), (end, end)]
    wrong = torch.zeros(2, dtype=torch.int64, device=images.device)
    for first in range(0, len(images), 500):
        expected = labels[first : first + 500]
        views = []
        for row, column in places:
            crops = images[
                first : first + 500, row : row + CROP, column : column + CROP
            ]
            crops = (crops.float() - training.mean, crops.flip(2) - training.mean)
            for each in crops:
                inputs = each.permute(0, 3, 1, 2)
                outputs = logits(training.parameters, inputs, training.norm)
                views.append(outputs.softmax(dim=1))
        for number, probabilities in enumerate((views[0], sum(views))):
            wrong[number] += (probabilities.argmax(dim=1) != expected).sum()
    return [error / len(images) for error in wrong.tolist()]


# ---- The command -------------------------------------------------------------------


def main(images_path, results_path, training_name, first_seed, num_seeds):
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    data, processor = pytorch_training.load_data(images_path)
    seeds = range(int(first_seed), int(first_seed) + int(num_seeds))
    arms = [(norm, seed) for seed in seeds for norm in (True, False)]
    trainings = [Training(*data["train"], seed, norm) for norm, seed in arms]
    train(trainings, TRAININGS[training_name])
    for (norm, seed), training in zip(arms, trainings):
        arm = f"{training_name}_{'norm' if norm else 'no_norm'}"
        center, ten_crop = errors(training, *data["test"])
        pytorch_training.append_result(
            results_path, arm, seed, processor,
            center_error=center, ten_crop_error=ten_crop,
        )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
