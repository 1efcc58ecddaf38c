"""Recognizes networks that no preset can represent, by the names in their files.

Most of them have layers of the right shapes, or nearly so. Without a special message
they would be rejected with a table of shapes, which does not say why.
"""

import re

BATCH_NORMALIZATION = (
    "its network has batch normalization, which none of the presets has"
)

# [(regular expressions, each of which has to match one of the names, the reason)].
# The expressions are searched in layer names such as conv_2_1 and in array names such
# as conv_2_1/conv_2_1_W.
_NETWORKS = (
    # The network is defined in convnetskeras/convnets.py of heuritech/convnets-keras.
    # Its weights are those of uoguelph-mlrg/theano_alexnet. Files for TensorFlow with
    # the same names are conversions of them.
    (
        (r"^conv_2_1(?!\d)", r"^conv_2_2(?!\d)", r"^dense_1(?!\d)"),
        "it holds the AlexNet of convnets-keras, whose layers are called conv_2_1, "
        "conv_2_2 and so on. That network pools before it normalizes, with the "
        "constants of the paper, and no preset does. The weights bvlc_caffenet are "
        "similar and have a preset",
    ),
    # models/alexnet.py of facebookresearch/deepcluster
    (
        (r"\bsobel\.[01]\b",),
        "its network computes Sobel filters of gray images before conv1, as "
        "DeepCluster does, and no preset does",
    ),
    # lpips/lpips.py of richzhang/PerceptualSimilarity
    (
        (r"\blin[0-4]\.model\.[01]\b",),
        "it holds only the weights that a perceptual metric (LPIPS) gives to the "
        "features of a network, such as torchvision's AlexNet, and no network",
    ),
    # These are the names of PyTorch. Models with the batch normalization of Keras,
    # whose arrays are called moving_mean and moving_variance, can be loaded.
    (
        (r"running_(?:mean|var)",),
        BATCH_NORMALIZATION,
    ),
)
_COMPILED = tuple(
    (tuple(re.compile(pattern) for pattern in patterns), reason)
    for patterns, reason in _NETWORKS
)
# Longer names are not searched.
_MAX_NAME_LENGTH = 200


def check_names(names):
    """Raises an error if names in a file belong to a network that no preset has.

    Args:
        names: the names of layers, or of arrays as in conv1.weight or conv1/kernel:0.

    Raises:
        ValueError: if the network is recognized. The message says why it does not fit.
    """
    names = [name for name in names if len(name) <= _MAX_NAME_LENGTH]
    for patterns, reason in _COMPILED:
        if all(any(map(pattern.search, names)) for pattern in patterns):
            raise ValueError(reason)
