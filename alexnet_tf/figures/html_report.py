"""Writes an HTML page about a run, with its figures embedded."""

import base64
import dataclasses
import functools
import html
import io
import math
import os
import tempfile

import numpy as np
import tensorflow as tf

from alexnet_tf.data import bad_images
from alexnet_tf.figures import confusions
from alexnet_tf.figures import differences
from alexnet_tf.figures import internals
from alexnet_tf.figures import paper_figures
from alexnet_tf import files
from alexnet_tf.inference.classifier import find_run_data
from alexnet_tf.inference.classifier import for_dataset
from alexnet_tf.inference.classifier import load_classifier
from alexnet_tf.inference import evaluation
from alexnet_tf.inference import retrieval
from alexnet_tf.models import alexnet
from alexnet_tf.models.labels import readable_name
from alexnet_tf import plots
from alexnet_tf import presets
from alexnet_tf import published
from alexnet_tf.training import metrics
from alexnet_tf.training.checkpoints import read_progress
from alexnet_tf.workdir import has_checkpoint
from alexnet_tf.workdir import read_environments
from alexnet_tf.workdir import read_flags
from alexnet_tf.workdir import read_metrics

_MAX_IMAGES = 8  # Images of each group, or queries with their nearest neighbors.
_MAX_INDEXED = 10_000  # Training images whose features are computed for the page.
_MAX_CONFUSIONS = 10
_MAX_SIDE = 160  # The largest side of an image of a data set on the page.
_BARS = " Bars: the most probable classes, the true one in orange and bold."
# The headings and explanations of the groups of `internals.by_confidence`.
_PREDICTIONS = (
    ("Right", "The correct predictions, the surest first." + _BARS),
    ("Wrong", "The wrong predictions, the surest first." + _BARS),
    (
        "The least sure",
        "The predictions with the least probable first class that are not among those "
        "above." + _BARS,
    ),
)
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 sans-serif; max-width: 70rem; margin: 1rem auto;
       padding: 0 1rem; color: #1a1a1a; background: #fff; }}
