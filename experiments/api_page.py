"""Writes docs/python-api.md from the signatures and docstrings of public objects."""

import dataclasses
import functools
import importlib
import inspect
import re
import textwrap

# The sections of the page: (title, the package or module, public names).
_SECTIONS = (
    (
        "Models and weights",
        "alexnet_tf",
        (
            "AlexNet", "features", "preprocess_input", "decode_predictions",
            "load_weights", "save_weights", "download",
        ),
    ),
    ("Loaded weights", "alexnet_tf.models.weights", ("Report",)),
    (
        "Published weights",
        "alexnet_tf.published",
        ("PublishedWeights", "PublishedFile"),
    ),
    (
        "Presets",
        "alexnet_tf.presets",
        ("get", "override", "Preset", "Preprocessing", "Recipe"),
    ),
    (
        "Layers of presets",
        "alexnet_tf.presets",
        (
            "Conv", "ReLU", "Tanh", "ResponseNorm", "SpatialNorm", "BatchNorm", "Pool",
            "Dropout", "Dense",
        ),
    ),
    (
        "Training",
        "alexnet_tf.training",
        ("train_dataset", "train", "TrainingInterrupted"),
    ),
    ("Fine-tuning", "alexnet_tf.training.fine_tuning", ("FineTuning",)),
    ("Options of a run", "alexnet_tf.training.options", ("TrainingOptions",)),
    (
        "Update rule and schedules",
        "alexnet_tf.training.optimizers",
        ("MomentumSGD", "learning_rate"),
    ),
    ("Augmentation of your own", "alexnet_tf.data.preprocess", ("check_augment",)),
    (
        "Devices",
        "alexnet_tf.training.distribution",
        ("make_strategy", "make_multi_worker_strategy"),
    ),
    (
        "Inference",
        "alexnet_tf.inference",
        ("load_classifier", "predict_files", "evaluate", "extract_features"),
    ),
    (
        "Classifiers and their results",
        "alexnet_tf.inference.classifier",
        ("Classifier", "Prediction", "for_image_files"),
    ),
    ("Evaluations", "alexnet_tf.inference.evaluation", ("Evaluation",)),
    ("Features of images", "alexnet_tf.inference.extraction", ("Features",)),
    (
        "Fully convolutional networks",
        "alexnet_tf.models.alexnet",
        ("to_fully_convolutional",),
    ),
    (
        "Export",
        "alexnet_tf.inference.export_formats",
        ("export", "saved_model", "keras_file", "tflite", "tflite_int8", "onnx"),
    ),
    (
        "Data",
        "alexnet_tf.data.datasets",
        ("load", "split_names"),
    ),
    ("Image files", "alexnet_tf.data.image_files", ("find",)),
    ("Images of a split", "alexnet_tf.data.source", ("Source",)),
    ("Statistics of the pixels", "alexnet_tf.data.pixel_statistics", ("compute",)),
    ("Batches", "alexnet_tf.data.input_pipeline", ("training_batches",)),
    ("Resizing once", "alexnet_tf.data.resized_copy", ("prepare",)),
    ("Figures", "alexnet_tf.figures.draw", ("draw",)),
    ("Occlusion", "alexnet_tf.figures.occlusion", ("probability_maps",)),
    (
        "Gradients of class scores",
        "alexnet_tf.figures.saliency",
        ("saliency_maps", "guided_gradients"),
    ),
    ("Units of a layer", "alexnet_tf.figures.units", ("find_layer",)),
    ("Projections of activations", "alexnet_tf.figures.deconvolution", ("project",)),
    ("Strongest patches", "alexnet_tf.figures.strongest_patches", ("find",)),
    ("Embedding", "alexnet_tf.figures.embedding", ("pca", "tsne")),
    ("Reports", "alexnet_tf.figures.html_report", ("write_report",)),
    ("Throughput", "alexnet_tf.training.throughput", ("measure_network",)),
)  # fmt: skip

_INTRODUCTION = """# Python API

This page is written by `python -m experiments.reproduce --table` from the docstrings.

`alexnet_tf.PRESETS` is the table of presets, {name: `presets.Preset`}, and
`alexnet_tf.WEIGHTS` the table of published weights. Other modules that are named here
are those of `alexnet_tf`."""

