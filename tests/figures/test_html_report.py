"""Tests the HTML page of a run: its values, its figures, and how a browser shows it."""

import dataclasses
import html.parser
import os
import re
import shutil
import subprocess
import types

from matplotlib import image as matplotlib_image
import numpy as np
import pytest

from alexnet_tf.figures import confusions
from alexnet_tf.figures import differences
from alexnet_tf.figures import html_report
from alexnet_tf.inference import evaluation
from alexnet_tf.inference import retrieval
from alexnet_tf.models import alexnet
from alexnet_tf import plots
from alexnet_tf import presets
from alexnet_tf.workdir import append_metrics
from helpers.commands import command
from helpers.images import write_image_folder
from helpers.networks import dense_preset
from helpers.networks import untrained_classifier


@pytest.fixture(scope="module")
def run_with_report(tmp_path_factory):
    """Returns the path of a run of three epochs on 60 images of 3 classes.

    The command `report` has written its page.
    """
    folder = tmp_path_factory.mktemp("report")
    data = write_image_folder(folder / "data", classes=3, count=20)
    code, _, error = command(
        "train", f"--dataset={data}", "--eval_split=train", "--preset=tiny",
        "--epochs=3", f"--workdir={folder / 'run'}", "--dropout=0.25",
        "--batch_size=20",
    )
    assert code == 0, error
    code, out, error = command("report", folder / "run")
    assert code == 0, error
    assert out == f"{folder / 'run' / 'report.html'}\n"
    return folder / "run"


class ParsedPage(html.parser.HTMLParser):
    """The headings, paragraphs, table cells, images and unclosed tags of a page."""

    def __init__(self, text):
        super().__init__()
        self.headings, self.rows, self.images, self.open_tags = [], [], [], []
        self.paragraphs = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.images.append(dict(attributes))
        elif tag not in ("meta", "wbr"):
            self.open_tags.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag):
        assert self.open_tags.pop() == tag

    def handle_data(self, data):
        if self.open_tags and self.open_tags[-1] == "h2":
            self.headings.append(data)
        if self.open_tags and self.open_tags[-1] == "p":
            self.paragraphs.append(data)
        if self.open_tags and self.open_tags[-1] in ("td", "th"):
            self.rows[-1].append(data)


def test_page_describes_the_run(run_with_report):
    page = ParsedPage((run_with_report / "report.html").read_text())
    assert page.open_tags == []
    assert page.headings == [
        "Result", "Curves", "Kernels of the first layer", "Right",
        "Wrong", "The least sure", "Confusions", "Nearest training images by fc7",
        "Differences from the preset paper",
        "Differences from the paper in this package", "Flags", "Environment",
    ]  # fmt: skip
    rows = {row[0]: row[1:] for row in page.rows if len(row) > 1}
    assert rows["parameters"] == ["64,611"]
    last = (run_with_report / "metrics.jsonl").read_text().splitlines()[-1]
    error = float(re.search(r'"top1_error": ([\d.e-]+)', last)[1])
    assert rows["top-1 error"][0].startswith(f"{error:.2%} (95% interval")
    assert "top-5 error" not in rows  # There are three classes.
    assert rows["epochs"] == ["3"] and rows["steps"] == ["9"]
    # The next rows are differences of the preset, flags and the environment.
    assert ["batch_size", "128", "20"] in page.rows
    assert ["drop6", "rate 0.5", "rate 0.25"] in page.rows
    assert ["dropout", "0.25"] in page.rows
    assert "train" in rows["command"][0]
    assert rows["numpy"] == [np.__version__]


def test_page_refers_to_no_other_file(run_with_report):
    text = (run_with_report / "report.html").read_text()
    page = ParsedPage(text)
    # Three curves, the kernels and the confusions; the others are single images.
    assert len(page.images) > 30
    for image in page.images:
        assert image["src"].startswith("data:image/png;base64,") and image["alt"]
    without_images = re.sub(r'src="data:[^"]*"', "", text)
    assert not re.search(r"<(script|link|iframe)|url\(|src=|href=", without_images)


