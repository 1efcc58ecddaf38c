"""The page of a run: what it says, and that a browser shows it."""

import dataclasses
import html.parser
import os
import pathlib
import re
import shutil
import subprocess

from matplotlib import image as matplotlib_image
import numpy as np
import pytest

from alexnet_tf.figures import html_report
from alexnet_tf.inference import evaluation
from alexnet_tf.inference import retrieval
from alexnet_tf import plots
from alexnet_tf import presets
from alexnet_tf.workdir import append_metrics
from helpers.commands import command
from helpers.networks import untrained_classifier

README = pathlib.Path(__file__).parents[2] / "README.md"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of three epochs on 60 images of 3 classes, and its page."""
    from helpers.images import write_image_folder

    folder = tmp_path_factory.mktemp("report")
    data = write_image_folder(folder / "data", classes=3, count=20)
    code, _, said = command(
        "train", f"--dataset={data}", "--eval_split=train", "--preset=tiny",
        "--epochs=3", f"--workdir={folder / 'run'}", "--dropout=0.25",
        "--batch_size=20",
    )
    assert code == 0, said
    code, _, said = command("report", folder / "run")
    assert code == 0, said
    return folder / "run"


class Page(html.parser.HTMLParser):
    """Headings, cells of tables, images and whether all tags are closed."""

    def __init__(self, text):
        super().__init__()
        self.headings, self.rows, self.images, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.images.append(dict(attributes))
        elif tag != "meta":
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1].append(data)


def test_the_page_says_what_the_run_was(run):
    page = Page((run / "report.html").read_text())
    assert page.open == []
    assert page.headings == [
        "Result", "Curves", "Kernels of the first layer", "Surest and right",
        "Surest and wrong", "Confusions", "Nearest training images by fc7",
        "Differences from the preset paper",
        "Differences from the paper in this package", "Flags", "Environment",
    ]  # fmt: skip
    rows = {row[0]: row[1:] for row in page.rows if len(row) > 1}
    assert rows["parameters"] == ["64,611"]
    last = (run / "metrics.jsonl").read_text().splitlines()[-1]
    error = float(re.search(r'"top1_error": ([\d.e-]+)', last)[1])
    assert rows["top-1 error"][0].startswith(f"{error:.2%} (95% interval")
    assert rows["epochs"] == ["3"] and rows["steps"] == ["9"]
    # Of the flags, the preset and the machine.
    assert ["batch_size", "128", "20"] in page.rows
    assert ["drop6", "rate 0.5", "rate 0.25"] in page.rows
    assert ["dropout", "0.25"] in page.rows
    assert "train" in rows["command"][0]
    assert rows["numpy"] == [np.__version__]


def test_the_page_needs_nothing_beside_itself(run):
    text = (run / "report.html").read_text()
    page = Page(text)
    assert len(page.images) >= 5
    for image in page.images:
        assert image["src"].startswith("data:image/png;base64,") and image["alt"]
    without = re.sub(r'src="data:[^"]*"', "", text)
    assert not re.search(r"<(script|link|iframe)|url\(|src=|href=", without)


@pytest.fixture
def page(tmp_path, make_source):
    """page(count): of an untrained network and classes with names like tags."""

    def make(count=12):
        net = untrained_classifier()
        names = tuple(f"<b>{number}&" for number in range(10))
        source = dataclasses.replace(make_source(count), classes=names)
        index = str(tmp_path / "index.npz")
        retrieval.build_index(index, net, source, "fc7", verbose=0)
        text = html_report.page(str(tmp_path), net, source, source, index, "fc7")
        return net, source, text

    return make


def test_names_are_no_html(page, tmp_path):
    """Of classes and flags."""
    (tmp_path / "flags.txt").write_text("--note=<b>bold</b>\n")
    net, source, text = page()
    assert "&lt;b&gt;bold" in text and "<b>" not in text
    found, truth = evaluation.probabilities(net, source, "center", verbose=0)
    rows = Page(text).rows
    for label, guess, count in evaluation.confusions(found, truth, 10):
        assert [f"<b>{label}&", f"<b>{guess}&", str(count)] in rows


def test_a_run_of_one_step_on_three_images_has_a_page(page, tmp_path):
    """No speed is known, and there are not six neighbors."""
    append_metrics(
        str(tmp_path), split="train", step=1, epoch=1, loss=2.3, top1_error=0.9,
        top5_error=0.5, learning_rate=0.01, images_per_second=None,
    )
    _, _, text = page(3)
    rows = {row[0]: row[1:] for row in Page(text).rows if len(row) > 1}
    assert rows["images a second"] == ["-"] and rows["steps"] == ["1"]
    assert "the 2 nearest of 3 images of images, split train" in (
        " ".join(text.split())
    )


def test_the_page_s_figures_are_of_the_measured_images(page, monkeypatch):
    given = {"predictions": []}
    monkeypatch.setattr(
        plots, "confusion", lambda counts, names, file: given.update(counts=counts)
    )
    monkeypatch.setattr(
        plots, "predictions", lambda rows, file: given["predictions"].append(rows)
    )
    net, source, _ = page()
    found, truth = evaluation.probabilities(net, source, "center", verbose=0)
    guesses = found.argmax(axis=1)
    counts = given["counts"]
    assert counts.sum() == 12 and counts.trace() == (guesses == truth).sum()
    for label, guess, count in evaluation.confusions(found, truth, 100):
        assert counts[label, guess] == count
    # The surest first, first those that are right.
    rows = given["predictions"][-1]
    order = np.argsort(-found.max(axis=1), kind="stable")
    wrong = [place for place in order if guesses[place] != truth[place]][:8]
    assert [title for title, _, _ in rows] == [f"<b>{truth[p]}&" for p in wrong]
    assert [named[0][2] for _, _, named in rows] == pytest.approx(
        found.max(axis=1)[wrong]
    )


def test_a_browser_shows_it(run, tmp_path):
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("chromium is not installed")
    image = tmp_path / "page.png"
    subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu",
            "--disable-quic", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--hide-scrollbars", f"--user-data-dir={tmp_path / 'user'}", "--window-size=1200,5000",
            f"--screenshot={image}", f"file://{run / 'report.html'}",
        ],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    pixels = matplotlib_image.imread(image)[..., :3]
    assert pixels.shape[:2] == (5000, 1200)
    colors = np.rint(255 * pixels).astype(int).reshape(-1, 3)
    # Curves of both splits and the frames of the queries.
    for rgb in ([0, 114, 178], [213, 94, 0]):
        assert (np.abs(colors - rgb).max(axis=1) < 8).sum() > 300
    # Nothing sticks out on the right.
    assert pixels[:, 1190:1195].std() < 0.05


def test_what_is_no_run_is_said(tmp_path):
    code, _, said = command("report", tmp_path)
    assert code == 1 and "network.json" in said
    code, _, said = command("report", tmp_path / "none")
    assert code == 1 and "none" in said
    assert command("report")[0] == 1


def test_a_run_without_flags_needs_a_data_set(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    os.remove(tmp_path / "run" / "flags.txt")
    code, _, said = command("report", tmp_path / "run")
    assert code == 1 and "flags.txt" in said and "--dataset" in said


def test_departures_are_all_that_differs():
    paper = presets.get("paper")
    assert html_report.departures(paper, paper) == []
    changed = presets.override(paper, epochs=3, flip=False, dropout=0.1)
    assert html_report.departures(changed, paper) == [
        ("epochs", "90", "3"),
        ("flip", "True", "False"),
        ("drop6", "rate 0.5", "rate 0.1"),
        ("drop7", "rate 0.5", "rate 0.1"),
    ]
    rows = {row[0]: row[1:] for row in html_report.departures(
        presets.get("code2012"), paper)}  # fmt: skip
    assert rows["cnorm2"][0] == "none" and "SpatialNorm: size 5" in rows["cnorm2"][1]
    assert rows["norm1"] == ("alpha 0.0001, groups 1", "alpha 2e-05, groups 2")
    before, after = rows["order of the layers"]
    assert before.startswith("conv1 relu1 norm1 pool1")
    assert after.startswith("conv1 norm1 pool1 relu1")
    rows = [row[0] for row in html_report.departures(presets.get("owt"), paper)]
    assert "norm1" in rows and "drop5" in rows


def test_the_readme_s_differences_are_all_read():
    rows = html_report.differences(README.read_text())
    assert [row[0] for row in rows] == [f"D{number}" for number in range(1, 20)]
    assert all(len(row) == 4 and all(row[:3]) for row in rows)
    assert rows[0][3] == "layers.GroupedConv2D, training.make_strategy"
    assert "a tenth from epoch 67" in html_report._differences()
