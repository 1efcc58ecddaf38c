"""Property tests: any input gives a right result, or an error that says why not."""

import dataclasses
import json
import os
import re

from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import pytest
import tensorflow as tf

from alexnet_tf import presets
from alexnet_tf.data import datasets
from alexnet_tf.data import preprocess

fuzzed = settings(
    deadline=None,
    derandomize=True,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


# ---- Crops ----------------------------------------------------------------------


@fuzzed
@given(
    height=st.integers(1, 3000),
    width=st.integers(1, 3000),
    image_size=st.integers(1, 300),
    data=st.data(),
)
def test_crops_of_any_size_have_the_right_color(height, width, image_size, data):
    """In a crop of an image of one color, each pixel has that color."""
    crop_size = data.draw(st.integers(1, image_size))
    offset = data.draw(st.tuples(*[st.integers(0, image_size - crop_size)] * 2))
    resize = data.draw(st.sampled_from(["short_side", "squash"]))
    preprocessing = presets.Preprocessing(
        image_size=image_size, crop_size=crop_size, resize=resize
    )
    encoded = tf.io.encode_png(tf.fill([height, width, 3], tf.constant(77, tf.uint8)))
    # `decode_crop` would be traced for each `Preprocessing`.
    crop = preprocess._decode_crop(preprocessing, encoded, tf.constant(offset)).numpy()
    assert crop.shape == (crop_size, crop_size, 3) and (crop == 77).all()


# ---- Presets --------------------------------------------------------------------

NUMBERS = st.one_of(st.floats(), st.integers(-5, 2000))
FIELDS = {
    field.name: {
        "bool": st.booleans(), "int": st.integers(-5, 2000), "float": NUMBERS,
    }.get(str(field.type).split(" ")[0])
    for part in (presets.Recipe, presets.Preprocessing)
    for field in dataclasses.fields(part)
}  # fmt: skip
FIELDS = {name: strategy for name, strategy in FIELDS.items() if strategy} | {
    "dropout": NUMBERS,
    "init": st.sampled_from(["he", "torch", "xavier", ""]),
    "ablate": st.lists(st.sampled_from(["norm", "overlap", "tower", "conv3", "fc6"])),
}


@fuzzed
@given(name=st.sampled_from(sorted(presets.PRESETS)), data=st.data())
def test_overrides_make_a_preset_that_can_be_saved_or_raise(name, data):
    fields = data.draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=4))
    values = {field: data.draw(FIELDS[field]) for field in fields}
    try:
        preset = presets.override(presets.get(name), **values)
    except ValueError as error:
        assert "Expected" in str(error) and "Received" in str(error)
        return
    saved = json.loads(json.dumps(presets.to_dict(preset), allow_nan=False))
    assert presets.from_dict(saved) == preset
    for field in set(fields) - {"dropout", "init", "ablate"}:
        parts = vars(preset.recipe) | vars(preset.preprocessing)
        assert parts[field] == values[field]


# ---- Lists and splits -----------------------------------------------------------


def assert_explained(error):
    assert "Expected" in str(error) and "Received" in str(error)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("lists")
    (path / "a.jpg").touch()
    (path / "a b.jpg").touch()
    return path


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
def test_lists_are_read_or_the_line_is_named(folder, lines):
    (folder / "list.txt").write_bytes(b"\n".join(lines))
    try:
        source = datasets.load(f"list:{folder}/list.txt", "train")
    except ValueError as error:
        assert_explained(error)
        return
    except FileNotFoundError as error:
        assert re.search(
            r"no image at .* on line \d of .*list\.txt", str(error), re.DOTALL
        )
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
def test_splits_are_not_empty_or_are_refused(folder, split):
    (folder / "ten.txt").write_text("a.jpg 0\n" * 10)
    try:
        source = datasets.load(f"list:{folder}/ten.txt", split)
    except ValueError as error:
        assert_explained(error)
        return
    assert 0 < source.num_examples == len(list(source.examples())) <= 20
