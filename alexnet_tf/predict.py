"""Names what is in pictures.

    python -m alexnet_tf.predict --weights=runs/textures-tiny a.jpg b.png
    python -m alexnet_tf.predict --weights=bvlc_alexnet.npy --preset=caffe \\
        'photos/*.jpg'

Exits with 1 if a picture could not be read; the others are named all the same.
"""

import glob
import json
import os
import sys

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
    flags.DEFINE_integer("top", 5, "Classes to name.", lower_bound=1),
    flags.DEFINE_boolean(
        "ten_crop",
        False,
        "Average the probabilities of the paper's ten views; otherwise the "
        "central view counts.",
    ),
    flags.DEFINE_boolean(
        "json", False, "Print one JSON object a picture, a line each."
    ),
    cli.define_path(
        "plot", None, "PNG to write: the pictures with their most probable "
        "classes as bars (the paper's Fig. 4, left)."
    ),
]


def _paths(patterns):
    """Files in order; a pattern without any stays, to be reported."""
    paths = []
    for pattern in patterns:
        pattern = os.path.expanduser(pattern)
        found = [] if os.path.exists(pattern) else sorted(glob.glob(pattern))
        paths += found or [pattern]
    return paths


def _predict(network, path):
    """(file's square, [(id, name, probability), ...]) of one file."""
    from alexnet_tf.models.labels import decode_predictions

    with open(path, "rb") as file:
        encoded = file.read()
    probabilities = network.probabilities(encoded, flags.FLAGS.ten_crop)
    (named,) = decode_predictions(
        probabilities[None], flags.FLAGS.top, network.classes
    )
    # Kept for the picture alone: each takes 196 KB at 256 pixels.
    return network.square(encoded) if flags.FLAGS.plot else None, named


def _print(path, named):
    if flags.FLAGS.json:
        keys = ("id", "name", "probability")
        rows = [dict(zip(keys, row)) for row in named]
        print(json.dumps({"file": path, "predictions": rows}))
        return
    print(path)
    for place, (identity, name, probability) in enumerate(named, 1):
        print(f"{place:3d}  {identity!s:10s} {name:30s} {probability:8.2%}")


def _report(path, error):
    reason = error.strerror if isinstance(error, OSError) else str(error)
    if flags.FLAGS.json:
        print(json.dumps({"file": path, "error": reason}))
    print(f"alexnet_tf.predict: {path}: {reason}", file=sys.stderr)


def _name(paths):
    """Whether all could be read."""
    from alexnet_tf import cli
    from alexnet_tf.inference.classifier import load_classifier
    from alexnet_tf import plots

    args = flags.FLAGS
    if args.plot:
        cli.check_output("plot", args.plot)
    network = load_classifier(args.weights, args.preset, args.layout)
    shown, all_read = [], True
    for path in paths:
        try:
            picture, named = _predict(network, path)
        except (ValueError, OSError) as error:
            _report(path, error)
            all_read = False
            continue
        _print(path, named)
        if args.plot:
            shown.append((os.path.basename(path), picture, named))
    if shown:
        plots.predictions(shown, args.plot)
    return all_read


def main(argv):
    if len(argv) < 2:
        raise app.UsageError("Expected files of pictures. Received: none.")
    cli.silence_libraries(flags.FLAGS["verbosity"].present)
    with cli.one_line_errors("alexnet_tf.predict"):
        all_read = _name(_paths(argv[1:]))
    sys.exit(int(not all_read))


if __name__ == "__main__":
    app.run(main)