_FIELD_SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Yields):")
_FIELD = re.compile(r"(\*{0,2}\w[\w, *]*): (.*)", re.DOTALL)
_WIDTH = 88


def markdown_page():
    """Returns the page, with a section for each public function and class."""
    blocks = [_INTRODUCTION]
    for title, module_name, names in _SECTIONS:
        module = importlib.import_module(module_name)
        blocks.append(f"## {title}")
        for name in names:
            blocks.append(_entry(f"{module_name}.{name}", getattr(module, name)))
    return "\n\n".join(blocks) + "\n"


def _entry(name, value, heading="###"):
    blocks = [f"{heading} `{name}`"]
    signature = _signature(value)
    if signature is not None:
        blocks.append(f"```text\n{_wrap_call(name.split('.')[-1], signature)}\n```")
    blocks += to_markdown(inspect.getdoc(value))
    if dataclasses.is_dataclass(value):
        blocks += [
            _entry(f"{value.__name__}.{member_name}", member, "####")
            for member_name, member in vars(value).items()
            if _is_documented(member) and not member_name.startswith("_")
        ]
    return "\n\n".join(blocks)


def _is_documented(member):
    return inspect.isfunction(member) or _is_property(member)


def _is_property(member):
    return isinstance(member, property | functools.cached_property)


def _signature(value):
    """Returns the arguments as strings without types.

    For an exception and for a property the result is None.
    """
    is_exception = inspect.isclass(value) and issubclass(value, BaseException)
    if is_exception or _is_property(value):
        return None
    parameters = inspect.signature(value).parameters.values()
    arguments, only_keywords = [], False
    for parameter in parameters:
        if parameter.kind == parameter.KEYWORD_ONLY and not only_keywords:
            arguments.append("*")
            only_keywords = True
        if parameter.name != "self":
            without_type = parameter.replace(annotation=inspect.Parameter.empty)
            # A field of a dataclass whose default is a new object has a factory.
            text = str(without_type).replace("<factory>", _default_of(value, parameter))
            arguments.append(text)
    return arguments


def _default_of(value, parameter):
    """Returns the default of a field that has a factory as text, else nothing."""
    fields = getattr(value, "__dataclass_fields__", {})
    field = fields.get(parameter.name)
    if field is None or field.default_factory is dataclasses.MISSING:
        return ""
    return repr(field.default_factory())


def _wrap_call(name, arguments):
    call = f"{name}({', '.join(arguments)})"
    return textwrap.fill(
        call, _WIDTH, subsequent_indent=" " * 4, break_on_hyphens=False
    )


def to_markdown(docstring):
    """Returns the blocks of a docstring in Google's style as a list of Markdown.

    Args:
        docstring: the text, without the indentation of the code around it.
    """
    blocks, section = [], None
    for block in docstring.split("\n\n"):
        match = _FIELD_SECTION.match(block)
        if match:
            section = match[1]
            blocks.append(f"**{section}**")
            block = textwrap.dedent(block[match.end() :].lstrip("\n"))
            blocks.append(_fields(block) if section != "Returns" else _plain(block))
        elif section and block.startswith(" "):
            # A further paragraph of the section: code, or an indented text.
            blocks.append(_fields(textwrap.dedent(block)))
        elif block.startswith(" "):
            blocks.append(f"```text\n{textwrap.dedent(block)}\n```")
        else:
            blocks.append(_plain(block))
    return blocks


def _fields(block):
    """Returns a list item for each field of a section."""
    items = re.split(r"\n(?=\S)", block)
    return "\n".join(_item(item) for item in items)


def _item(item):
    text = " ".join(item.split())
    # An item of a list within a field is indented below the field.
    indent = "  " if text.startswith("- ") else ""
    text = text.removeprefix("- ")
    match = _FIELD.fullmatch(text)
    if match and not indent:
        text = f"`{match[1]}`: {match[2]}"
    return textwrap.fill(
        f"{indent}- {text}", _WIDTH, subsequent_indent=f"{indent}  ",
        break_on_hyphens=False, break_long_words=False,
    )  # fmt: skip


def _plain(block):
    return textwrap.fill(
        " ".join(block.split()), _WIDTH,
        break_on_hyphens=False, break_long_words=False,
    )  # fmt: skip
