"""224 or 227: what becomes of the maps.

    python -m experiments.reproduce --table

The paper's pictures have 224 pixels, its kernels 11 at every 4th, its maps 55
(the neurons of Fig. 2). That is no whole number of steps: (224 - 11) / 4 =
53.25. The authors' code rounds up, and its last windows read zeros to the right
of the picture and below it. Others took 227 pixels, or whatever their library
did by default; computed here from the networks themselves.
"""

import dataclasses

from alexnet_tf.models import alexnet
from alexnet_tf.models import receptive_fields
from alexnet_tf import presets

NAME = "geometries"
LAYERS = ("conv1", "pool1", "conv2", "pool2", "conv5", "pool5")
HEAD = (
    "geometry", *LAYERS, "inputs of fc6", "parameters", "conv1 begins at pixel",
    "what breaks",
)  # fmt: skip


def _changed(conv1, pools="valid", size=224):
    """`paper` with another padding of conv1 and of the poolings."""
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
        _changed(presets.OVERHANG), "nothing",
    ),
    "227, no zeros (Caffe)": (_changed("valid", size=227), "nothing"),
    "224, no zeros (VALID)": (
        _changed("valid"),
        "fc6 has 6,400 inputs: no published weights fit",
    ),
    "224, zeros all round (SAME)": (
        _changed("same"),
        "nothing fails, but maps of 56, and every kernel sits 3 pixels off",
    ),
    "224, SAME poolings too": (
        _changed("same", "same"),
        "fc6 has 12,544 inputs: no published weights fit",
    ),
}  # fmt: skip


def rows(log):
    """The table's, see `HEAD`."""
    del log
    found = []
    for name, (preset, breaks) in GEOMETRIES.items():
        model = alexnet.AlexNet(preset)
        fields = {f.layer: f for f in receptive_fields.receptive_fields(model)}
        sides = [fields[layer].side for layer in LAYERS]
        inputs = model.get_layer("fc6").kernel.shape[0]
        parameters = f"{model.count_params():,}"
        start = fields["conv1"].start
        found.append((name, *sides, f"{inputs:,}", parameters, start, breaks))
    return found
