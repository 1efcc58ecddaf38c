"""Writes an HTML page about a run, with its figures embedded."""

import base64
import dataclasses
import functools
import html
import io
import os
import tempfile

import numpy as np

from alexnet_tf.figures import differences
from alexnet_tf.figures import paper_figures
from alexnet_tf import files
from alexnet_tf.inference.classifier import find_run_data
from alexnet_tf.inference.classifier import load_classifier
from alexnet_tf.inference import evaluation
from alexnet_tf.inference import retrieval
from alexnet_tf.models import alexnet
from alexnet_tf.models.labels import readable_name
from alexnet_tf import plots
from alexnet_tf import presets
from alexnet_tf.training import metrics
from alexnet_tf.workdir import read_environments
from alexnet_tf.workdir import read_flags
from alexnet_tf.workdir import read_metrics

_MAX_IMAGES = 8  # Images in a figure, or queries with their nearest neighbors.
_MAX_INDEXED = 10_000  # Training images whose features are computed for the page.
_MAX_CLASSES = 30  # With more classes the confusion matrix would be unreadable.
_MAX_CONFUSIONS = 10
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


def write_report(
    workdir,
    *,
    dataset=None,
    split=None,
    data_dir=None,
    image_key=None,
    label_key=None,
    layer=None,
    index=None,
    output=None,
    verbose=0,
):
    """Writes an HTML page about a run, as `python -m alexnet_tf.report` does.

    Args:
        workdir: the work directory of the run.
        dataset, split, data_dir, image_key, label_key: the data, see `datasets.load`.
            Default: those of the run.
        layer: the layer whose features define the nearest neighbors. Default: the
            penultimate layer.
        index: the path of a retrieval index of the training split, see
            `retrieval.build_index`. Default: an index of at most 10,000 images is
            computed.
        output: the HTML file to write. Default: report.html in the work directory.
        verbose: 1 for a progress bar, 0 for none.

    Returns:
        The path of the page.

    Raises:
        ValueError: if the run records no data set and none is given, the data has
            other classes than the network, the index does not fit, or an image is
            unreadable.
        OSError: if the run, its data, the index or the folder of the output are
            missing.
    """
    if not os.path.isdir(workdir):
        raise FileNotFoundError(
            f"The run does not exist: {workdir}. Give the work directory of a run."
        )
    output = output or os.path.join(workdir, "report.html")
    files.check_output("output", output)
    classifier = load_classifier(workdir)
    data = find_run_data(
        workdir, dataset, split, data_dir, image_key=image_key, label_key=label_key
    )
    if data.dataset is None:
        raise ValueError(
            f"Expected the data set of the run, which {workdir}/flags.txt does not "
            f"name. Received: {dataset=}. Give its name."
        )
    source, train_source = data.source(), data.train_source()
    layer = layer or alexnet.penultimate_layer(classifier.model)
    with tempfile.TemporaryDirectory() as folder:
        path = index or os.path.join(folder, "index.npz")
        if not index:
            train_source = train_source.subsample(_MAX_INDEXED)
            retrieval.build_index(path, classifier, train_source, layer, verbose)
        text = page(workdir, classifier, source, train_source, path, layer, verbose)
    files.write_text(output, text)
    return output


def page(workdir, classifier, source, train_source, index, layer, verbose=0):
    """Returns the HTML text of the page about a run.

    Args:
        workdir: the work directory of the run.
        classifier: the `Classifier` of the run.
        source: the `Source` of the images that are evaluated and shown.
        train_source: the `Source` in which nearest neighbors are searched.
        index: the path of an index of `train_source`, see `retrieval.build_index`.
        layer: the layer whose features the index contains.
        verbose: 1 for a progress bar, 0 for none.

    Raises:
        ValueError: if the classes or the index do not fit, or an image is unreadable.
        OSError: if the index or the data are missing.
    """
    probabilities, labels = evaluation.probabilities(
        classifier, source, "center", verbose=verbose
    )
    log_lines = read_metrics(workdir)
    title = f"{classifier.preset.name} on {source.name}"
    sections = [
        ("Result", _result(classifier, source, probabilities, labels, log_lines)),
        ("Curves", _curves(log_lines, title)),
        ("Kernels of the first layer", _kernels(classifier)),
        *_predictions(classifier, source, probabilities, labels),
        ("Confusions", _confusions(source, probabilities, labels)),
        (
            f"Nearest training images by {layer}",
            _neighbors(classifier, source, train_source, index, layer),
        ),
        ("Differences from the preset paper", _preset_differences(classifier.preset)),
        ("Differences from the paper in this package", _package_differences()),
        ("Flags", _table(read_flags(workdir).items())),
        ("Environment", _environment(workdir)),
    ]
    body = "\n".join(
        f"<h2>{html.escape(name)}</h2>\n{content}" for name, content in sections
    )
    return _PAGE.format(title=html.escape(title), body=body)


