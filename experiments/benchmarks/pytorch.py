"""The same network in PyTorch, in eager mode.

    python -m experiments.benchmarks.pytorch training|inference [PRECISION [OPTION ...]]

PRECISION is float32 or mixed_bfloat16. The option `contiguous` uses contiguous memory
in place of channels last. The option `without_norm` omits response normalization, to
show how much of the time it takes.
"""

import sys

from experiments.benchmarks import timing

BATCH = 128


def build(without_norm=False):
    """Returns the network with logits as outputs, for [N, 3, 224, 224]."""
    from torch import nn

    def norm():
        # PyTorch divides alpha by the size, 5.
        norm = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
        return nn.Identity() if without_norm else norm

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
    memory = torch.channels_last if channels_last else torch.contiguous_format
    model = build("without_norm" in options).to(memory_format=memory)
    optimizer = torch.optim.SGD(
        model.parameters(), 0.01, momentum=0.9, weight_decay=5e-4
    )
    images, labels = map(torch.from_numpy, timing.batch(BATCH, channels_first=True))
    images = images.to(memory_format=memory)
    mixed = torch.autocast("cpu", torch.bfloat16, precision == "mixed_bfloat16")

    def training():
        optimizer.zero_grad()
        with mixed:
            loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()

    def inference():
        with mixed, torch.no_grad():
            model(images)

    model.train(task == "training")
    functions = {"training": training, "inference": inference}
    timing.report(functions[task], BATCH)


if __name__ == "__main__":
    main(*sys.argv[1:])