@pytest.fixture
def make_page(tmp_path, make_source):
    """Returns make_page(count), which makes the page of an untrained network.

    It returns (classifier, source with `count` images, HTML text). The names of the
    classes look like HTML tags.
    """

    def make(count=12):
        classifier = untrained_classifier()
        class_names = tuple(f"<b>{number}&" for number in range(10))
        source = dataclasses.replace(make_source(count), classes=class_names)
        index = str(tmp_path / "index.npz")
        retrieval.build_index(index, classifier, source, "fc7", verbose=0)
        text = html_report.page(
            str(tmp_path), classifier, source, source, index, "fc7"
        )
        return classifier, source, text

    return make


@pytest.mark.large
def test_page_of_one_step_on_three_images(make_page, tmp_path):
    """The throughput is unknown, and there are fewer than six neighbors."""
    append_metrics(
        str(tmp_path), split="train", step=1, epoch=1, loss=2.3, top1_error=0.9,
        top5_error=0.5, learning_rate=0.01, images_per_second=None,
    )
    _, _, text = make_page(3)
    rows = {row[0]: row[1:] for row in ParsedPage(text).rows if len(row) > 1}
    assert rows["images per second"] == ["-"] and rows["steps"] == ["1"]
    assert "checkpoint" not in rows  # The folder has none.
    assert "the 2 nearest of 3 images of images, split train" in (
        " ".join(text.split())
    )


def test_error_in_training_is_the_mean_of_the_last_epoch():
    """The steps of each line weight its error, and the last epoch may be incomplete."""
    lines = [
        {"split": "train", "step": step, "epoch": epoch, "top1_error": error}
        for step, epoch, error in [
            (2, 2 / 3, 0.9), (3, 1 + 1e-12, 0.3), (5, 5 / 3, 0.4), (6, 2.0, 0.1),
        ]
    ]  # fmt: skip
    rows = [dict(html_report._training_rows(lines[:end])) for end in (2, 3, 4)]
    assert [row["top-1 error in training"] for row in rows] == [
        "70.00% (mean of epoch 1)", "40.00% (mean of epoch 2)",
        "30.00% (mean of epoch 2)",
    ]  # fmt: skip


@pytest.mark.large
def test_page_of_an_interrupted_run_says_which_checkpoint_it_shows(
    run_with_report, tmp_path
):
    """The run was killed after step 12, but its newest checkpoint is of step 9."""
    shutil.copytree(run_with_report, tmp_path / "run")
    append_metrics(
        str(tmp_path / "run"), split="train", step=12, epoch=4.0, loss=1.0,
        top1_error=0.25, learning_rate=0.01, images_per_second=9.0,
    )
    assert command("report", tmp_path / "run")[0] == 0
    pages = [
        ParsedPage((folder / "report.html").read_text())
        for folder in (run_with_report, tmp_path / "run")
    ]
    rows = [{row[0]: row[1:] for row in page.rows if len(row) > 1} for page in pages]
    assert [row["checkpoint"] for row in rows] == [["after step 9"]] * 2
    assert rows[1]["steps"] == ["12"]
    assert rows[1]["top-1 error in training"] == ["25.00% (mean of epoch 4)"]
    sentence = "checkpoint after step 9, but the curves and the rows about training"
    assert [sentence in " ".join(page.paragraphs) for page in pages] == [False, True]


def test_kernels_of_a_first_convolution_of_any_name():
    preset = dataclasses.replace(
        dense_preset(),
        layers=(presets.Conv("stem", 4, 3), presets.Dense("fc", None)),
    )
    sections = []
    for own in (preset, dense_preset()):
        model = alexnet.AlexNet(own, 3)
        classifier = types.SimpleNamespace(model=model, preset=own)
        sections.append(html_report._kernels(classifier))
    [(_, _, content)] = sections[0]
    assert 'alt="4 kernels of stem"' in content and not sections[1]