def compare_presets(preset, reference):
    """Returns the differences of two presets as rows of text.

    Args:
        preset: a `presets.Preset`.
        reference: the `presets.Preset` to compare it with.

    Returns:
        [(name, value in `reference`, value in `preset`), ...] for the values of recipe
        and preprocessing, the layers, and the order of the layers.
    """
    rows = []
    for part in ("recipe", "preprocessing"):
        values = dataclasses.asdict(getattr(preset, part))
        reference_values = dataclasses.asdict(getattr(reference, part))
        rows += [
            (name, _value_text(reference_values[name]), _value_text(value))
            for name, value in values.items()
            if value != reference_values[name]
        ]
    layers, reference_layers = (
        {layer.name: layer for layer in spec.layers} for spec in (preset, reference)
    )
    removed = [name for name in reference_layers if name not in layers]
    rows += [
        (name, *_layer_texts(reference_layers.get(name), layers.get(name)))
        for name in [*layers, *removed]
        if layers.get(name) != reference_layers.get(name)
    ]
    shared = [name for name in reference_layers if name in layers]
    if shared != [name for name in layers if name in reference_layers]:
        orders = " ".join(reference_layers), " ".join(layers)
        rows.append(("order of the layers", *orders))
    return rows


def _value_text(value):
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def _layer_texts(*layers):
    """Returns two texts: the fields of two layers that differ.

    If the layers have different types, both texts contain all fields. If a layer is
    None, its text is "none", and the text of the other layer contains all fields.
    """
    fields = [layer and dataclasses.asdict(layer) for layer in layers]
    if None in layers or type(layers[0]) is not type(layers[1]):
        return [
            "none"
            if layer is None
            else f"{type(layer).__name__}: {_fields_text(values)}"
            for layer, values in zip(layers, fields)
        ]
    names = [name for name in fields[0] if fields[0][name] != fields[1][name]]
    return [_fields_text({name: values[name] for name in names}) for values in fields]


def _fields_text(fields):
    return ", ".join(
        f"{name} {value}" for name, value in fields.items() if name != "name"
    )


def _table(rows, head=()):
    """Returns an HTML table, or a paragraph if there are no rows. Cells are escaped."""

    def cells_html(cells, tag):
        return "".join(
            f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells
        )

    if not rows:
        return "<p>None.</p>"
    lines = [cells_html(head, "th")] if head else []
    lines += [cells_html(row, "td") for row in rows]
    body = "".join(f"<tr>{line}</tr>\n" for line in lines)
    return f"<table>{body}</table>"


def _image(draw_figure, text):
    """Returns an HTML image with an embedded PNG.

    Args:
        draw_figure: a function that writes the PNG to a file object.
        text: the alternative text of the image.
    """
    file = io.BytesIO()
    draw_figure(file)
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{html.escape(text)}" src="data:image/png;base64,{data}">'


