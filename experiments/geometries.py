"""Input sizes of 224 and 227 pixels, and the sizes of the maps that follow.

    python -m experiments.reproduce --table

The paper's images have 224 pixels, its first kernels 11 pixels with a stride of 4,
and its first maps 55 outputs (the neuron counts of Fig. 2). These numbers do not
fit: (224 - 11) / 4 = 53.25. The authors' code rounds up, and its last windows read
zeros to the right of the image and below it. Others used 227 pixels, or the default
padding of their library. The sizes are read from the networks built here.
"""

import dataclasses

from alexnet_tf.models import alexnet
from alexnet_tf.models import receptive_fields
from alexnet_tf import presets

NAME = "geometries"
LAYERS = ("conv1", "pool1", "conv2", "pool2", "conv5", "pool5")
HEAD = (
    "geometry", *LAYERS, "inputs of fc6", "parameters", "first pixel of conv1",
    "consequence",
)  # fmt: skip


def _with_padding(conv1, pools="valid", size=224):
    """Returns `paper` with other paddings of conv1 and of the pooling layers.

    Args:
        conv1, pools: the padding of conv1 and of all pooling layers.
        size: pixels per side of the input.
    """
    paper = presets.override(presets.get("paper"), crop_size=size)
    layers = tuple(
        dataclasses.replace(layer, padding=conv1)
        if layer.name == "conv1"
        else dataclasses.replace(layer, padding=pools)
        if isinstance(layer, presets.Pool)
        else layer
        for layer in paper.layers
    )
    return dataclasses.replace(paper, layers=layers)


GEOMETRIES = {
    "224, zeros to the right and below (here; the authors' code)": (
        _with_padding(presets.OVERHANG), "none",
    ),
    "227, no zeros (Caffe)": (_with_padding("valid", size=227), "none"),
    "224, no zeros (VALID)": (
        _with_padding("valid"),
        "fc6 has 6,400 inputs: no published weights fit",
    ),
    "224, zeros on all sides (SAME)": (
        _with_padding("same"),
        "no error, but the maps have 56 outputs and all kernels are 3 pixels off",
    ),
    "224, SAME pooling too": (
        _with_padding("same", "same"),
        "fc6 has 12,544 inputs: no published weights fit",
    ),
}  # fmt: skip


def rows(log):
    """Returns the rows of the table, see `HEAD`."""
    del log
    table = []
    for name, (preset, consequence) in GEOMETRIES.items():
        model = alexnet.AlexNet(preset)
        fields = {f.layer: f for f in receptive_fields.receptive_fields(model)}
        sides = [fields[layer].side for layer in LAYERS]
        inputs = f"{model.get_layer('fc6').kernel.shape[0]:,}"
        parameters = f"{model.count_params():,}"
        start = fields["conv1"].start
        table.append((name, *sides, inputs, parameters, start, consequence))
    return table
