"""Property tests: any input gives a correct result or an error that explains it."""

import dataclasses
import json
import os
import re

from hypothesis import given
from hypothesis import HealthCheck
from hypothesis import settings
from hypothesis import strategies as st
import pytest
import tensorflow as tf

from alexnet_tf.data import datasets
from alexnet_tf.data import preprocess
from alexnet_tf import presets

fuzzed = settings(
    deadline=None,
    derandomize=True,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def assert_explains(error):
    """Checks that an error has the form "Expected ... Received: ..."."""
    assert "Expected" in str(error) and "Received" in str(error)


# ---- Crops ----------------------------------------------------------------------


@fuzzed
@given(
    height=st.integers(1, 3000),
    width=st.integers(1, 3000),
    image_size=st.integers(1, 300),
    data=st.data(),
)
def test_crops_of_any_size_have_the_right_color(height, width, image_size, data):
    """Each pixel of a crop has the color of the image, which has only one color."""
    crop_size = data.draw(st.integers(1, image_size))
    offset = data.draw(st.tuples(*[st.integers(0, image_size - crop_size)] * 2))
    resize = data.draw(st.sampled_from(["short_side", "squash"]))
    preprocessing = presets.Preprocessing(
        image_size=image_size, crop_size=crop_size, resize=resize
    )
    encoded = tf.io.encode_png(tf.fill([height, width, 3], tf.constant(77, tf.uint8)))
    # The public `decode_crop` would trace a `tf.function` for each `Preprocessing`.
    crop = preprocess._decode_crop(preprocessing, encoded, tf.constant(offset))
    assert crop.shape == (crop_size, crop_size, 3) and (crop.numpy() == 77).all()


# ---- Presets --------------------------------------------------------------------

INTEGERS = st.integers(-5, 2000)
NUMBERS = st.one_of(st.floats(), INTEGERS)
STRATEGIES = {bool: st.booleans(), int: INTEGERS, int | None: INTEGERS, float: NUMBERS}
# {argument of `presets.override`: strategy for its value}. Fields of other types than
# those in `STRATEGIES` are omitted.
OVERRIDES = {
    field.name: STRATEGIES[field.type]
    for part in (presets.Recipe, presets.Preprocessing)
    for field in dataclasses.fields(part)
    if field.type in STRATEGIES
} | {
    "dropout": NUMBERS,
    "init": st.sampled_from(["he", "torch", "xavier", ""]),
    "ablate": st.lists(st.sampled_from(["norm", "overlap", "tower", "conv3", "fc6"])),
}


@fuzzed
@given(name=st.sampled_from(sorted(presets.PRESETS)), data=st.data())
def test_override_returns_a_preset_that_can_be_saved_or_explains_the_error(name, data):
    arguments = data.draw(st.lists(st.sampled_from(sorted(OVERRIDES)), max_size=4))
    values = {key: data.draw(OVERRIDES[key]) for key in arguments}
    try:
        preset = presets.override(presets.get(name), **values)
    except ValueError as error:
        assert_explains(error)
        return
    saved = json.loads(json.dumps(presets.to_dict(preset), allow_nan=False))
    assert presets.from_dict(saved) == preset
    fields = vars(preset.recipe) | vars(preset.preprocessing)
    for field in values.keys() - {"dropout", "init", "ablate"}:
        assert fields[field] == values[field]


# ---- Lists and splits -----------------------------------------------------------


@pytest.fixture(scope="module")
def list_folder(tmp_path_factory):
    """A folder with two empty images, for list files."""
    path = tmp_path_factory.mktemp("lists")
    (path / "a.jpg").touch()
    (path / "a b.jpg").touch()
    return path


# Random bytes, and lines of a path, a separator and a label, some of them invalid.
LINES = st.one_of(
    st.binary(max_size=30),
    st.tuples(
        st.sampled_from([b"a.jpg", b"a b.jpg", b"gone.jpg", b"/", b"..", b"\xff.jpg"]),
        st.sampled_from([b" ", b"\t", b"  ", b""]),
        st.sampled_from([b"0", b"1", b"-1", b"01", b"7000000", "٣".encode(), b"x"]),
    ).map(b"".join),
)


@fuzzed
@given(lines=st.lists(LINES, max_size=4))
def test_a_list_is_loaded_or_the_error_names_the_line(list_folder, lines):
    (list_folder / "list.txt").write_bytes(b"\n".join(lines))
    try:
        source = datasets.load(f"list:{list_folder}/list.txt", "train")
    except ValueError as error:
        assert_explains(error)
        return
    except FileNotFoundError as error:
        message = r"no image at .* on line \d of .*list\.txt"
        assert re.search(message, str(error), re.DOTALL)
        return
    examples = list(source.examples().as_numpy_iterator())
    assert len(examples) == source.num_examples > 0
    for example in examples:
        assert os.path.isfile(example["name"])
        assert 0 <= example["label"] < len(source.classes)


@fuzzed
@given(
    split=st.one_of(
        st.text(max_size=20),
        st.from_regex(r"train(\[-?[0-9]{0,3}%?:-?[0-9]{0,3}%?\])?", fullmatch=True),
        st.from_regex(r"(train|test|all)\[[0-9%:]{0,8}\](\+train)?", fullmatch=True),
    )
)
def test_a_split_has_images_or_the_error_explains_it(list_folder, split):
    (list_folder / "ten.txt").write_text("a.jpg 0\n" * 10)
    try:
        source = datasets.load(f"list:{list_folder}/ten.txt", split)
    except ValueError as error:
        assert_explains(error)
        return
    # With +train, a split may contain each of the ten images twice.
    assert 0 < source.num_examples == len(list(source.examples())) <= 20