def test_page_shows_the_evaluated_images(make_page, tmp_path, monkeypatch):
    """The names of classes and the flags are escaped."""
    (tmp_path / "flags.txt").write_text("--note=<b>bold</b>\n")
    plotted = {}
    monkeypatch.setattr(
        confusions, "plot", lambda counts, *_: plotted.update(counts=counts)
    )
    classifier, source, text = make_page()
    probabilities, labels = evaluation.probabilities(
        classifier, source, "center", verbose=0
    )
    assert "&lt;b&gt;bold" in text and "<b>" not in text
    rows = ParsedPage(text).rows
    for label, predicted, count in evaluation.confusions(probabilities, labels, 10):
        assert [f"<b>{label}&", f"<b>{predicted}&", str(count)] in rows
    predicted = probabilities.argmax(axis=1)
    counts = plotted["counts"]
    assert counts.sum() == 12 and counts.trace() == (predicted == labels).sum()
    for label, wrong_label, count in evaluation.confusions(probabilities, labels, 100):
        assert counts[label, wrong_label] == count
    # The wrong predictions are between these headings, the most confident one first.
    section = text.split("<h2>Wrong</h2>")[1].split("<h2>")[0]
    order = np.argsort(-probabilities.max(axis=1), kind="stable")
    wrong = [index for index in order if predicted[index] != labels[index]][:8]
    captions = re.findall(r"<figcaption>&lt;b&gt;(\d)&amp;</figcaption>", section)
    assert captions == [str(labels[index]) for index in wrong]
    bars = re.findall(r'<li class="(\w+)".*?transparent ([\d.]+)%', section)
    assert len(bars) == 5 * len(wrong)
    assert [float(percent) for _, percent in bars[::5]] == pytest.approx(
        100 * probabilities.max(axis=1)[wrong], abs=0.051
    )
    assert {kind for kind, _ in bars[::5]} == {"other"}
    assert section.count("<img") == len(wrong)
    labels_of_bars = re.findall(r"<span>([^<]*%)</span>", section)
    assert labels_of_bars[::5] == [
        html.escape(plots.percent(probabilities[index].max())) for index in wrong
    ]
    # The tooltips are the names of the files.
    tooltips = re.findall(r'<figure class="prediction" title="([^"]*)"', section)
    assert tooltips == [f"images {index}" for index in wrong]


def test_bars_of_predictions_never_say_0_or_100_percent(make_source, monkeypatch):
    classifier, source = untrained_classifier(), make_source(1, name="/photos/<a>.jpg")
    (example,) = source.take_indices([0])
    monkeypatch.setattr(
        type(classifier), "predict",
        lambda *_: [(0, "0", 0.9999), (1, "1", 0.0001)],
    )  # fmt: skip
    text = html_report._prediction(classifier, source, example)
    assert re.findall(r"<span>([^<]*)</span>", text) == ["0", "&gt;99%", "1", "&lt;1%"]
    assert 'title="&lt;a&gt;.jpg 0"' in text and "photos" not in text


def test_page_begins_with_a_sentence_about_the_result(make_source):
    source = dataclasses.replace(make_source(4), classes=("a_b", "n02119789", "c"))
    probabilities = np.eye(3)[[0, 1, 1, 1]]
    labels = np.array([0, 0, 2, 0], np.int32)
    assert html_report.summarize(source, probabilities, labels) == (
        "1 of 4 images are classified correctly; most often, a_b is mistaken for kit "
        "fox (2 of 3 images)."
    )
    labels = np.array([0, 1, 1, 1], np.int32)
    sentence = "All 4 images are classified correctly."
    assert html_report.summarize(source, probabilities, labels) == sentence


def test_each_section_begins_with_an_explanation(run_with_report):
    text = (run_with_report / "report.html").read_text()
    page = ParsedPage(text)
    sections = text.split("<h2>")[1:]
    assert all(re.match(r".*</h2>\n<p>[^<]+\.</p>", section) for section in sections)
    assert re.match(r"\d+ of 60 images are classified correctly;", page.paragraphs[0])


@pytest.mark.parametrize(
    "width, height",
    [pytest.param(1280, 5000, marks=pytest.mark.large), (390, 9000)],
)
def test_browser_shows_page_without_overflow(run_with_report, tmp_path, width, height):
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("chromium is not installed")
    screenshot = tmp_path / "page.png"
    subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu",
            "--disable-quic", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--hide-scrollbars", f"--user-data-dir={tmp_path / 'user'}",
            f"--window-size={width},{height}",
            f"--screenshot={screenshot}", f"file://{run_with_report / 'report.html'}",
        ],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    pixels = matplotlib_image.imread(screenshot)[..., :3]
    assert pixels.shape[:2] == (height, width)
    colors = np.rint(255 * pixels).astype(int).reshape(-1, 3)
    # The curves of both splits and the frames of the queries have these colors.
    for rgb in ([0, 114, 178], [213, 94, 0]):
        assert (np.abs(colors - rgb).max(axis=1) < 8).sum() > 300
    # The right margin is empty: nothing is too wide.
    assert pixels[:, -10:-5].std() < 0.05


