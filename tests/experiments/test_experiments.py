"""Tests of the flagfiles, of the benchmarks and of experiments without a log.

The claims are tested in test_reproduce.py.
"""

import dataclasses
import json
import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf import cli
from alexnet_tf.models import alexnet
from alexnet_tf import presets
from alexnet_tf import train
from alexnet_tf.training.run_preset import resolve_preset
from alexnet_tf.training import steps
from experiments.benchmarks import compare
from experiments.benchmarks import comparison_page
from experiments.benchmarks import keras_plain
from experiments.benchmarks import loaders
from experiments.benchmarks import tf1_graph
from experiments.benchmarks import timing
from experiments import finetune_cifar10
from experiments import neurons
from experiments import run_log
from experiments import scaling
from helpers.commands import help_text
from helpers.images import write_image_folder

FOLDER = pathlib.Path(__file__).parents[2] / "experiments"
DOCUMENTS = "".join(
    path.read_text(encoding="utf-8")
    for path in (FOLDER.parent / "README.md", *(FOLDER.parent / "docs").glob("*.md"))
)


def parse(path):
    """Returns the preset of a flagfile of `train`, and the values of all flags."""
    args = cli.parse(train.FLAGS, ["train", f"--flagfile={path}"])
    arguments = train.arguments_of(args)
    assert arguments["workdir"] == f"runs/{path.stem}"
    preset = resolve_preset(
        arguments["dataset"],
        arguments["preset"],
        arguments["weights"],
        arguments["workdir"],
        **{name: arguments[name] for name in presets.OVERRIDES},
    )
    return preset, arguments


@pytest.mark.parametrize(
    "path", sorted(FOLDER.glob("*.flags")), ids=lambda path: path.stem
)
def test_flagfiles_can_be_parsed_and_document_their_command(path):
    text = path.read_text()
    assert f"--flagfile=experiments/{path.name}" in text
    assert "Measured:" in text
    assert path.name in DOCUMENTS
    preset, _ = parse(path)
    assert preset.name in text


IMAGENET = sorted((FOLDER / "imagenet").glob("*.flags"))
# The number of parameters of the network that each flagfile builds.
PARAMETERS = {
    "caffe": 60_965_224,
    "caffenet": 60_965_224,
    "code2012": 60_965_224,
    "no_norm": 60_965_224,
    "no_overlap": 60_965_224,
    "one_tower": 59_798_312,
    "owt": 61_100_840,
    "paper": 60_965_224,
    "paper_conv6": 61_555_304,
    # This flagfile is for 21,841 classes.
    "paper_conv6_22k": 61_555_304 + 20_841 * 4097,
    "without_conv3": 59_858_920,
    "without_conv4": 60_301_288,
    # pool5 then has 384 maps, 128 more.
    "without_conv5": 60_965_224 - 442_624 + 128 * 36 * 4096,
}


@pytest.mark.parametrize("path", IMAGENET, ids=lambda path: path.stem)
def test_imagenet_flagfiles_name_their_target_and_status(path):
    text = " ".join(path.read_text().replace("#", " ").split())
    assert f"--flagfile=experiments/imagenet/{path.name}" in text
    assert "Target: " in text and "Status: run on 500 images" in text
    mentioned = set(re.findall(r"--([a-z_0-9]+)", text))
    commands = re.findall(r"alexnet_tf\.(\w+)", text)
    help_texts = "".join(help_text(name) for name in commands)
    assert all(f"--{flag}:" in help_texts for flag in mentioned - {"flagfile"})


@pytest.mark.parametrize("name", PARAMETERS)
def test_imagenet_flagfiles_build_their_network(name, zero_kernels):
    preset, arguments = parse(FOLDER / "imagenet" / f"{name}.flags")
    assert [*arguments["reinit"]] == (["fc8"] if name == "paper_conv6" else [])
    classes = 21_841 if name == "paper_conv6_22k" else 1000
    model = alexnet.AlexNet(preset, classes)
    assert model.count_params() == PARAMETERS[name]
    assert model.input.shape[1] == preset.preprocessing.crop_size


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "paper" else pytest.mark.large)
        for name in PARAMETERS
    ],
)
def test_imagenet_flagfiles_train_one_step(name):
    """The network is reduced to 67 x 67 pixels and 32 hidden units."""
    preset, _ = parse(FOLDER / "imagenet" / f"{name}.flags")
    narrow_layers = tuple(
        dataclasses.replace(layer, units=32)
        if isinstance(layer, presets.Dense) and layer.units
        else layer
        for layer in preset.layers
    )
    model = alexnet.AlexNet(
        dataclasses.replace(preset, layers=narrow_layers),
        10,
        input_shape=(67, 67, 3),
        classifier_activation=None,
    )
    optimizer = steps.make_optimizer(model, preset.recipe, "float32")
    arrays = [variable.numpy() for variable in model.trainable_variables]
    images = np.random.default_rng(0).normal(0, 50, (2, 67, 67, 3))
    with tf.GradientTape() as tape:
        logits = model(tf.constant(images, tf.float32), training=True)
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits([1, 2], logits)
        )
    variables = model.trainable_variables
    optimizer.apply(tape.gradient(loss, variables), variables)
    assert np.isfinite(loss)
    for variable, array in zip(variables, arrays, strict=True):
        assert np.isfinite(variable.numpy()).all()
        changed = np.abs(variable.numpy() - array).max() > 0
        assert changed or variable.path.endswith("bias"), variable.path


