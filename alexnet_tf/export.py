"""Writes a trained network in a format that other programs run.

    python -m alexnet_tf.export --weights=runs/textures-tiny --output=served
    python -m alexnet_tf.export --weights=runs/textures-tiny --format=tflite \\
        --output=tiny.tflite
"""

from absl import app
from absl import flags

from alexnet_tf import cli

# TensorFlow is imported in the functions that need it: --help must not wait for it.

_FLAGS = [
    *cli.define_weights(required=True),
    flags.DEFINE_enum(
        "format",
        "saved_model",
        ["saved_model", "tflite", "tflite_8_bits", "onnx"],
        "Format to write. A saved_model takes encoded images or RGB pixels of any "
        "size; the other formats take preprocessed pixels. tflite_8_bits stores the "
        "weights in 8 bits.",
    ),
    cli.define_path(
        "output",
        None,
        "File to write, or directory for saved_model. The path must not exist.",
        required=True,
    ),
]


def _export():
    from alexnet_tf.inference import export_formats

    args = flags.FLAGS
    difference = export_formats.export(
        args.weights,
        args.output,
        args.format,
        preset=args.preset,
        layout=args.layout,
    )
    print(
        f"{args.output}: {args.format}, probabilities within {difference:.1e} "
        "of the network's."
    )


def main(argv):
    cli.run("alexnet_tf.export", _export, argv)


if __name__ == "__main__":
    app.run(main)
