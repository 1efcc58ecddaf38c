"""Input pipelines that compute random crops of photographs for training.

    python -m experiments.benchmarks.loaders PROGRAM FOLDER

PROGRAM is alexnet_tf, torchvision_pil, torchvision_v2, or decode, which only decodes
whole images with TensorFlow. FOLDER has a folder of JPEGs for each class. All programs
read the same files in random order, in batches of 100 images. All but decode return
normalized crops of 224 x 224 pixels, of images whose short side is resized to 256
pixels. torchvision's loader has a process for each CPU.

The median throughput of several parts of 5 batches is printed as a line of JSON, as
`timing.report` does. FOLDER should have thousands of images, because the start of an
epoch takes time.
"""

import itertools
import os
import sys

from alexnet_tf import onednn
from experiments.benchmarks import timing

BATCH_SIZE = 100
_BATCHES_PER_PART = 5
# The mean and the standard deviation of ImageNet's RGB values, in [0, 1].
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def alexnet_tf_batches(folder):
    """Returns the batches of an epoch of `input_pipeline`."""
    onednn.enable_if_faster()
    from alexnet_tf import presets
    from alexnet_tf.data import datasets
    from alexnet_tf.data import input_pipeline
    from alexnet_tf.data import pixel_statistics

    source = datasets.load(f"folder:{folder}", "train")
    preprocessing = presets.get("paper").preprocessing
    return input_pipeline.training_batches(
        source,
        preprocessing,
        pixel_statistics.imagenet(preprocessing),
        batch_size=BATCH_SIZE,
        seed=0,
        epoch=0,
        steps=source.num_examples // BATCH_SIZE,
    )


def decode_batches(folder):
    """Returns batches of the shapes of decoded images."""
    import tensorflow as tf

    def decode(path):
        return tf.shape(tf.io.decode_jpeg(tf.io.read_file(path), channels=3))

    paths = tf.data.Dataset.list_files(f"{folder}/*/*")
    shapes = paths.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
    return shapes.batch(BATCH_SIZE, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def torchvision_batches(folder, on_tensors):
    """Returns the batches of an epoch of torchvision.

    Args:
        folder: the folder of the images.
        on_tensors: whether to resize and crop tensors with torchvision.transforms.v2,
            instead of images of PIL.
    """
    import torch
    import torchvision
    from torchvision.io import decode_image
    from torchvision.io import ImageReadMode
    from torchvision.transforms import v2

    transform = v2.Compose(
        [
            v2.Resize(256),
            v2.RandomCrop(224),
            v2.RandomHorizontalFlip(),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(_MEAN, _STD),
        ]
    )
    images = torchvision.datasets.ImageFolder(folder, transform)
    if on_tensors:
        images.loader = lambda path: decode_image(path, mode=ImageReadMode.RGB)
    return torch.utils.data.DataLoader(
        images, BATCH_SIZE, shuffle=True, drop_last=True, persistent_workers=True,
        num_workers=len(os.sched_getaffinity(0)),
    )  # fmt: skip


PROGRAMS = {
    "alexnet_tf": alexnet_tf_batches,
    "torchvision_pil": lambda folder: torchvision_batches(folder, on_tensors=False),
    "torchvision_v2": lambda folder: torchvision_batches(folder, on_tensors=True),
    "decode": decode_batches,
}


def main(program, folder):
    epoch = PROGRAMS[program](folder)
    batches = itertools.chain.from_iterable(itertools.repeat(epoch))

    def read_part():
        for _ in itertools.islice(batches, _BATCHES_PER_PART):
            pass

    timing.report(read_part, _BATCHES_PER_PART * BATCH_SIZE, repeats=5)


if __name__ == "__main__":
    main(*sys.argv[1:])
