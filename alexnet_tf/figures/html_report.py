"""A run as one HTML page that needs nothing beside itself."""

import base64
import dataclasses
import functools
import html
import importlib.metadata
import io
import pathlib

import numpy as np

from alexnet_tf.figures import paper_figures
from alexnet_tf.inference import evaluation
from alexnet_tf.inference import retrieval
from alexnet_tf.models.labels import readable_name
from alexnet_tf import plots
from alexnet_tf import presets
from alexnet_tf.workdir import read_environments
from alexnet_tf.workdir import read_flags
from alexnet_tf.workdir import read_metrics

_SHOWN = 8
_MOST_CLASSES = 30  # That a matrix of confusions is drawn for.
_PAIRS = 10
_DIFFERENCES = ("", "the paper or its source", "here", "where")
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 sans-serif; max-width: 70rem; margin: 2rem auto;
       padding: 0 1rem; color: #1a1a1a; background: #fff; }}
h2 {{ margin-top: 2.5rem; border-bottom: 1px solid #ccc; }}
img {{ max-width: 100%; height: auto; }}
table {{ border-collapse: collapse; }}
td, th {{ padding: .2rem .8rem .2rem 0; text-align: left;
         vertical-align: top; border-bottom: 1px solid #eee;
         overflow-wrap: anywhere; }}
td:first-child {{ white-space: nowrap; }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


def page(workdir, network, source, train_source, index, layer, verbose=0):
    """The page's HTML.

    Args:
        workdir: the directory of the run.
        network: its `Classifier`.
        source: the `Source` that predictions and errors are of.
        train_source: the one whose images are the neighbors.
        index: path of an index of its features, see `retrieval.build_index`.
        layer: whose outputs those are.
        verbose: 1 for a progress bar, 0 for none.
    """
    found, truth = evaluation.probabilities(
        network, source, "center", verbose=verbose
    )
    metrics = read_metrics(workdir)
    title = f"{network.preset.name} on {source.name}"
    sections = [
        ("Result", _result(network, source, found, truth, metrics)),
        ("Curves", _curves(metrics, title)),
        ("Kernels of the first layer", _kernels(network)),
        *_predictions(network, source, found, truth),
        ("Confusions", _confusions(source, found, truth)),
        (
            f"Nearest training images by {layer}",
            _neighbors(network, source, train_source, index, layer),
        ),
        ("Differences from the preset paper", _departures(network.preset)),
        ("Differences from the paper in this package", _differences()),
        ("Flags", _table(read_flags(workdir).items())),
        ("Environment", _environment(workdir)),
    ]
    body = "\n".join(
        f"<h2>{html.escape(name)}</h2>\n{content}" for name, content in sections
    )
    return _PAGE.format(title=html.escape(title), body=body)


def departures(preset, other):
    """[(what, other's, its own), ...]: values in which a preset is another."""
    rows = []
    for part in ("recipe", "preprocessing"):
        values = dataclasses.asdict(getattr(preset, part))
        others = dataclasses.asdict(getattr(other, part))
        rows += [
            (name, _text(others[name]), _text(value))
            for name, value in values.items()
            if value != others[name]
        ]
    layers, others = (
        {layer.name: layer for layer in each.layers} for each in (preset, other)
    )
    order = [layer.name for layer in preset.layers]
    rows += [
        (name, *_layers(others.get(name), layers.get(name)))
        for name in [*order, *(name for name in others if name not in layers)]
        if layers.get(name) != others.get(name)
    ]
    kept = [layer.name for layer in other.layers if layer.name in layers]
    if kept != [name for name in order if name in others]:
        rows.append(("order of the layers", " ".join(kept), " ".join(order)))
    return rows


def differences(readme):
    """[(number, the paper, here, where), ...] of the README's tables."""
    rows = [line for line in readme.splitlines() if line.startswith("| D")]
    cells = [row.replace("`", "").strip("| ").split(" | ") for row in rows]
    return [(*row, "")[:4] for row in cells]


def _text(value):
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def _layers(*two):
    """Texts of two layers, of which one may be None: what is not the same."""
    values = [layer and dataclasses.asdict(layer) for layer in two]
    if None in two or type(two[0]) is not type(two[1]):
        return [
            "none" if layer is None else f"{type(layer).__name__}: {_fields(each)}"
            for layer, each in zip(two, values)
        ]
    keys = [key for key in values[0] if values[0][key] != values[1][key]]
    return [_fields({key: each[key] for key in keys}) for each in values]


def _fields(values):
    return ", ".join(
        f"{key} {value}" for key, value in values.items() if key != "name"
    )


def _table(rows, head=()):
    def line(cells, tag):
        return "".join(
            f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells
        )

    if not rows:
        return "<p>None.</p>"
    lines = [line(head, "th")] if head else []
    lines += [line(row, "td") for row in rows]
    body = "".join(f"<tr>{each}</tr>\n" for each in lines)
    return f"<table>{body}</table>"


def _image(draw, text):
    """What `draw` writes to a file, within the page."""
    file = io.BytesIO()
    draw(file)
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{html.escape(text)}" src="data:image/png;base64,{data}">'


def _result(network, source, found, truth, metrics):
    rows = [("network", network.preset.name)]
    rows.append(("parameters", f"{network.model.count_params():,}"))
    rows.append(("measured on", f"{source}, {len(truth):,} images, central view"))
    for k in (1, 5):
        hits = evaluation.hits(found, truth, k)
        low, high = evaluation.interval(hits)
        rows.append(
            (
                f"top-{k} error",
                f"{1 - hits.mean():.2%} (95% interval {low:.2%} to {high:.2%})",
            )
        )
    lines = {line["split"]: line for line in metrics}
    if "train" in lines:
        last = lines["train"]
        speeds = [m.get("images_per_second") for m in metrics]
        speeds = [speed for speed in speeds if speed] or [0]
        rows += [
            ("top-1 error in training", f"{last['top1_error']:.2%}"),
            ("epochs", f"{last['epoch']:g}"),
            ("steps", f"{last['step']:,}"),
            ("images a second", f"{np.median(speeds):,.0f}" if any(speeds) else "-"),
        ]
    return _table(rows)


def _curves(metrics, title):
    if not metrics:
        return "<p>Nothing was measured in training.</p>"
    return _image(
        lambda file: plots.curves(metrics, file, title),
        "Loss and errors over the epochs",
    )


def _kernels(network):
    count = network.model.get_layer("conv1").output.shape[-1]
    return _image(
        functools.partial(paper_figures.kernels, network), f"{count} kernels of conv1"
    )


def _predictions(network, source, found, truth):
    """Sections of the images that it is surest of, rightly and wrongly."""
    guesses = found.argmax(axis=1)
    surest = np.argsort(-found.max(axis=1), kind="stable")
    sections = []
    for name, which in (
        ("Surest and right", guesses == truth),
        ("Surest and wrong", guesses != truth),
    ):
        places = [int(place) for place in surest if which[place]][:_SHOWN]
        content = "<p>None.</p>"
        if places:
            examples = source.take_indices(places)
            content = _image(
                functools.partial(paper_figures.predictions, network, source, examples),
                f"{len(places)} images with their most probable classes",
            )
        sections.append((name, content))
    return sections


def _confusions(source, found, truth):
    names = [readable_name(name) for name in source.classes]
    pairs = [
        (names[label], names[guess], count)
        for label, guess, count in evaluation.confusions(found, truth, _PAIRS)
    ]
    content = _table(pairs, ("true class", "taken for", "images"))
    if len(names) <= _MOST_CLASSES:
        counts = np.zeros((len(names), len(names)), int)
        np.add.at(counts, (truth, found.argmax(axis=1)), 1)
        content += _image(
            lambda file: plots.confusion(counts, names, file),
            "Counts of true classes and of what they were taken for",
        )
    return content


def _neighbors(network, source, train_source, index, layer):
    count = source.num_examples
    places = np.linspace(0, count - 1, min(_SHOWN, count)).astype(int)
    rows = retrieval.nearest_examples(
        index, network, source.take_indices(places.tolist()), train_source, layer
    )
    note = (
        f"<p>The first of each row is of {html.escape(str(source))}; the others "
        f"are the {len(rows[0]) - 1} nearest of {train_source.num_examples:,} "
        f"images of {html.escape(str(train_source))}, by Euclidean distance."
        "</p>"
    )
    return note + _image(
        functools.partial(paper_figures.neighbors, network, source, rows),
        "Images, each with the training images nearest to it",
    )


def _departures(preset):
    rows = departures(preset, presets.get("paper"))
    return _table(rows, ("what", "paper", "this run"))


def _differences():
    # Of a checkout the installed metadata may be older.
    beside = pathlib.Path(__file__).parents[1] / "README.md"
    rows = beside.exists() and differences(beside.read_text(encoding="utf-8"))
    if not rows:
        try:
            readme = importlib.metadata.metadata("alexnet_tf")["Description"]
        except importlib.metadata.PackageNotFoundError:
            return '<p>See "Differences from the paper" in the README.</p>'
        rows = differences(readme or "")
    return _table(rows, _DIFFERENCES)


def _environment(workdir):
    lines = read_environments(workdir)
    if not lines:
        return "<p>Not recorded.</p>"
    last = lines[-1]
    step = last.pop("step")
    note = f"<p>Of the last of {len(lines)} starts, at step {step:,}.</p>"
    return note + _table(last.items())
