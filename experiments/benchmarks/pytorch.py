"""AlexNet in PyTorch, in eager mode.

    python -m experiments.benchmarks.pytorch training|inference [PRECISION [OPTION ...]]

PRECISION is float32 or mixed_bfloat16. With the option `contiguous` the memory format
is contiguous instead of channels last. With the option `without_norm` the network has
no response normalization, which shows how much time normalization takes.
"""

import sys

from experiments.benchmarks import timing

BATCH_SIZE = 128


def build(without_norm=False):
    """Returns the network, which takes [N, 3, 224, 224] and returns logits.

    Args:
        without_norm: whether to omit response normalization.
    """
    from torch import nn

    def norm():
        if without_norm:
            return nn.Identity()
        # PyTorch divides alpha by the size, 5, which gives the paper's 1e-4.
        return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)

    return nn.Sequential(
        nn.ZeroPad2d((0, 3, 0, 3)),
        nn.Conv2d(3, 96, 11, 4), nn.ReLU(), norm(), nn.MaxPool2d(3, 2),
        nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(), norm(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Flatten(),
        nn.Linear(9216, 4096), nn.ReLU(), nn.Dropout(),
        nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(),
        nn.Linear(4096, 1000),
    )  # fmt: skip


def main(task, precision="float32", *options):
    import torch

    channels_last = "contiguous" not in options
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    model = build("without_norm" in options).to(memory_format=memory_format)
    optimizer = torch.optim.SGD(
        model.parameters(), 0.01, momentum=0.9, weight_decay=5e-4
    )
    images, labels = map(
        torch.from_numpy, timing.random_batch(BATCH_SIZE, channels_first=True)
    )
    images = images.to(memory_format=memory_format)
    autocast = torch.autocast("cpu", torch.bfloat16, precision == "mixed_bfloat16")

    def train():
        optimizer.zero_grad()
        with autocast:
            loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()

    def predict():
        with autocast, torch.no_grad():
            model(images)

    model.train(task == "training")
    functions = {"training": train, "inference": predict}
    timing.report(functions[task], BATCH_SIZE)


if __name__ == "__main__":
    main(*sys.argv[1:])