def _result(classifier, source, probabilities, labels, log_lines):
    rows = [
        ("network", classifier.preset.name),
        ("parameters", f"{classifier.model.count_params():,}"),
        ("measured on", f"{source}, {len(labels):,} images, center crop"),
    ]
    for k in metrics.reported_ks(len(source.classes)):
        hits = evaluation.hits(probabilities, labels, k)
        low, high = evaluation.interval(hits)
        error = f"{1 - hits.mean():.2%} (95% interval {low:.2%} to {high:.2%})"
        rows.append((f"top-{k} error", error))
    train_metrics = [line for line in log_lines if line["split"] == "train"]
    if train_metrics:
        last = train_metrics[-1]
        # Evaluations and log intervals of one step have no throughput.
        throughputs = [
            line["images_per_second"]
            for line in log_lines
            if line.get("images_per_second")
        ]
        rows += [
            ("top-1 error in training", f"{last['top1_error']:.2%}"),
            ("epochs", f"{last['epoch']:g}"),
            ("steps", f"{last['step']:,}"),
            (
                "images per second",
                f"{np.median(throughputs):,.0f}" if throughputs else "-",
            ),
        ]
    return _table(rows)


def _curves(log_lines, title):
    if not log_lines:
        return "<p>Training has recorded no metrics.</p>"
    return _image(
        lambda file: plots.curves(log_lines, file, title),
        "Loss and errors over the epochs",
    )


def _kernels(classifier):
    count = classifier.model.get_layer("conv1").output.shape[-1]
    return _image(
        functools.partial(paper_figures.kernels, classifier),
        f"{count} kernels of conv1",
    )


def _predictions(classifier, source, probabilities, labels):
    """Returns two sections: the most confident correct and wrong predictions."""
    correct = probabilities.argmax(axis=1) == labels
    by_confidence = np.argsort(-probabilities.max(axis=1), kind="stable")
    sections = []
    for name, selected in (
        ("Most confident and correct", correct),
        ("Most confident and wrong", ~correct),
    ):
        indices = by_confidence[selected[by_confidence]][:_MAX_IMAGES].tolist()
        content = "<p>None.</p>"
        if indices:
            content = _image(
                functools.partial(
                    paper_figures.predictions,
                    classifier,
                    source,
                    source.take_indices(indices),
                ),
                f"{len(indices)} images with their most probable classes",
            )
        sections.append((name, content))
    return sections


def _confusions(source, probabilities, labels):
    names = [readable_name(name) for name in source.classes]
    pairs = [
        (names[label], names[predicted], count)
        for label, predicted, count in evaluation.confusions(
            probabilities, labels, _MAX_CONFUSIONS
        )
    ]
    content = _table(pairs, ("true class", "predicted class", "images"))
    if len(names) <= _MAX_CLASSES:
        counts = np.zeros((len(names), len(names)), int)
        np.add.at(counts, (labels, probabilities.argmax(axis=1)), 1)
        content += _image(
            lambda file: plots.confusion(counts, names, file),
            "Number of images by true class and predicted class",
        )
    return content


def _neighbors(classifier, source, train_source, index, layer):
    count = source.num_examples
    indices = np.linspace(0, count - 1, min(_MAX_IMAGES, count)).astype(int)
    queries = source.take_indices(indices.tolist())
    rows = retrieval.nearest_examples(index, classifier, queries, train_source, layer)
    text = (
        f"<p>The first image of each row is from {html.escape(str(source))}; the "
        f"others are the {len(rows[0]) - 1} nearest of {train_source.num_examples:,} "
        f"images of {html.escape(str(train_source))}, by Euclidean distance.</p>"
    )
    return text + _image(
        functools.partial(paper_figures.neighbors, classifier, source, rows),
        "Images, each with its nearest training images",
    )


def _preset_differences(preset):
    rows = compare_presets(preset, presets.get("paper"))
    return _table(rows, ("setting", "paper", "this run"))


def _package_differences():
    rows = [
        [cell.replace("`", "") for cell in dataclasses.astuple(row)]
        for row in (*differences.FROM_PAPER, *differences.FROM_OTHER_SOURCES)
    ]
    return _table(rows, ("", "the paper or its source", "here", "where"))


def _environment(workdir):
    lines = read_environments(workdir)
    if not lines:
        return "<p>Not recorded.</p>"
    last = lines[-1]
    step = last.pop("step")
    text = f"<p>Recorded at the last of {len(lines)} launches, at step {step:,}.</p>"
    return text + _table(last.items())