def test_names_of_settings_are_not_broken_inside_of_words(run_with_report):
    text = (run_with_report / "report.html").read_text()
    (rule,) = re.findall(r"td:first-child, \.headed td \{([^}]*)\}", text)
    assert rule.strip() == "overflow-wrap: break-word;"
    table = text.split("<h2>Differences from the preset paper</h2>")[1]
    assert table.split("<table")[1].startswith(" class=headed>")


def test_rejects_folders_that_are_not_runs(tmp_path):
    code, _, error = command("report", tmp_path)
    assert code == 1 and "network.json" in error
    code, _, error = command("report", tmp_path / "none")
    assert code == 1 and f"The run does not exist: {tmp_path}/none." in error
    code, _, error = command("report", "tiny_textures")
    assert code == 1 and "the work directory of a run, whose metrics" in error
    assert "Received: tiny_textures, the name of published weights." in error
    assert command("report")[0] == 1


def test_a_tilde_stands_for_the_home_directory(run_with_report, monkeypatch):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(run_with_report.parent))
    monkeypatch.setattr(html_report, "page", lambda workdir, *_: f"page of {workdir}")
    output = str(run_with_report.parent / "other.html")
    assert html_report.write_report("~/run", output="~/other.html") == output
    with open(output, encoding="utf-8") as file:
        assert file.read() == f"page of {run_with_report}"


def test_rejects_output_folder_that_does_not_exist(run_with_report, tmp_path):
    with pytest.raises(FileNotFoundError, match="folder of output.*none"):
        html_report.write_report(
            run_with_report, output=tmp_path / "none" / "report.html"
        )


def test_run_without_flags_needs_a_data_set(run_with_report, tmp_path):
    shutil.copytree(run_with_report, tmp_path / "run")
    os.remove(tmp_path / "run" / "flags.txt")
    code, _, error = command("report", tmp_path / "run")
    assert code == 1 and "flags.txt" in error and "dataset=None" in error


def test_compare_presets_lists_all_differences():
    paper = presets.get("paper")
    assert html_report.compare_presets(paper, paper) == []
    changed = presets.override(paper, epochs=3, flip=False, dropout=0.1)
    assert html_report.compare_presets(changed, paper) == [
        ("epochs", "90", "3"),
        ("flip", "True", "False"),
        ("drop6", "rate 0.5", "rate 0.1"),
        ("drop7", "rate 0.5", "rate 0.1"),
    ]
    code2012 = html_report.compare_presets(presets.get("code2012"), paper)
    rows = {row[0]: row[1:] for row in code2012}
    assert rows["cnorm2"][0] == "none" and "SpatialNorm: size 5" in rows["cnorm2"][1]
    assert rows["norm1"] == ("alpha 0.0001, groups 1", "alpha 2e-05, groups 2")
    before, after = rows["order of the layers"]
    assert before.startswith("conv1 relu1 norm1 pool1")
    assert after.startswith("conv1 norm1 pool1 relu1")
    assert before.split() == [layer.name for layer in paper.layers]
    owt = html_report.compare_presets(presets.get("owt"), paper)
    names = [row[0] for row in owt]
    assert "norm1" in names and "drop5" in names
    # .224 * 255 is 57.120000000000005.
    assert ("channel_std", "None", "58.395, 57.12, 57.375") in owt


def test_page_lists_the_differences_that_concern_the_preset(run_with_report):
    rows = ParsedPage((run_with_report / "report.html").read_text()).rows
    shown = {row[0]: row[1:] for row in rows if re.fullmatch(r"D\d+", row[0])}
    preset = presets.override(presets.get("tiny"), batch_size=20)
    concerning = differences.concerning(preset)
    assert [*shown] == [row.number for row in concerning]
    for row in concerning:
        cells = [cell for cell in (row.source, row.here, row.where) if cell]
        assert shown[row.number] == [cell.replace("`", "") for cell in cells]
