"""Means and principal components against NumPy, and where they are kept."""

import dataclasses
import os

import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.data import pixel_statistics
from alexnet_tf.data.source import Source
from alexnet_tf import presets

SIZE = 12
PIXELS = presets.Preprocessing(image_size=SIZE, crop_size=8)


def random_images(count, seed=0):
    """uint8 [count, SIZE, SIZE, 3] whose channels go together."""
    random = np.random.default_rng(seed)
    shared = random.normal(size=(count, SIZE, SIZE, 1))
    own = random.normal(size=(count, SIZE, SIZE, 3))
    values = [130, 110, 90] + shared * [40, 35, 30] + own * [5, 10, 20]
    return np.clip(values, 0, 255).astype(np.uint8)


def source_of(folder, encoded, fingerprint="images", **changes):
    """A `Source` of encoded images that counts its readings."""
    readings = []

    def read(shuffle_seed):
        readings.append(shuffle_seed)
        return tf.data.Dataset.from_tensor_slices(
            {
                "image": encoded,
                "label": np.zeros(len(encoded), np.int32),
                "name": [f"image {i}" for i in range(len(encoded))],
            }
        )

    source = Source(
        "images",
        "train",
        ("all",),
        len(encoded),
        str(folder),
        fingerprint,
        read,
    )
    return dataclasses.replace(source, **changes), readings


def png_source(folder, count, seed=0, **changes):
    encoded = [tf.io.encode_png(p).numpy() for p in random_images(count, seed)]
    return source_of(folder, encoded, **changes)


# 32 images make a batch: less than one, one, and a rest.
@pytest.mark.parametrize("count", [1, 32, 45])
def test_statistics_are_numpy_s(tmp_path, count):
    source, _ = png_source(tmp_path, count)
    result = pixel_statistics.compute(source, PIXELS, verbose=0)
    images = random_images(count).astype(np.float64)
    flat = images.reshape(-1, 3)
    covariance = np.cov(flat.T, bias=True)
    assert result.mean_image.dtype == np.float32
    assert result.channel_mean.dtype == np.float32
    assert result.channel_std.dtype == np.float32
    np.testing.assert_allclose(result.mean_image, images.mean(0), rtol=1e-6)
    np.testing.assert_allclose(result.covariance, covariance, rtol=1e-9)
    np.testing.assert_allclose(result.channel_mean, flat.mean(0), rtol=1e-6)
    np.testing.assert_allclose(result.channel_std, flat.std(0), rtol=1e-6)


def test_components_are_columns_in_ascending_order(tmp_path):
    source, _ = png_source(tmp_path, 20)
    result = pixel_statistics.compute(source, PIXELS, verbose=0)
    flat = random_images(20).reshape(-1, 3).astype(np.float64)
    # The singular value decomposition is another way to the same.
    _, singular, rows = np.linalg.svd(flat - flat.mean(0), full_matrices=False)
    stds = singular[::-1] / np.sqrt(len(flat))
    assert (np.diff(stds) > 1).all()
    np.testing.assert_allclose(result.component_stds, stds, rtol=1e-9)
    for column, row in zip(result.components.T, rows[::-1]):
        assert abs(column @ row) == pytest.approx(1)
    np.testing.assert_allclose(
        (flat @ result.components).std(axis=0), stds, rtol=1e-9
    )


