"""Writes a trained network in a format that other programs run.

    python -m alexnet_tf.export --weights=runs/textures-tiny --output=served
    python -m alexnet_tf.export --weights=runs/textures-tiny --output=tiny.tflite
    python -m alexnet_tf.export --weights=runs/textures-tiny --format=tflite_int8 \\
        --output=tiny_int8.tflite

The written file is run, and the command prints how its outputs differ from those of the
network.
"""

from alexnet_tf import cli

# TensorFlow is imported in the functions that need it: --help must not wait for it.

FLAGS = [
    *cli.weights_flags(required=True),
    cli.mean_flag(),
    cli.checkpoint_flag(),
    cli.enum_flag(
        "format",
        None,
        ["saved_model", "keras", "tflite", "tflite_8_bits", "tflite_int8", "onnx"],
        "Format to write. Default: keras, tflite or onnx if --output ends in .keras, "
        ".tflite or .onnx; saved_model for other names. A saved_model takes encoded "
        "images or RGB pixels of any size; the other formats take preprocessed pixels. "
        "keras is a file for keras.saving.load_model. tflite_8_bits stores the "
        "weights in 8 bits (dynamic range quantization); its input and output are "
        "float32. tflite_int8 computes with 8-bit "
        "integers only; its input and output are int8, and no operation stays in "
        "float32. It needs representative images, whose activations determine the "
        "ranges of the integers.",
    ),
    cli.path_flag(
        "output",
        None,
        "File to write, or directory for saved_model. The path must not exist.",
        required=True,
    ),
    *cli.data_flags(
        "Data set with the representative images of tflite_int8, named as for "
        "alexnet_tf.train. Default: that of the run.",
        "Split with the representative images. Default: the one that the run was "
        "trained on.",
    ),
    cli.integer_flag(
        "calibration_images",
        100,
        "Number of representative images for tflite_int8.",
        lower_bound=1,
        upper_bound=10_000,
    ),
]


def _export(args):
    from alexnet_tf.inference import export_formats

    format = export_formats.find_format(args.output, args.format)
    comparison = export_formats.export(
        args.weights,
        args.output,
        format,
        preset=args.preset,
        layout=args.layout,
        mean=args.mean,
        checkpoint=args.checkpoint,
        dataset=args.dataset,
        split=args.split,
        data_dir=args.data_dir,
        image_key=args.image_key,
        label_key=args.label_key,
        calibration_images=args.calibration_images,
    )
    print(
        f"{args.output}: {format}, probabilities within "
        f"{comparison.difference:.1e} of the network's."
    )
    if format == "tflite_int8":
        print(
            f"The predicted class equals the network's for {comparison.same_class:.1%} "
            f"of the {comparison.num_images} representative images."
        )


def main(argv=None):
    """Runs the command with the arguments `argv`, see `cli.run`."""
    cli.run("alexnet_tf.export", _export, FLAGS, argv)


if __name__ == "__main__":
    main()
