"""Tests of README.md and docs/: links, file names, flags, tables, generated parts."""

import importlib
import re

import numpy as np
from PIL import Image
import pytest

import alexnet_tf
from alexnet_tf.figures import differences
from experiments import api_page
from experiments import differences_page
from experiments import documents
from experiments import gallery
from helpers.documents import page_name
from helpers.documents import PAGES
from helpers.documents import read_commands
from helpers.documents import read_prose
from helpers.documents import ROOT

COMMANDS = (
    "benchmark", "evaluate", "export", "extract", "predict", "prepare", "report",
    "serve_data", "train", "visualize",
)  # fmt: skip
# Flags of pytest, TensorBoard, absl, experiments, TensorFlow Serving and XLA.
OTHER_FLAGS = {
    "large", "gpu", "logdir", "flagfile", "help", "table", "quick", "images", "title",
    "xla_cpu_max_isa",
}  # fmt: skip
each_page = pytest.mark.parametrize("path", PAGES, ids=page_name)


def anchors(path):
    """Returns the anchors that GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in headings
    }


@each_page
def test_links_lead_to_existing_files_and_headings(path):
    links = re.findall(r"\]\(([^)\s]+)\)", read_prose(path))
    for link in links:
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_numbers_of_the_questions_are_those_of_the_experiments():
    questions, experiments = (
        " ".join((ROOT / name).read_text(encoding="utf-8").split())
        for name in ("docs/questions.md", "experiments/README.md")
    )
    numbers = re.findall(r"[+-]?\d+\.\d+ points \([^)]*\)", questions)
    assert len(numbers) >= 8
    for number in numbers:
        assert number in experiments, number


def test_the_readme_links_to_every_page():
    links = re.findall(r"\]\((docs/[^)#]+)", (ROOT / "README.md").read_text())
    assert {*links} >= {page_name(path) for path in PAGES} - {"README.md"}


@each_page
def test_named_files_of_the_repository_exist(path):
    pattern = r"`((?:alexnet_tf|experiments|tests|docs)/[\w./]*[\w/])`"
    for name in re.findall(pattern, path.read_text(encoding="utf-8")):
        assert (ROOT / name).exists(), name


@each_page
def test_table_cells_are_short(path):
    for line in read_prose(path).splitlines():
        if line.startswith("|"):
            assert max(map(len, line.split("|"))) <= 122, line


def test_the_readme_is_about_one_page_long():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count("\n") <= 205
    beginning = " ".join(text.splitlines()[:13])
    assert "No network has been trained on all of ImageNet" in beginning
    assert "the package has not run on a GPU" in beginning


def test_flags_in_prose_exist(capsys):
    """A flag in prose belongs to any command; test_commands.py tests the commands."""
    for name in COMMANDS:
        importlib.import_module(f"alexnet_tf.{name}").main([name, "--help"])
    help_texts = capsys.readouterr().out.replace("[no]", "")
    for path in PAGES:
        mentioned = re.findall(r"--(?:no)?([a-z][a-z_0-9]{2,})", read_prose(path))
        for flag in {*mentioned} - OTHER_FLAGS:
            assert f"--{flag}:" in help_texts, (page_name(path), flag)


def test_every_command_is_shown():
    lines = [line for path in PAGES for line in read_commands(path)]
    shown = set(re.findall(r"^python -m alexnet_tf\.(\w+)", "\n".join(lines), re.M))
    assert shown == {*COMMANDS}


def test_named_modules_of_experiments_exist():
    for path in PAGES:
        text = " ".join(path.read_text(encoding="utf-8").split())
        for name in re.findall(r"python -m (experiments[\w.]+\w)", text):
            importlib.import_module(name)


def test_every_figure_has_a_section(capsys):
    importlib.import_module("alexnet_tf.visualize").main(["visualize", "--help"])
    text = capsys.readouterr().out
    (choices,) = re.findall(r"--figure: <([^>]*)>", text)
    page = (ROOT / "docs" / "figures.md").read_text()
    for name in re.sub(r"\s", "", choices).split("|"):
        assert f"\n### {name}\n" in page, name


def test_every_image_of_the_gallery_is_drawn_by_a_command_on_the_page(tmp_path):
    page = ROOT / "docs" / "figures.md"
    paths = {*gallery.commands(page)}
    assert paths == {page.parent / "kernels.png", *page.parent.glob("figures/*.png")}
    (tmp_path / "page.md").write_text("![No command](images/a.png)\n")
    with pytest.raises(ValueError, match="draws these images: a.png"):
        gallery.commands(tmp_path / "page.md")


def test_images_of_the_gallery_are_small(tmp_path):
    source, target = tmp_path / "a.png", tmp_path / "b.png"
    noise = np.random.default_rng(0).integers(0, 256, (300, 1440, 3), np.uint8)
    Image.fromarray(noise).save(source)
    gallery.reduce_image(source, target)
    with Image.open(target) as image:
        assert image.size == (720, 150)
        assert len(image.getcolors()) <= 256
    Image.new("RGB", (1440, 300)).save(source)
    gallery.reduce_image(source, target)
    assert target.read_bytes() == source.read_bytes()
    assert all(path.stat().st_size < 200_000 for path in ROOT.glob("docs/**/*.png"))


def test_the_version_is_the_same_everywhere():
    version = alexnet_tf.__version__
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert changes.startswith(f"# Changes\n\n## {version}\n")


def test_every_preset_and_published_weights_are_in_a_table():
    readme = (ROOT / "README.md").read_text()
    for name in alexnet_tf.PRESETS:
        assert f"\n| `{name}` | " in readme
    rows = (ROOT / "docs" / "weights.md").read_text()
    for row in alexnet_tf.WEIGHTS.values():
        cells = row.name, row.preset, f"{row.top1_error}%", f"{row.top5_error}%"
        name, preset, top1_error, top5_error = cells
        assert re.search(
            rf"\n\| `{name}` \| `{preset}` \| [\w-]+ \| {top1_error} \| {top5_error} "
            rf"\| {row.license} \|\n",
            rows,
        ), name


def test_generated_pages_and_parts_are_up_to_date(tmp_path):
    """Otherwise, run `python -m experiments.documents`."""
    (tmp_path / "docs").mkdir()
    for name in documents.generated_parts():
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"))
    documents.write(tmp_path)
    for name in (*documents.pages(), *documents.generated_parts()):
        generated = (tmp_path / name).read_text(encoding="utf-8")
        assert generated == (ROOT / name).read_text(encoding="utf-8"), name


def test_the_page_of_differences_has_a_section_for_each_of_them():
    page = differences_page.markdown_page()
    rows = (*differences.FROM_PAPER, *differences.FROM_OTHER_SOURCES)
    headings = [line[4:] for line in page.splitlines() if line.startswith("### ")]
    assert headings == [row.number for row in rows]
    text = " ".join(page.split())
    for row in rows:
        assert f": {row.source} - Here: {row.here}" in text
        assert f"- Where: {row.where}" in text
    assert max(map(len, page.splitlines())) <= 88


def test_a_part_without_its_comments_is_not_replaced():
    text = "a\n<!-- part: why -->\nold\n<!-- end of part -->\nb\n"
    assert documents.replace_part(text, "part", "new") == (
        "a\n<!-- part: why -->\nnew\n<!-- end of part -->\nb\n"
    )
    with pytest.raises(ValueError, match="Received: 0 parts"):
        documents.replace_part(text, "other", "new")


def test_docstrings_become_markdown():
    docstring = (
        "Returns a sum.\n\nIt is exact:\n\n    add(1, b=2)\n\nArgs:\n    a: a number\n"
        "        or two.\n    **kwargs: one of\n\n        - b: see `b`\n\n"
        "Returns:\n    The sum."
    )
    assert api_page.to_markdown(docstring) == [
        "Returns a sum.",
        "It is exact:",
        "```text\nadd(1, b=2)\n```",
        "**Args**",
        "- `a`: a number or two.\n- `**kwargs`: one of",
        "  - b: see `b`",
        "**Returns**",
        "The sum.",
    ]


def test_the_api_page_has_all_public_names():
    text = (ROOT / "docs" / "python-api.md").read_text()
    for name in alexnet_tf.__all__:
        assert f"`alexnet_tf.{name}`" in text
    for package in (alexnet_tf.training, alexnet_tf.inference):
        for name in dir(package):
            is_public = callable(getattr(package, name)) and not name.startswith("_")
            assert not is_public or f"### `{package.__name__}.{name}`" in text, name
    # The objects that these return, properties, and new objects as defaults.
    for name in ("models.weights.Report", "published.PublishedWeights"):
        assert f"### `alexnet_tf.{name}`" in text
    assert "#### `Evaluation.reported_ks`" in text
    assert "lr_mult={}" in text and "<factory>" not in text