def test_statistics_are_of_the_central_square(tmp_path):
    """Of all of it, however small the crop; black bars do not count."""
    image = np.zeros((SIZE, 2 * SIZE, 3), np.uint8)
    image[:, SIZE // 2 : SIZE // 2 + SIZE] = random_images(1)[0]
    source, _ = source_of(tmp_path, [tf.io.encode_png(image).numpy()])
    result = pixel_statistics.compute(source, PIXELS, verbose=0)
    np.testing.assert_allclose(result.mean_image, random_images(1)[0], rtol=1e-6)
    squashed = dataclasses.replace(PIXELS, resize="squash")
    result = pixel_statistics.compute(source, squashed, verbose=0)
    assert (result.mean_image[:, :2] == 0).all()


def test_gray_images_have_one_component(tmp_path):
    gray = [tf.io.encode_png(p[..., :1]).numpy() for p in random_images(5)]
    source, _ = source_of(tmp_path, gray)
    result = pixel_statistics.compute(source, PIXELS, verbose=0)
    np.testing.assert_allclose(result.component_stds[:2], 0, atol=1e-4)
    assert result.component_stds[2] == pytest.approx(
        np.sqrt(3) * result.channel_std[0], rel=1e-6
    )
    np.testing.assert_allclose(
        np.abs(result.components[:, 2]), 3**-0.5, rtol=1e-6
    )


@pytest.mark.parametrize("level", [0, 37, 201])
def test_images_of_one_color_spread_by_nothing(tmp_path, level):
    plain = tf.io.encode_png(np.full((20, 20, 3), level, np.uint8)).numpy()
    source, _ = source_of(tmp_path, [plain] * 7)
    result = pixel_statistics.compute(source, PIXELS, verbose=0)
    np.testing.assert_array_equal(result.channel_mean, [level] * 3)
    np.testing.assert_allclose(result.component_stds, 0, atol=1e-4)
    np.testing.assert_allclose(result.channel_std, 0, atol=1e-4)


@pytest.mark.parametrize(
    "covariance", [-1e-12 * np.eye(3), np.diag([-1e-12, 1, 4])]
)
def test_rounding_below_zero_is_no_spread(covariance):
    result = pixel_statistics.Statistics(np.zeros((2, 2, 3), np.float32), covariance)
    assert np.isfinite(result.component_stds).all()
    assert np.isfinite(result.channel_std).all()


def test_imagenet_has_the_published_figures():
    result = pixel_statistics.imagenet(presets.get("paper").preprocessing)
    assert result.mean_image.shape == (256, 256, 3)
    np.testing.assert_allclose(
        result.channel_mean, [127.3049, 119.7154, 104.9126], rtol=1e-6
    )
    np.testing.assert_allclose(
        result.component_stds, [19.72083305, 37.09388853, 121.78006099]
    )
    np.testing.assert_allclose(result.channel_std, [74, 72, 77], atol=0.05)
    published = [
        [0.41795513, -0.71257945, -0.56351045],
        [-0.81698062, -0.02354167, -0.5761844],
        [0.39731118, 0.70119634, -0.59200296],
    ]
    # A direction is the same both ways round.
    sides = np.sign(result.components[0] / published[0])
    np.testing.assert_allclose(result.components * sides, published, atol=1e-7)


def load(source, fallback, preprocessing=PIXELS):
    return pixel_statistics.load_or_compute(
        source, preprocessing, str(fallback), verbose=0
    )


def assert_same(one, other):
    np.testing.assert_array_equal(one.mean_image, other.mean_image)
    np.testing.assert_array_equal(one.covariance, other.covariance)


def kept_in(folder):
    return os.listdir(folder)


def test_a_second_run_reads_the_file_beside_the_data(tmp_path):
    data, fallback = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    fallback.mkdir()
    source, readings = png_source(data, 6)
    first = load(source, fallback)
    assert len(readings) == 1
    assert_same(first, pixel_statistics.compute(source, PIXELS, verbose=0))
    readings.clear()
    assert_same(first, load(source, fallback))
    assert not readings
    assert len(kept_in(data)) == 1 and not kept_in(fallback)


def test_what_the_file_holds_is_what_comes_back(tmp_path):
    source, _ = png_source(tmp_path, 6)
    load(source, tmp_path)
    (name,) = kept_in(tmp_path)
    other = pixel_statistics.Statistics(
        np.full((SIZE, SIZE, 3), 7, np.float32), np.diag([1.0, 4.0, 9.0])
    )
    np.savez(
        tmp_path / name,
        mean_image=other.mean_image,
        covariance=other.covariance,
    )
    assert_same(load(source, tmp_path), other)


def test_data_that_cannot_be_written_to_are_kept_elsewhere(tmp_path):
    # Permissions do not hold root back, a file in the folder's place does.
    (tmp_path / "data").write_text("")
    fallback = tmp_path / "run"
    fallback.mkdir()
    source, readings = png_source(tmp_path / "data", 6)
    first = load(source, fallback)
    assert len(kept_in(fallback)) == 1
    assert_same(first, load(source, fallback))
    assert len(readings) == 1


def test_without_a_place_to_keep_them_they_are_computed_again(tmp_path):
    (tmp_path / "file").write_text("")
    source, readings = png_source(tmp_path / "file", 6)
    first = load(source, tmp_path / "file")
    assert_same(first, load(source, tmp_path / "file"))
    assert len(readings) == 2
    assert kept_in(tmp_path) == ["file"]


def test_each_split_size_and_resizing_has_its_own_file(tmp_path):
    one, _ = png_source(tmp_path, 6, seed=1, fingerprint="train[:50%]")
    other, _ = png_source(tmp_path, 6, seed=2, fingerprint="train[50%:]")
    of_one, of_other = load(one, tmp_path), load(other, tmp_path)
    assert (of_one.mean_image != of_other.mean_image).any()
    for changes in {"image_size": 10}, {"resize": "squash"}:
        load(one, tmp_path, dataclasses.replace(PIXELS, **changes))
    assert len(kept_in(tmp_path)) == 4
    assert_same(load(one, tmp_path), of_one)
    smaller = dataclasses.replace(PIXELS, image_size=10)
    assert load(one, tmp_path, smaller).mean_image.shape == (10, 10, 3)


def test_the_crop_does_not_ask_for_another_pass(tmp_path):
    source, readings = png_source(tmp_path, 6)
    load(source, tmp_path)
    load(source, tmp_path, dataclasses.replace(PIXELS, crop_size=10))
    assert len(readings) == 1


def test_imagenet_under_published_weights_has_their_mean():
    """CAFFE's ilsvrc_2012_mean.npy: 104.007, 116.669, 122.679 as B, G, R."""
    result = pixel_statistics.imagenet(presets.get("caffe").preprocessing)
    np.testing.assert_allclose(
        result.channel_mean, [122.678914, 116.668768, 104.006988], rtol=1e-6
    )


def test_written_and_read(tmp_path):
    source, _ = png_source(tmp_path, 6)
    result = load(source, tmp_path)
    pixel_statistics.write(result, str(tmp_path / "again.npz"))
    assert_same(pixel_statistics.read(str(tmp_path / "again.npz")), result)
    assert not [name for name in os.listdir(tmp_path) if ".tmp" in name]


@pytest.mark.parametrize("name", ["imagenet2012", "imagenet2012:5.1.0"])
def test_imagenet_needs_no_pass_for_its_channels(tmp_path, name):
    source, readings = png_source(tmp_path, 6, name=name)
    channels = dataclasses.replace(PIXELS, mean="channel")
    assert_same(load(source, tmp_path, channels), pixel_statistics.imagenet(channels))
    assert not readings and not kept_in(tmp_path)
    load(source, tmp_path)
    assert len(readings) == 1


@pytest.mark.parametrize(
    "changes, passes",
    [
        ({"pca_color_std": 0.0}, 0),
        ({"pca_color_std": 0.1}, 1),
        ({"pca_color_std": 0.0, "channel_mean": None}, 1),
        ({"pca_color_std": 0.0, "channel_std": None}, 1),
        ({"pca_color_std": 0.0, "mean": "image"}, 1),
        (
            {
                "pca_color_std": 0.0,
                "channel_std": None,
                "divide_by_std": False,
            },
            0,
        ),
    ],
)
def test_no_pass_where_the_preset_brings_all_figures(tmp_path, changes, passes):
    source, readings = png_source(tmp_path, 6)
    owt = presets.get("owt").preprocessing
    load(source, tmp_path, dataclasses.replace(owt, **changes))
    assert len(readings) == passes


def test_other_data_need_a_pass_for_their_channels(tmp_path):
    source, readings = png_source(tmp_path, 6, name="imagenet2012_subset")
    channels = dataclasses.replace(PIXELS, mean="channel")
    result = load(source, tmp_path, channels)
    assert len(readings) == 1
    np.testing.assert_allclose(
        result.channel_mean, random_images(6).mean(axis=(0, 1, 2)), rtol=1e-6
    )


@pytest.mark.parametrize("place", [0, 3, 31, 32, 40])
@pytest.mark.parametrize("bad", [b"", b"no image"])
def test_a_bad_image_is_named(tmp_path, place, bad):
    encoded = [tf.io.encode_png(random_images(1)[0]).numpy()] * 41
    encoded[place] = bad
    source, _ = source_of(tmp_path, encoded)
    with pytest.raises(ValueError, match=f"image {place} of images") as e:
        load(source, tmp_path)
    assert f"({len(bad)} bytes)" in str(e.value)
    assert not kept_in(tmp_path)


@pytest.mark.parametrize(
    "claimed, received", [(5, "at least 6"), (7, "only 6")]
)
def test_a_source_that_miscounts_is_refused(tmp_path, claimed, received):
    source, _ = png_source(tmp_path, 6, num_examples=claimed)
    message = f"{claimed} images.*Received: {received}. Prepare"
    with pytest.raises(ValueError, match=message):
        load(source, tmp_path)
    assert not kept_in(tmp_path)
