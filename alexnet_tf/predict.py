"""Classifies image files.

    python -m alexnet_tf.predict --weights=runs/textures-tiny a.jpg b.png
    python -m alexnet_tf.predict --weights=torchvision photos/

The exit status is 1 if a file could not be read; all other files are classified.
"""

import csv
import json
import os
import sys

from absl import app

from alexnet_tf import cli
from alexnet_tf import files

# TensorFlow is imported in the functions that need it: --help must not wait for it.

FLAGS = [
    *cli.weights_flags(required=True),
    cli.mean_flag(),
    cli.checkpoint_flag(),
    cli.integer_flag("top", 5, "Number of classes to print.", lower_bound=1),
    cli.boolean_flag(
        "ten_crop",
        False,
        "Average the probabilities of the paper's ten crops instead of using the "
        "center crop.",
    ),
    cli.exif_orientation_flag(
        "Default: as in training, if the weights are those of a run on image files; "
        "true for other weights."
    ),
    cli.boolean_flag("json", False, "Print one JSON object for each image."),
    cli.path_flag(
        "output",
        None,
        "File to write: .png for the images with their most probable classes as bars, "
        "as on the left of the paper's Fig. 4, or .csv for a table with a line for "
        "each class.",
    ),
]


def _print_classes(prediction, as_json):
    if as_json:
        keys = ("id", "name", "probability")
        rows = [dict(zip(keys, row)) for row in prediction.classes]
        print(json.dumps({"file": prediction.path, "predictions": rows}))
        return
    print(prediction.path)
    for rank, (class_id, name, probability) in enumerate(prediction.classes, 1):
        print(f"{rank:4d}  {class_id!s:10s} {name:30s} {probability:11.2%}")


def _print_error(prediction, as_json):
    if as_json:
        print(json.dumps({"file": prediction.path, "error": prediction.error}))
    print(
        f"alexnet_tf.predict: {prediction.path}: {prediction.error}", file=sys.stderr
    )


def _write_table(path, predictions):
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "rank", "id", "name", "probability", "error"])
        for prediction in predictions:
            for rank, row in enumerate(prediction.classes, 1):
                writer.writerow([prediction.path, rank, *row, ""])
            if prediction.error is not None:
                writer.writerow([prediction.path, "", "", "", "", prediction.error])


def _write_figure(path, predictions):
    from alexnet_tf import plots

    rows = [
        (os.path.basename(prediction.path), prediction.image, prediction.classes, None)
        for prediction in predictions
        if prediction.error is None
    ]
    plots.predictions([("", rows)], path, "The most probable classes")


def _predict(args, patterns):
    """Prints all predictions, and returns whether all files could be read."""
    from alexnet_tf.inference.classifier import predict_files

    if not patterns:
        raise app.UsageError("Expected image files. Received: none.")
    if args.output:
        files.check_output("--output", args.output)
    is_table = (args.output or "").endswith(".csv")
    predictions = predict_files(
        args.weights,
        patterns,
        preset=args.preset,
        layout=args.layout,
        mean=args.mean,
        checkpoint=args.checkpoint,
        top=args.top,
        ten_crop=args.ten_crop,
        with_images=bool(args.output) and not is_table,
        exif_orientation=args.exif_orientation,
    )
    head = None if args.json else f"rank  {'id':10s} {'name':30s} probability"
    written, all_read = [], True
    for prediction in predictions:
        if args.output:
            written.append(prediction)
        if prediction.error is not None:
            _print_error(prediction, args.json)
            all_read = False
            continue
        if head:
            print(head)
            head = None
        _print_classes(prediction, args.json)
    if is_table or any(prediction.error is None for prediction in written):
        (_write_table if is_table else _write_figure)(args.output, written)
        # With --json, the lines of the output are JSON objects.
        print(args.output, file=sys.stderr if args.json else sys.stdout)
    return all_read


def main(argv=None):
    """Runs the command with the arguments `argv`, see `cli.run`."""
    cli.run("alexnet_tf.predict", _predict, FLAGS, argv, takes_arguments=True)


if __name__ == "__main__":
    main()
