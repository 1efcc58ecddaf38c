"""Center crops of examples, as inputs of a network and as the images to show."""

import dataclasses
import os

import numpy as np

from alexnet_tf.data import preprocess
from alexnet_tf.models.labels import readable_name


@dataclasses.dataclass(frozen=True)
class InputImage:
    """The center crop of an example.

    Attributes:
        title: the name of the true class; the name of the file if it is not known.
        label: the index of the true class; None if it is not known.
        inputs: float32 [crop, crop, 3], the input of the network.
        pixels: uint8 RGB [crop, crop, 3], the same crop before the mean is subtracted.
    """

    title: str
    label: int | None
    inputs: np.ndarray
    pixels: np.ndarray

    @property
    def caption(self):
        """The title, marked as the true class if it is one."""
        return self.title if self.label is None else f"true: {self.title}"


def load(classifier, source, example):
    """Returns the `InputImage` of an example.

    Args:
        classifier: a `Classifier`.
        source: the `Source` of the example, whose classes may be unknown.
        example: an example from `Source.take_indices`.

    Raises:
        ValueError: if the bytes are not an image. The error names the example.
    """
    label = int(example["label"])
    is_known = 0 <= label < len(source.classes)
    if is_known:
        title = readable_name(source.classes[label])
    else:
        title = os.path.basename(os.fsdecode(example["name"]))
    try:
        inputs = classifier.center_crop(example["image"]).numpy()
    except ValueError as error:
        raise ValueError(f"{os.fsdecode(example['name'])}: {error}") from error
    pixels = rgb_crop(classifier, example["image"])
    return InputImage(title, label if is_known else None, inputs, pixels)


def rgb_crop(classifier, encoded):
    """Returns the center crop of an image, uint8 RGB [crop, crop, 3].

    Args:
        classifier: a `Classifier`.
        encoded: the bytes of the image file.
    """
    preprocessing = classifier.preset.preprocessing
    offset = preprocess.center_offset(preprocessing)
    return preprocess.decode_crop(encoded, offset, preprocessing).numpy()


def gray_input(classifier, level=128):
    """Returns a gray image as an input of the network, float32 [crop, crop, 3].

    Args:
        classifier: a `Classifier`.
        level: the gray level, in [0, 255].
    """
    preprocessing = classifier.preset.preprocessing
    side = preprocessing.image_size
    image = np.full((1, side, side, 3), level, np.uint8)
    crops = preprocess.center_crop(image, preprocessing, classifier.statistics)
    return crops[0].numpy()


def to_rgb(values, classifier):
    """Returns values of the network's input channels, [..., 3], in the order RGB."""
    if classifier.preset.preprocessing.channel_order == "bgr":
        return values[..., ::-1]
    return values
