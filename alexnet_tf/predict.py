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

# A figure of 400 images would take more than ten minutes.
MAX_FIGURE_IMAGES = 60

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
        "as on the left of the paper's Fig. 4, at most the first "
        f"{MAX_FIGURE_IMAGES}, or .csv for a table with a line for each class. With a "
        "table, the predictions are not printed too, unless --json is given.",
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


class _Printer:
    """Prints predictions as a table or as JSON objects."""

    def __init__(self, as_json):
        self._as_json, self._has_head = as_json, False

    def add(self, prediction):
        if prediction.error is not None:
            return
        if not self._as_json and not self._has_head:
            print(f"rank  {'id':10s} {'name':30s} probability")
            self._has_head = True
        _print_classes(prediction, self._as_json)

    def finish(self):
        """Does nothing: there is no file."""


class _Table:
    """Collects predictions, and writes a table of them."""

    def __init__(self, path):
        self._path, self._predictions = path, []

    def add(self, prediction):
        self._predictions.append(prediction)

    def finish(self):
        """Writes the file, and returns a line about it."""
        with files.atomic_text(self._path) as file:
            writer = csv.writer(file)
            writer.writerow(["file", "rank", "id", "name", "probability", "error"])
            for prediction in self._predictions:
                writer.writerows(_table_rows(prediction))
        count = len(self._predictions)
        num_bad = sum(each.error is not None for each in self._predictions)
        unreadable = f", {num_bad:,} unreadable" if num_bad else ""
        return f"{count:,} image{'s' * (count > 1)}{unreadable}: {self._path}"


class _Figure:
    """Collects predictions, and draws the first of them."""

    def __init__(self, path):
        self._path, self._rows, self._count = path, [], 0

    def add(self, prediction):
        if prediction.error is not None:
            return
        self._count += 1
        if self._count <= MAX_FIGURE_IMAGES:
            name = os.path.basename(prediction.path)
            self._rows.append((name, prediction.image, prediction.classes, None))

    def finish(self):
        """Writes the file, and returns a line about it; None if it has no images."""
        from alexnet_tf import plots

        if not self._rows:
            return None
        title = "The most probable classes"
        plots.predictions([("", self._rows)], self._path, title)
        if self._count == len(self._rows):
            return self._path
        return f"{self._path}: the first {len(self._rows)} of {self._count:,} images"


def _table_rows(prediction):
    if prediction.error is not None:
        return [[prediction.path, "", "", "", "", prediction.error]]
    return [
        [prediction.path, rank, *row, ""]
        for rank, row in enumerate(prediction.classes, 1)
    ]


def _make_outputs(args):
    """Returns objects that print or write predictions, as the flags ask."""
    if not args.output:
        return [_Printer(args.json)]
    files.check_output("--output", args.output, ".png", ".csv")
    if args.output.lower().endswith(".png"):
        return [_Printer(args.json), _Figure(args.output)]
    return [*([_Printer(True)] if args.json else []), _Table(args.output)]


def _predict(args, patterns):
    """Prints or writes all predictions, and returns whether all files could be read."""
    from alexnet_tf.inference.classifier import predict_files

    if not patterns:
        raise app.UsageError("Expected image files. Received: none.")
    outputs = _make_outputs(args)
    predictions = predict_files(
        args.weights,
        patterns,
        preset=args.preset,
        layout=args.layout,
        mean=args.mean,
        checkpoint=args.checkpoint,
        top=args.top,
        ten_crop=args.ten_crop,
        with_images=any(isinstance(output, _Figure) for output in outputs),
        exif_orientation=args.exif_orientation,
    )
    all_read = True
    for prediction in predictions:
        if prediction.error is not None:
            _print_error(prediction, args.json)
            all_read = False
        for output in outputs:
            output.add(prediction)
    for line in filter(None, [output.finish() for output in outputs]):
        # With --json, the lines of the output are JSON objects.
        print(line, file=sys.stderr if args.json else sys.stdout)
    return all_read


def main(argv=None):
    """Runs the command with the arguments `argv`, see `cli.run`."""
    cli.run("alexnet_tf.predict", _predict, FLAGS, argv, takes_arguments=True)


if __name__ == "__main__":
    main()
