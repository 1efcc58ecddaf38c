"""The data set `textures`: colored gratings and spots of ten classes.

The images are generated from seeds, without a download. They are JPEGs of varying size
and aspect ratio in TFDS's format, so that they exercise all of the code that reads a
data set. Each image has two random colors, so that the class can't be recognized by
color. The mirror image of each image is of the same class, so that flips do not change
a label.

The patterns are coarse enough for the preset `tiny`, whose conv1 sees 11 x 11 pixels of
an image of 73: a period takes 12 to 18 pixels. The kernels that it learns are smooth
for the same reason. Version 1.0.0 had 5 to 8 periods, fainter colors and twice the
noise, and its ellipses were arranged like bricks. The Fourier spectrum of the wide ones
was then that of two gratings at 34 degrees, close to that of the shallow grating at 30
degrees: one network in three never learned to distinguish the two classes.
"""

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

# The label of a class is its index.
CLASSES = (
    "horizontal_grating",
    "shallow_grating",
    "steep_grating",
    "vertical_grating",
    "upright_plaid",
    "diagonal_plaid",
    "round_spots",
    "wide_ellipses",
    "tall_ellipses",
    "rings",
)
_NUM_EXAMPLES = {"train": 2000, "validation": 500}


class Builder(tfds.core.GeneratorBasedBuilder):
    """The TFDS builder of `textures`."""

    name = "textures"
    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES = {
        "2.0.0": "Coarser patterns, stronger colors, less noise; ellipses in straight "
        "rows and columns instead of wide_spots and tall_spots.",
        "1.0.0": "2,000 training and 500 validation images.",
    }

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
        return {split: self._generate_examples(split) for split in _NUM_EXAMPLES}

    def _generate_examples(self, split):
        split_index = list(_NUM_EXAMPLES).index(split)
        for index in range(_NUM_EXAMPLES[split]):
            label = index % len(CLASSES)
            pixels = draw(CLASSES[label], (split_index, index))
            encoded = tf.io.encode_jpeg(pixels, quality=90).numpy()
            yield index, {"image": encoded, "label": label}


def draw(class_name, seed):
    """Draws an image of one class, uint8 RGB [H, W, 3].

    H and W are random, from 64 to 160 pixels. The scale, phase, tilt and noise of the
    pattern and both colors are random too.

    Args:
        class_name: a name in `CLASSES`.
        seed: an integer or a tuple of integers. Equal seeds give equal images.
    """
    rng = np.random.default_rng(seed)
    height, width = rng.integers(64, 161, 2)
    mirror = rng.choice([-1, 1])
    y, x = np.mgrid[:height, :width].astype(np.float64)
    tilt = rng.normal(0, np.pi / 60)
    y, x = (
        np.cos(tilt) * y - np.sin(tilt) * x,
        np.sin(tilt) * y + np.cos(tilt) * x,
    )
    # The short side has 4 to 6 periods.
    periods_per_pixel = rng.uniform(4, 6) / min(height, width)
    pattern = _pattern(
        class_name, y * periods_per_pixel, mirror * x * periods_per_pixel, rng
    )
    colors = _colors(rng)  # [2, 3]
    mix = (pattern[..., None] + 1) / 2  # [H, W, 1]
    pixels = mix * colors[0] + (1 - mix) * colors[1]
    pixels += rng.normal(0, rng.uniform(1, 6), pixels.shape)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def _pattern(class_name, y, x, rng):
    """Returns the pattern of a class at a random phase, float64 [H, W] in [-1, 1].

    Args:
        class_name: a name in `CLASSES`.
        y, x: float64 [H, W], the coordinates of the pixels in periods of the pattern.
        rng: a `np.random.Generator`.
    """
    y, x = y + rng.uniform(), x + rng.uniform()

    def grating(degrees):
        angle = np.deg2rad(degrees)
        return np.cos(2 * np.pi * (np.cos(angle) * y + np.sin(angle) * x))

    def center_distance(stretch=1.0, shift=0.0):
        """Returns the distance to the center of the cell, in a grid of cells.

        Args:
            stretch: the ratio of the sides of a cell: wide above 1, tall below 1.
            shift: the part of a cell by which every second row is shifted.
        """
        row = y * np.sqrt(stretch)
        column = x / np.sqrt(stretch) + shift * (np.floor(row) % 2)
        return np.hypot((row % 1) - 0.5, (column % 1) - 0.5)

    match class_name:
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
            return np.tanh(12 * (0.3 - center_distance(shift=0.5)))
        case "wide_ellipses":
            return np.tanh(12 * (0.3 - center_distance(2.5)))
        case "tall_ellipses":
            return np.tanh(12 * (0.3 - center_distance(1 / 2.5)))
        case "rings":
            return np.tanh(12 * (0.12 - np.abs(center_distance(shift=0.5) - 0.33)))


def _colors(rng):
    """Draws two random colors, float64 RGB [2, 3] in [0, 255].

    Their distance is more than 120 gray levels, so that the pattern is visible.
    """
    while True:
        colors = rng.uniform(0, 255, (2, 3))
        if np.linalg.norm(colors[0] - colors[1]) > 120:
            return colors
