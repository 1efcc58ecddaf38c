"""The data set `textures`: colored gratings and spots of ten classes.

The images are drawn from a seed, without a download, and exercise all of the code
that reads a data set: they are JPEGs of varying size and aspect ratio in TFDS's format.
Each image has two random colors, so that color says nothing about the class; each class
is closed under mirroring, so that flips do not change a label.
"""

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

# In the order of the labels.
CLASSES = (
    "horizontal_grating",
    "shallow_grating",
    "steep_grating",
    "vertical_grating",
    "upright_plaid",
    "diagonal_plaid",
    "round_spots",
    "wide_spots",
    "tall_spots",
    "rings",
)
_COUNTS = {"train": 2000, "validation": 500}


class Builder(tfds.core.GeneratorBasedBuilder):
    """The TFDS builder of `textures`."""

    name = "textures"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "2,000 + 500 images of 10 classes."}
    pkg_dir_path = None

    def _info(self):
        return self.dataset_info_from_configs(
            description=__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(encoding_format="jpeg"),
                    "label": tfds.features.ClassLabel(names=CLASSES),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in _COUNTS}

    def _generate_examples(self, split):
        for index in range(_COUNTS[split]):
            label = index % len(CLASSES)
            pixels = draw(CLASSES[label], (list(_COUNTS).index(split), index))
            encoded = tf.io.encode_jpeg(pixels, quality=90).numpy()
            yield index, {"image": encoded, "label": label}


def draw(kind, seed):
    """Draws an image of one of `CLASSES`, uint8 RGB [H, W, 3].

    H and W are random, from 64 to 160 pixels; scale, phase, tilt, contrast and both
    colors are random too.

    Args:
        kind: a name in `CLASSES`.
        seed: an integer or a tuple of integers; equal seeds give equal images.
    """
    random = np.random.default_rng(seed)
    height, width = random.integers(64, 161, 2)
    mirror = random.choice([-1, 1])
    y, x = np.mgrid[:height, :width].astype(np.float64)
    tilt = random.normal(0, np.pi / 60)
    y, x = (
        np.cos(tilt) * y - np.sin(tilt) * x,
        np.sin(tilt) * y + np.cos(tilt) * x,
    )
    # Periods per pixel: 5 to 8 periods fit into the short side.
    pitch = random.uniform(5, 8) / min(height, width)
    pattern = _pattern(kind, y * pitch, mirror * x * pitch, random)
    colors = _colors(random)  # [2, 3]
    mix = (pattern[..., None] + 1) / 2  # [H, W, 1]
    pixels = mix * colors[0] + (1 - mix) * colors[1]
    pixels += random.normal(0, random.uniform(2, 12), pixels.shape)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def _pattern(kind, y, x, random):
    """Returns a pattern, float64 [H, W] in [-1, 1]; y and x are in periods."""
    y, x = y + random.uniform(), x + random.uniform()

    def grating(degrees):
        angle = np.deg2rad(degrees)
        return np.cos(2 * np.pi * (np.cos(angle) * y + np.sin(angle) * x))

    def spots(stretch):
        # The distance to the center of the cell, in a grid with shifted rows.
        v = y * np.sqrt(stretch)
        u = x / np.sqrt(stretch) + 0.5 * (np.floor(v) % 2)
        return np.hypot((v % 1) - 0.5, (u % 1) - 0.5)

    match kind:
        case "horizontal_grating":
            return grating(0)
        case "shallow_grating":
            return grating(30)
        case "steep_grating":
            return grating(60)
        case "vertical_grating":
            return grating(90)
        case "upright_plaid":
            return (grating(0) + grating(90)) / 2
        case "diagonal_plaid":
            return (grating(45) + grating(-45)) / 2
        case "round_spots":
            return np.tanh(12 * (0.3 - spots(1)))
        case "wide_spots":
            return np.tanh(12 * (0.3 - spots(3)))
        case "tall_spots":
            return np.tanh(12 * (0.3 - spots(1 / 3)))
        case "rings":
            return np.tanh(12 * (0.12 - np.abs(spots(1) - 0.33)))


def _colors(random):
    """Draws two colors, [2, 3] in [0, 255], at least 80 levels apart."""
    while True:
        colors = random.uniform(0, 255, (2, 3))
        if np.linalg.norm(colors[0] - colors[1]) > 80:
            return colors