@pytest.mark.parametrize("name, count", [("five", 5), ("seven", 7)])
def test_ensembles_name_distinct_runs_and_no_preset(name, count):
    text = (FOLDER / "imagenet" / f"{name}_networks.flags").read_text()
    (weights,) = re.findall(r"^--weights=(.*)$", text, re.M)
    assert len(set(weights.split(","))) == count
    assert text.count("--preset") == 0  # Each run has its own preset.


def test_all_imagenet_flagfiles_are_tested():
    names = {path.stem for path in IMAGENET}
    assert names == {*PARAMETERS, "five_networks", "seven_networks"}


def test_neurons_differ_from_the_caption_only_in_conv1(zero_kernels):
    rows = neurons.rows()
    different = [name for name, caption, counted in rows[:-1] if caption != counted]
    assert different == ["conv1"]
    assert rows[1] == ("conv1", 253_440, 290_400)
    assert rows[-1] == ("total", 622_312, 659_272)


def test_fine_tuning_table_in_the_documents_matches_the_log():
    lines = run_log.read_log(finetune_cifar10.NAME)
    table = finetune_cifar10.error_table(lines)
    assert table in DOCUMENTS
    last_epoch = max(line["epoch"] for line in lines)
    scratch, fine_tuned = [
        {
            line["seed"]: 100 * line["top1_error"]
            for line in lines
            if (line["start"], line["per_class"], line["epoch"])
            == (start, 50, last_epoch)
        }
        for start in ("scratch", "fine-tuned")
    ]
    reductions = [scratch[seed] - fine_tuned[seed] for seed in (0, 1, 2)]
    errors = ", ".join(f"{fine_tuned[seed]:.1f}" for seed in (0, 1, 2))
    assert f"({errors})" in table
    assert f"| {np.mean(reductions):+.1f} (" in table


@pytest.mark.large
def test_selected_classes_are_balanced_and_repeated(make_source):
    source = make_source(60)
    selected = finetune_cifar10.select_classes(source, 5, seed=1, per_class=2)
    assert selected.num_examples == finetune_cifar10.IMAGES_PER_EPOCH
    assert selected.classes == tuple("56789")
    examples = [*selected.examples().as_numpy_iterator()]
    assert len(examples) == 5000
    assert len(selected.example_ids()) == 10
    for example in examples[:10]:
        index = int(example["name"].split()[1])
        assert index % 10 == example["label"] + 5
    other_seed = finetune_cifar10.select_classes(source, 5, seed=2, per_class=2)
    assert other_seed.example_ids() != selected.example_ids()
    first_classes = finetune_cifar10.select_classes(source, 0)
    assert first_classes.num_examples == 30
    assert first_classes.classes == tuple("01234")


def test_compared_programs_have_the_same_parameters():
    """The TensorFlow 1 network is built as a graph, which is not run."""
    assert keras_plain.build().count_params() == 60_965_224
    with tf.Graph().as_default():
        images = tf.compat.v1.placeholder(tf.float32, [None, 227, 227, 3])
        logits = tf1_graph.build(images, 0.5)
        variables = tf.compat.v1.global_variables()
    assert logits.shape.as_list() == [None, 1000]
    assert sum(v.shape.num_elements() for v in variables) == 60_965_224


def test_compared_pytorch_network_has_the_same_parameters():
    pytest.importorskip("torch")
    from experiments.benchmarks import pytorch

    for without_norm, num_norms in ((False, 2), (True, 0)):
        model = pytorch.build(without_norm)
        sizes = [parameter.numel() for parameter in model.parameters()]
        assert sum(sizes) == 60_965_224
        types = [type(module).__name__ for module in model.modules()]
        assert types.count("LocalResponseNorm") == num_norms


