"""Writes a trained network in a format that other programs run.

    python -m alexnet_tf.export --weights=runs/textures-tiny --output=served
    python -m alexnet_tf.export --weights=runs/textures-tiny --format=tflite \\
        --output=tiny.tflite
"""

from alexnet_tf import cli

# TensorFlow is imported in the functions that need it: --help must not wait for it.

FLAGS = [
    *cli.weights_flags(required=True),
    cli.enum_flag(
        "format",
        "saved_model",
        ["saved_model", "tflite", "tflite_8_bits", "onnx"],
        "Format to write. A saved_model takes encoded images or RGB pixels of any "
        "size; the other formats take preprocessed pixels. tflite_8_bits stores the "
        "weights in 8 bits.",
    ),
    cli.path_flag(
        "output",
        None,
        "File to write, or directory for saved_model. The path must not exist.",
        required=True,
    ),
]


def _export(args):
    from alexnet_tf.inference import export_formats

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


def main(argv=None):
    """Runs the command with the arguments `argv`, see `cli.run`."""
    cli.run("alexnet_tf.export", _export, FLAGS, argv)


if __name__ == "__main__":
    main()