h1, h2 {{ line-height: 1.2; overflow-wrap: anywhere; }}
h2 {{ margin-top: 2.5rem; border-bottom: 1px solid #ccc; }}
img {{ max-width: 100%; height: auto; }}
figure {{ margin: 0; }}
figcaption {{ overflow-wrap: anywhere; }}
.gallery {{ display: flex; flex-wrap: wrap; gap: .75rem; margin-bottom: 1.5rem; }}
.plot {{ width: 34rem; max-width: 100%; margin-top: .75rem; }}
.prediction {{ width: 10.5rem; }}
.neighbor {{ width: 6.5rem; font-size: .8rem; line-height: 1.2; }}
.prediction img, .neighbor img {{ width: 100%; box-sizing: border-box;
                                image-rendering: pixelated; }}
.neighbor img {{ border: 2px dashed #1a1a1a; }}
.neighbor.same img {{ border: 2px solid #0072b2; }}
.neighbor.query img {{ border: 4px solid #d55e00; }}
ol {{ list-style: none; margin: .3rem 0; padding: 0; font-size: .85rem; }}
li {{ display: flex; justify-content: space-between; gap: .3rem; }}
li span:first-child {{ overflow-wrap: anywhere; }}
li.true {{ font-weight: bold; }}
table {{ border-collapse: collapse; }}
td, th {{ padding: .2rem .8rem .2rem 0; text-align: left;
         vertical-align: top; border-bottom: 1px solid #eee;
         overflow-wrap: anywhere; }}
td:first-child {{ min-width: 5rem; }}
td:first-child, .headed td {{ overflow-wrap: break-word; }}
@media (max-width: 40rem) {{
  .neighbor {{ width: 5rem; }}
  .headed th {{ display: none; }}
  .headed td {{ display: block; border: 0; }}
  .headed td::before {{ content: attr(data-label) " "; color: #595959; }}
  .headed tr {{ display: block; padding: .4rem 0; border-bottom: 1px solid #ccc; }}
}}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{summary}</p>
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
        ValueError: if `workdir` is the name of published weights, the run records no
            data set and none is given, the data has other classes than the network, the
            index does not fit, or an image is unreadable.
        OSError: if the run, its data, the index or the folder of the output are
            missing.
    """
    workdir = os.fspath(files.expand_home(workdir))
    _check_run(workdir)
    output = files.expand_home(output) or os.path.join(workdir, "report.html")
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
    classifier = for_dataset(classifier, workdir, data.dataset)
    source, train_source = data.source(), data.train_source()
    layer = layer or alexnet.penultimate_layer(classifier.model)
    with tempfile.TemporaryDirectory() as folder:
        path = files.expand_home(index) or os.path.join(folder, "index.npz")
        if not index:
            train_source = train_source.subsample(_MAX_INDEXED)
            retrieval.build_index(path, classifier, train_source, layer, verbose)
        text = page(workdir, classifier, source, train_source, path, layer, verbose)
    files.write_text(output, text)
    return output


def _check_run(workdir):
    """Raises an error if there is no directory of a run."""
    if os.path.isdir(workdir):
        return
    if workdir in published.WEIGHTS or workdir == "imagenet":
        raise ValueError(
            "Expected the work directory of a run, whose metrics a report shows. "
            f"Received: {workdir}, the name of published weights. Evaluate them with "
            "alexnet_tf.evaluate, and draw them with alexnet_tf.visualize."
        )
    raise FileNotFoundError(
        f"The run does not exist: {workdir}. Give the work directory of a run."
    )


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
    progress = read_progress(workdir) if has_checkpoint(workdir) else None
    preset = classifier.preset
    sections = [
        (
            "Result",
            *_result(classifier, source, probabilities, labels, log_lines, progress),
        ),
        ("Curves", *_curves(log_lines, preset.name)),
        *_kernels(classifier),
        *_predictions(classifier, source, probabilities, labels),
        ("Confusions", *_confusions(source, probabilities, labels)),
        (
            f"Nearest training images by {layer}",
            *_neighbors(classifier, source, train_source, index, layer),
        ),
        ("Differences from the preset paper", *_preset_differences(preset)),
        (
            "Differences from the paper in this package",
            *_package_differences(preset),
        ),
        ("Flags", *_flags(workdir)),
        ("Environment", *_environment(workdir)),
    ]
    body = "\n".join(
        f"<h2>{html.escape(name)}</h2>\n<p>{html.escape(explanation)}</p>\n{content}"
        for name, explanation, content in sections
    )
    return _PAGE.format(
        title=html.escape(f"{preset.name} on {source.name}"),
        summary=html.escape(summarize(source, probabilities, labels)),
        body=body,
    )


def summarize(source, probabilities, labels):
    """Returns a sentence about the errors of a network and its most frequent mistake.

    Args:
        source: the `Source` of the images.
        probabilities: float [N, classes].
        labels: int32 [N].
    """
    count = len(labels)
    right = round(float(evaluation.hits(probabilities, labels, 1).sum()))
    pairs = evaluation.confusions(probabilities, labels, max_pairs=1)
    if not pairs:
        return f"All {count:,} images are classified correctly."
    ((label, predicted, mistakes),) = pairs
    name, wrong_name = (
        readable_name(source.classes[index]) for index in (label, predicted)
    )
    return (
        f"{right:,} of {count:,} images are classified correctly; most often, {name} "
        f"is mistaken for {wrong_name} ({mistakes:,} of {(labels == label).sum():,} "
        "images)."
    )


def compare_presets(preset, reference):
    """Returns the differences between two presets as rows of strings.

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
        return ", ".join(map(_number_text, value)) or "none"
    return _number_text(value)


def _number_text(value):
    # A product of decimal fractions may have digits such as 57.120000000000005.
    return f"{value:.8g}" if isinstance(value, float) else str(value)


def _layer_texts(*layers):
    """Returns two strings: the fields in which two layers differ.

    If the layers have different types, both strings contain all fields. If a layer is
    None, its string is "none", and that of the other layer contains all fields.
    """
    fields = [layer and dataclasses.asdict(layer) for layer in layers]
    if None in layers or type(layers[0]) is not type(layers[1]):
        return [
            "none"
            if layer is None
            else f"{type(layer).__name__}: {_fields_text(values)}".removesuffix(": ")
            for layer, values in zip(layers, fields)
        ]
    names = [name for name in fields[0] if fields[0][name] != fields[1][name]]
    return [_fields_text({name: values[name] for name in names}) for values in fields]


def _fields_text(fields):
    return ", ".join(
        f"{name} {_number_text(value)}"
        for name, value in fields.items()
        if name != "name"
    )


def _table(rows, head=()):
    """Returns an HTML table, or a paragraph if there are no rows. Cells are escaped.

    On narrow pages the cells of a table with a head are below each other, and each
    begins with the head of its column.
    """
    if not rows:
        return "<p>None.</p>"
    labels = [f' data-label="{html.escape(cell)}:"' if cell else "" for cell in head]
    lines = [_cells(head, "th", [""] * len(head))] if head else []
    lines += [_cells(row, "td", labels or [""] * len(row)) for row in rows]
    body = "".join(f"<tr>{line}</tr>\n" for line in lines)
    return f"<table{' class=headed' if head else ''}>{body}</table>"


def _cells(cells, tag, attributes):
    return "".join(
        f"<{tag}{attribute}>{html.escape(str(cell))}</{tag}>"
        for cell, attribute in zip(cells, attributes, strict=True)
    )


def _image(png, text):
    """Returns an HTML image with an embedded PNG.

    Args:
        png: the bytes of the PNG file.
        text: the alternative text of the image.
    """
    data = base64.b64encode(png).decode()
    return f'<img alt="{html.escape(text)}" src="data:image/png;base64,{data}">'


def _plot(draw_figure, text):
    """Returns an HTML figure of what a function draws.

    Args:
        draw_figure: a function that writes a PNG to a file object.
        text: the alternative text of the image.
    """
    file = io.BytesIO()
    draw_figure(file)
    return f'<figure class="plot">{_image(file.getvalue(), text)}</figure>'


def _thumbnail(image, text):
    """Returns an HTML image of pixels, uint8 RGB [H, W, 3], at most 160 wide."""
    if image.shape[1] > _MAX_SIDE:
        size = _MAX_SIDE * image.shape[0] // image.shape[1], _MAX_SIDE
        image = tf.image.resize(image, size, "area")
        image = tf.cast(tf.round(image), tf.uint8)
    return _image(tf.io.encode_png(image).numpy(), text)


def _gallery(elements):
    """Returns an HTML element that shows others side by side, as many as fit."""
    return f'<div class="gallery">{"".join(elements)}</div>\n'


def _result(classifier, source, probabilities, labels, log_lines, progress):
    """Returns an explanation and a table of the errors.

    Args:
        progress: the `Progress` of the evaluated checkpoint; None if it is not known.
    """
    left_out = bad_images.describe_left_out(source.num_bad_images)
    count = f"{len(labels):,} images{left_out}"
    rows = [
        ("network", classifier.preset.name),
        ("parameters", f"{classifier.model.count_params():,}"),
        ("measured on", f"{source}, {count}, center crop"),
    ]
    if progress:
        rows.append(("checkpoint", f"after step {progress.step:,}"))
    for k in metrics.reported_ks(len(source.classes)):
        hits = evaluation.hits(probabilities, labels, k)
        low, high = evaluation.interval(hits)
        error = f"{1 - hits.mean():.2%} (95% interval {low:.2%} to {high:.2%})"
        rows.append((f"top-{k} error", error))
    explanation = (
        "The top-k error is the share of the images whose true class is not among the "
        "k most probable classes."
    )
    last_step = max([line["step"] for line in log_lines], default=0)
    if progress and progress.step < last_step:
        explanation += (
            " The run was interrupted: all predictions are those of the checkpoint "
            f"after step {progress.step:,}, but the curves and the rows about training "
            f"reach step {last_step:,}."
        )
    return explanation, _table(rows + _training_rows(log_lines))


def _training_rows(log_lines):
    """Returns rows of a table about the training, none if it recorded no metrics."""
    train_metrics = [line for line in log_lines if line["split"] == "train"]
    if not train_metrics:
        return []
    last = train_metrics[-1]
    error, epoch = _last_epoch_error(train_metrics)
    # Evaluations and log intervals of one step have no throughput.
    throughputs = [
        line["images_per_second"] for line in log_lines if line.get("images_per_second")
    ]
    return [
        ("top-1 error in training", f"{error:.2%} (mean of epoch {epoch})"),
        ("epochs", f"{last['epoch']:g}"),
        ("steps", f"{last['step']:,}"),
        (
            "images per second",
            f"{np.median(throughputs):,.0f}" if throughputs else "-",
        ),
    ]


def _last_epoch_error(train_metrics):
    """Returns the mean top-1 error in training in the last epoch, and its number.

    A line has the mean of the steps since the line before it. The last epoch may be
    incomplete.
    """
    # An epoch of 2/3 + 1/3 may be a little more than 1.
    epochs = [math.ceil(line["epoch"] - 1e-6) for line in train_metrics]
    steps = np.diff([0, *(line["step"] for line in train_metrics)])
    in_last = np.array(epochs) == epochs[-1]
    errors = np.array([line["top1_error"] for line in train_metrics])
    return np.average(errors[in_last], weights=steps[in_last]), epochs[-1]


def _curves(log_lines, preset_name):
    if not log_lines:
        return "Training has recorded no metrics.", ""
    titles = {"loss": "loss", "top1_error": "top-1 error", "top5_error": "top-5 error"}
    plotted = []
    for name in plots.recorded_metrics(log_lines):
        title = f"Training of {preset_name}: {titles[name]}"
        draw_figure = functools.partial(
            plots.curves, log_lines, title=title, names=(name,)
        )
        plotted.append(_plot(draw_figure, title))
    explanation = (
        "A point of the training curve is the mean of the steps since the point before "
        "it. Augmentation, and dropout if there is any, make the task harder in "
        "training. The errors may therefore be higher than in validation."
    )
    return explanation, _gallery(plotted)


def _kernels(classifier):
    """Returns a list of one section, or of none for a network without convolutions."""
    convolution = alexnet.first_convolution(classifier.model)
    if convolution is None:
        return []
    image = _plot(
        functools.partial(paper_figures.kernels, classifier),
        f"{convolution.filters} kernels of {convolution.name}",
    )
    explanation = (
        "Each square shows the pixels to which a kernel of the first convolution "
        "responds most strongly, with its colors stretched to the full range. A kernel "
        "that has learned something is smooth."
    )
    return [("Kernels of the first layer", explanation, image)]


def _predictions(classifier, source, probabilities, labels):
    """Returns three sections of predictions, see `internals.by_confidence`."""
    sections = []
    for (name, explanation), indices in zip(
        _PREDICTIONS,
        internals.by_confidence(probabilities, labels, 3 * _MAX_IMAGES),
    ):
        figures = [
            _prediction(classifier, source, example)
            for example in source.take_indices(indices)
        ]
        content = _gallery(figures) if figures else "<p>None.</p>"
        sections.append((name, explanation, content))
    return sections


def _prediction(classifier, source, example):
    """Returns an HTML figure of an image with bars of its most probable classes."""
    true_name, image = paper_figures.title_and_image(classifier, source, example)
    bars = []
    for _, name, probability in classifier.predict(example["image"]):
        color, kind = ("#f2bf99", "true") if name == true_name else ("#99c7e0", "other")
        end = f"{100 * probability:.1f}%"
        text = html.escape(plots.percent(probability))
        bars.append(
            f'<li class="{kind}" style="background: linear-gradient(to right, {color} '
            f'{end}, transparent {end})"><span>{_class_name(name)}</span>'
            f"<span>{text}</span></li>"
        )
    return (
        f'<figure class="prediction" title="{_file_name(example)}">'
        f"{_thumbnail(image, true_name)}<figcaption>"
        f"{_class_name(true_name)}</figcaption><ol>{''.join(bars)}</ol></figure>"
    )


def _file_name(example):
    """Returns the name of the file of an example in HTML, for a tooltip."""
    return html.escape(os.path.basename(os.fsdecode(example["name"])))


def _class_name(name):
    """Returns the name of a class in HTML, in which lines break at underscores."""
    return html.escape(name).replace("_", "_<wbr>")


def _confusions(source, probabilities, labels):
    names = [readable_name(name) for name in source.classes]
    pairs = [
        (names[label], names[predicted], count)
        for label, predicted, count in evaluation.confusions(
            probabilities, labels, _MAX_CONFUSIONS
        )
    ]
    content = _table(pairs, ("true class", "predicted class", "images"))
    content += _plot(
        functools.partial(confusions.draw_matrix, probabilities, labels, source),
        "Number of images by true class and predicted class",
    )
    return "The classes that were mistaken for each other most often.", content


def _neighbors(classifier, source, train_source, index, layer):
    count = source.num_examples
    indices = np.linspace(0, count - 1, min(_MAX_IMAGES, count)).astype(int)
    queries = source.take_indices(indices.tolist())
    rows = retrieval.nearest_examples(index, classifier, queries, train_source, layer)
    explanation = (
        f"The first image of each row (orange frame) is from {source}; the others are "
        f"the {len(rows[0]) - 1} nearest of {train_source.num_examples:,} images of "
        f"{train_source}, by Euclidean distance. They have a blue frame if their class "
        "is the same, and a dashed one if it is another."
    )
    galleries = []
    for query, *nearest in rows:
        kinds = ["query"] + [
            "same" if example["label"] == query["label"] else "other"
            for example in nearest
        ]
        galleries.append(
            _gallery(
                _neighbor(classifier, source, example, kind)
                for example, kind in zip([query, *nearest], kinds)
            )
        )
    return explanation, "".join(galleries)


def _neighbor(classifier, source, example, kind):
    """Returns an HTML figure of an image, with the frame of its kind."""
    name, image = paper_figures.title_and_image(classifier, source, example)
    return (
        f'<figure class="neighbor {kind}" title="{_file_name(example)}">'
        f"{_thumbnail(image, name)}<figcaption>"
        f"{_class_name(name)}</figcaption></figure>"
    )


def _preset_differences(preset):
    rows = compare_presets(preset, presets.get("paper"))
    return (
        f"The settings in which {preset.name}, with the flags of this run, differs "
        "from the preset paper, which follows the text of the paper.",
        _table(rows, ("setting", "paper", "this run")),
    )


def _package_differences(preset):
    rows = [
        [
            cell.replace("`", "")
            for cell in (row.number, row.source, row.here, row.where)
        ]
        for row in differences.concerning(preset)
    ]
    return (
        "The differences of this package from the paper, or from another source of "
        f"{preset.name}.",
        _table(rows, ("", "the paper or its source", "here", "where")),
    )


def _flags(workdir):
    return (
        "The flags of train that reproduce the run.",
        _table(read_flags(workdir).items()),
    )


def _environment(workdir):
    lines = read_environments(workdir)
    if not lines:
        return "The environment was not recorded.", ""
    last = lines[-1]
    step = last.pop("step")
    explanation = (
        f"Recorded at the last launch of training ({len(lines)} in all), at step "
        f"{step:,}."
    )
    return explanation, _table(last.items())