def test_comparison_alternates_programs_and_reports_medians(
    tmp_path, monkeypatch, capsys
):
    commands = []

    def run(module, *arguments):
        commands.append((module, *arguments))
        rate = 90.0 if "ours" in module or "alexnet_tf" in arguments else 30.0
        return {"rate": rate * len(commands), "peak_memory": 2**30}

    monkeypatch.setattr(compare, "run", run)
    results = compare.measure_networks(["mixed_bfloat16"], rounds=3)
    training = results["mixed_bfloat16"]["training"]
    assert "TensorFlow 1 graph" not in training and len(training) == 5
    # Five programs run in turn: the first, sixth and eleventh command are ours.
    assert training["alexnet_tf"] == {"rate": 6 * 90.0, "peak_memory": 2**30}
    assert commands[5] == ("ours", "training", "mixed_bfloat16")
    assert commands[9] == ("pytorch", "training", "mixed_bfloat16", "without_norm")

    commands.clear()
    output = tmp_path / "compare.json"
    compare.main(["compare", "--quick", "--images=photos", f"--output={output}"])
    assert commands[5:7] == [
        ("tf1_graph", "training"), ("ours", "inference", "float32")
    ]  # fmt: skip
    assert commands[-2:] == [
        ("loaders", "torchvision_v2", "photos"), ("loaders", "decode", "photos")
    ]  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "| float32 | training | alexnet_tf | 90.0 | 1.00 | 1,024 |"
    assert lines[3] == "| float32 | training | plain Keras | 60.0 | 1.50 | 1,024 |"
    assert "| torchvision, PIL | 420.0 | 2.79 | 1,024 |" in lines
    results = json.loads(output.read_text())
    assert results["rounds"] == 1 and "command" not in results["machine"]
    assert results["loaders"]["alexnet_tf"]["rate"] == 13 * 90.0
    machine = results["machine"]
    assert machine["title"] == machine["processors"] and "torch" in machine


def test_comparison_page_has_a_column_for_each_machine(tmp_path):
    """The second machine has no bfloat16, and 250 / 2,000 is .125."""
    def rates(own, other):
        return {"alexnet_tf": {"rate": own}, "plain Keras": {"rate": other}}

    first = {
        "machine": {"title": "A", "torch": "2.13.0", "commit": "abc"},
        "rounds": 3,
        "networks": {"mixed_bfloat16": {"training": rates(71.34, 10)}},
    }
    second = {
        "machine": {"title": "B", "torch": "none", "commit": "def"},
        "rounds": 1,
        "networks": {"float32": {"inference": rates(120.4, 60)}},
        "loaders": rates(250, 2000),
    }
    for name, result in [("a.json", first), ("b.json", second)]:
        (tmp_path / name).write_text(json.dumps(result))
    header, _, *rows = comparison_page.markdown_table(tmp_path).splitlines()
    assert "A; 3 rounds, PyTorch 2.13.0, commit `abc` | B; 1 round, PyTorch" in header
    assert rows == [
        "| training, bfloat16: alexnet_tf | **71.3** | - |",
        "| training, bfloat16: plain Keras | 10.0 (7.13) | - |",
        "| inference, float32: alexnet_tf | - | **120** |",
        "| inference, float32: plain Keras | - | 60.0 (2.01) |",
        "| crops of photographs: alexnet_tf | - | **250** |",
        "| crops of photographs: plain Keras | - | 2,000 (0.12) |",
    ]


@pytest.mark.parametrize("program", ["alexnet_tf", "decode", "torchvision_v2"])
def test_compared_input_pipelines_read_all_full_batches(
    tmp_path, monkeypatch, program
):
    """Of 12 images, 10 are in full batches of 5."""
    if program.startswith("torchvision"):
        pytest.importorskip("torchvision")
    write_image_folder(tmp_path / "data")
    monkeypatch.setattr(loaders, "BATCH_SIZE", 5)
    batches = loaders.PROGRAMS[program](str(tmp_path / "data"))
    lengths = [len(batch if program == "decode" else batch[0]) for batch in batches]
    assert lengths == [5, 5]


def test_timing_reports_throughput_and_memory_as_json(capsys):
    timing.report(lambda: None, 128)
    result = json.loads(capsys.readouterr().out)
    assert result["rate"] > 1e4 and result["peak_memory"] > 2**27
    images, labels = timing.random_batch(2, channels_first=True)
    assert images.shape == (2, 3, 224, 224) and labels.shape == (2,)


def test_scaling_calculates_step_times(capsys, zero_kernels):
    """In a ring of 8 each GPU sends 7/4 of 244 MB, at 300 GB/s."""
    size, dense = scaling.gradient_bytes(alexnet.AlexNet("paper"))
    assert size == 4 * 60_965_224
    assert dense == 4 * (9216 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 1000 + 1000)
    cluster = scaling.Cluster(batch_size=10, tflops=2, network=25)
    assert scaling.step_seconds(1, 1e9, size, cluster) == (0.005, 0)
    _, seconds_of_8 = scaling.step_seconds(8, 1e9, size, cluster)
    assert seconds_of_8 == pytest.approx(1.75 * size / 300e9)
    _, seconds_of_64 = scaling.step_seconds(64, 1e9, size, cluster)
    assert seconds_of_64 == pytest.approx(2 * 63 / 64 * size / 25e9)
    scaling.main(["scaling", "tflops=1e9"])
    assert "| 64 | 0.0 ms | 38.4 ms | 0% |" in capsys.readouterr().out


@pytest.mark.parametrize("argument", ["tflop=3", "tflops", "tflops=fast"])
def test_scaling_rejects_invalid_arguments(argument):
    with pytest.raises(SystemExit, match=f"Expected KEY=.* Received: {argument}"):
        scaling.main(["scaling", argument])
