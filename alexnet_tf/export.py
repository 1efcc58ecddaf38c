"""Writes a trained network in a format that other programs run.

    python -m alexnet_tf.export --weights=runs/textures-tiny --output=served
    python -m alexnet_tf.export --weights=runs/textures-tiny --format=tflite \\
        --output=tiny.tflite
"""

import os

from absl import app
from absl import flags

from alexnet_tf import cli
from alexnet_tf import presets

# TensorFlow is imported when it is needed: --help must not wait for it.

_FLAGS = [
    cli.define_path(
        "weights",
        None,
        "Directory of a run, or a file of weights (.npy, .npz, .safetensors, "
        ".weights.h5, .keras, .pth).",
        required=True,
    ),
    flags.DEFINE_enum(
        "preset",
        None,
        list(presets.PRESETS),
        "Network that a file of weights is of. Default: the run's.",
    ),
    flags.DEFINE_enum(
        "layout",
        None,
        ["caffe"],
        "Order of axes in a file, if it is Caffe's own: [out, in, ...].",
    ),
    flags.DEFINE_enum(
        "format",
        "saved_model",
        ["saved_model", "tflite", "tflite_8_bits", "onnx"],
        "saved_model takes encoded images or RGB pixels of any size; the "
        "others take preprocessed pixels.",
    ),
    cli.define_path(
        "output", None, "File, or for saved_model directory, to write.",
        required=True,
    ),
]


def _export():
    from alexnet_tf.inference.classifier import load_classifier
    from alexnet_tf.inference import export_formats

    args = flags.FLAGS
    exporters = {
        "saved_model": export_formats.saved_model,
        "tflite": export_formats.tflite,
        "tflite_8_bits": lambda network, path: export_formats.tflite(
            network, path, eight_bits=True
        ),
        "onnx": export_formats.onnx,
    }
    network = load_classifier(args.weights, args.preset, args.layout)
    folder = os.path.dirname(os.path.abspath(args.output))
    if not (os.path.isdir(folder) and os.access(folder, os.W_OK)):
        raise NotADirectoryError(
            f"Expected a folder that can be written to. Received: {folder}."
        )
    difference = exporters[args.format](network, args.output)
    print(
        f"{args.output}: {args.format}, probabilities within {difference:.1e} "
        "of the network's."
    )


def main(argv):
    cli.run("alexnet_tf.export", _export, argv)


if __name__ == "__main__":
    app.run(main)
