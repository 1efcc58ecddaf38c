"""Input sizes of 224 and 227 pixels, and the resulting sizes of the maps.

    python -m experiments.reproduce --table

In the paper, images are 224 pixels wide and high, the kernels of conv1 are 11 pixels
wide and high with a stride of 4, and the maps of conv1 are 55 outputs wide and high
in the drawing of Fig. 2. (The caption gives 253,440 neurons to conv1, which is
55 x 48 x 96 and not 55 x 55 x 96.) These numbers do not fit:
(224 - 11) / 4 + 1 = 54.25. The authors' code rounds up to 55, and the last windows
read zeros to the right of the image and below it. Other implementations use images of
227 pixels, or the default padding of their library. The table gives the sizes of the
maps along one side. All numbers in it are those of networks that are built for this
page.
"""

import dataclasses

from alexnet_tf.models import alexnet
from alexnet_tf.models import receptive_fields
from alexnet_tf import presets

NAME = "geometries"
LAYERS = ("conv1", "pool1", "conv2", "pool2", "conv5", "pool5")
COLUMNS = (
    "input and padding", *LAYERS, "inputs of fc6", "parameters",
    "first pixel of the first window", "consequence",
)  # fmt: skip


def _with_padding(conv1_padding, pool_padding="valid", image_size=224):
    """Returns `paper` with a different padding of conv1 and of the pooling layers.

    Args:
        conv1_padding: the padding of conv1, see `presets.Conv`.
        pool_padding: the padding of all pooling layers, "valid" or "same".
        image_size: the width and height of the input in pixels.
    """
    paper = presets.override(presets.get("paper"), crop_size=image_size)
    layers = tuple(
        dataclasses.replace(layer, padding=conv1_padding)
        if layer.name == "conv1"
        else dataclasses.replace(layer, padding=pool_padding)
        if isinstance(layer, presets.Pool)
        else layer
        for layer in paper.layers
    )
    return dataclasses.replace(paper, layers=layers)


GEOMETRIES = {
    "224, zeros to the right and below (here; the authors' code)": (
        _with_padding(presets.OVERHANG), "none",
    ),
    "227, no zeros (Caffe)": (_with_padding("valid", image_size=227), "none"),
    "224, no zeros (VALID)": (
        _with_padding("valid"),
        "fc6 has 6,400 inputs: no published weights fit",
    ),
    "224, zeros on all sides (SAME)": (
        _with_padding("same"),
        "published weights fit, but conv1 has 56 outputs a side, and all windows are "
        "shifted by 3 pixels",
    ),
    "224, zeros on all sides, also for pooling (SAME)": (
        _with_padding("same", "same"),
        "fc6 has 12,544 inputs: no published weights fit",
    ),
}  # fmt: skip


def rows(log):
    """Returns the rows of the table, see `COLUMNS`."""
    del log
    table = []
    for name, (preset, consequence) in GEOMETRIES.items():
        model = alexnet.AlexNet(preset)
        fields = {
            field.layer: field for field in receptive_fields.receptive_fields(model)
        }
        sides = [fields[layer].side for layer in LAYERS]
        inputs = f"{model.get_layer('fc6').kernel.shape[0]:,}"
        parameters = f"{model.count_params():,}"
        first_pixel = fields["conv1"].start
        table.append((name, *sides, inputs, parameters, first_pixel, consequence))
    return table
