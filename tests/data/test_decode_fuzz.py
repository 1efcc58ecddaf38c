"""Whatever is asked for, something right comes out, or an error that says why."""

import dataclasses
import json
import os

from hypothesis import HealthCheck, given, settings, strategies as st
import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.data import datasets
from alexnet_tf.data import preprocess
from alexnet_tf.data import resample
from alexnet_tf import presets

fuzzed = settings(
    deadline=None,
    derandomize=True,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


# ---- Crops ----------------------------------------------------------------------


@pytest.mark.parametrize("resize", ["short_side", "squash"])
@pytest.mark.parametrize(
    "other",
    [
        None,
        1,
        pytest.param(256, marks=pytest.mark.large),
        pytest.param(3000, marks=pytest.mark.large),
    ],
)
def test_windows_of_all_sizes_are_within_the_image(resize, other):
    """1 to 3000 pixels high, as wide or `other`: first and last place of a crop."""
    pixels = presets.Preprocessing(image_size=256, crop_size=224, resize=resize)
    sides = np.arange(1, 3001)
    shapes = np.stack([sides, sides if other is None else 0 * sides + other], 1)

    @tf.function
    def windows(offset):
        def window(shape):
            step, place = resample.sampling_grid(shape, offset, pixels)
            return (*resample.crop_window(shape, offset, pixels)[:3], place)

        kinds = (tf.int32, tf.int32, tf.float64, tf.float64)
        return tf.map_fn(window, tf.constant(shapes, tf.int32), kinds)

    for offset in ([0, 0], [32, 32]):
        first, last, step, place = (each.numpy() for each in windows(offset))
        assert (0 <= first).all() and (first < last).all() and (last <= shapes).all()
        # All that the crop covers is in the window.
        end = place + 224 * step
        assert (first <= np.maximum(place, 0)).all()
        assert (last >= np.minimum(end, shapes)).all()


@pytest.mark.parametrize("resize", ["short_side", "squash"])
def test_places_are_off_by_a_seventeenth_of_a_pixel_at_most(resize):
    """The far end of the central square, in pixels of the resized image."""
    pixels = presets.Preprocessing(image_size=256, crop_size=224, resize=resize)
    sides = np.arange(1, 3001)

    @tf.function
    def placement():
        return tf.map_fn(
            lambda side: resample.sampling_grid([side, side], [0, 0], pixels),
            tf.constant(sides, tf.int32),
            (tf.float64, tf.float64),
        )

    step, place = (each.numpy()[:, 0] for each in placement())
    off = np.abs(place + 256 * step - sides) / (sides / 256)
    assert off.max() == pytest.approx(0.0577, abs=1e-4)
    assert np.percentile(off, 90) < 1 / 120


@fuzzed
@given(
    height=st.integers(1, 3000), width=st.integers(1, 3000),
    image=st.integers(1, 300), data=st.data(),
)
def test_crops_of_any_size_have_the_right_one(height, width, image, data):
    """Of an image of one color each pixel has that color."""
    crop = data.draw(st.integers(1, image))
    offset = data.draw(st.tuples(*[st.integers(0, image - crop)] * 2))
    resize = data.draw(st.sampled_from(["short_side", "squash"]))
    pixels = presets.Preprocessing(image_size=image, crop_size=crop, resize=resize)
    encoded = tf.io.encode_png(tf.fill([height, width, 3], tf.constant(77, tf.uint8)))
    # As `decode_crop`, but that is traced for each `Preprocessing`.
    found = preprocess._decode_crop(pixels, encoded, tf.constant(offset)).numpy()
    assert found.shape == (crop, crop, 3) and (found == 77).all()


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
def test_overrides_make_a_preset_that_can_be_kept_or_say_why_not(name, data):
    asked = data.draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=4))
    values = {field: data.draw(FIELDS[field]) for field in asked}
    try:
        preset = presets.override(presets.get(name), **values)
    except ValueError as error:
        assert "Expected" in str(error) and "Received" in str(error)
        return
    kept = json.loads(json.dumps(presets.to_dict(preset), allow_nan=False))
    assert presets.from_dict(kept) == preset
    for field in set(asked) - {"dropout", "init", "ablate"}:
        parts = vars(preset.recipe) | vars(preset.preprocessing)
        assert parts[field] == values[field]


# ---- Lists and splits -----------------------------------------------------------


def assert_said(error):
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
    except (ValueError, FileNotFoundError) as error:
        assert_said(error)
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
def test_splits_are_parts_or_refused(folder, split):
    (folder / "ten.txt").write_text("a.jpg 0\n" * 10)
    try:
        source = datasets.load(f"list:{folder}/ten.txt", split)
    except ValueError as error:
        assert_said(error)
        return
    assert 0 < source.num_examples == len(list(source.examples())) <= 20
