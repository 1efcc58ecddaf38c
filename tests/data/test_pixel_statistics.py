"""Tests of the mean image and covariance: their values, and where they are stored."""

import dataclasses
import os

import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.data import pixel_statistics
from alexnet_tf.data.source import Source
from alexnet_tf import presets

SIZE = 12
PREPROCESSING = presets.Preprocessing(image_size=SIZE, crop_size=8)


def random_images(count, seed=0):
    """Returns uint8 RGB [count, SIZE, SIZE, 3] with correlated channels."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(count, SIZE, SIZE, 1))
    independent = rng.normal(size=(count, SIZE, SIZE, 3))
    values = [130, 110, 90] + shared * [40, 35, 30] + independent * [5, 10, 20]
    return np.clip(values, 0, 255).astype(np.uint8)


def source_of(folder, encoded, fingerprint="images", **changes):
    """Returns a `Source` of encoded images, and a list that grows with each read.

    Args:
        folder: the folder of the data, beside which statistics are stored.
        encoded: a list of bytes, one item per image.
        fingerprint: the fingerprint of the source.
        **changes: other fields of the source to override.
    """
    reads = []

    def read(shuffle_seed):
        reads.append(shuffle_seed)
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
    return dataclasses.replace(source, **changes), reads


def png_source(folder, count, seed=0, **changes):
    """Returns `source_of` for `count` random images as PNGs."""
    encoded = [
        tf.io.encode_png(image).numpy() for image in random_images(count, seed)
    ]
    return source_of(folder, encoded, **changes)


# Less than a batch of 32 images, one batch, and one batch and a part.
@pytest.mark.parametrize("count", [1, 32, 45])
def test_statistics_equal_those_of_numpy(tmp_path, count):
    source, _ = png_source(tmp_path, count)
    result = pixel_statistics.compute(source, PREPROCESSING, verbose=0)
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
    result = pixel_statistics.compute(source, PREPROCESSING, verbose=0)
    flat = random_images(20).reshape(-1, 3).astype(np.float64)
    # The singular value decomposition of the pixels needs no covariance.
    _, singular_values, vectors = np.linalg.svd(
        flat - flat.mean(0), full_matrices=False
    )
    stds = singular_values[::-1] / np.sqrt(len(flat))
    assert (np.diff(stds) > 1).all()
    np.testing.assert_allclose(result.component_stds, stds, rtol=1e-9)
    for component, vector in zip(result.components.T, vectors[::-1]):
        assert abs(component @ vector) == pytest.approx(1)
    np.testing.assert_allclose(
        (flat @ result.components).std(axis=0), stds, rtol=1e-9
    )


def test_statistics_are_of_the_center_square(tmp_path):
    """All pixels of the square count, and the black bars beside it do not."""
    image = np.zeros((SIZE, 2 * SIZE, 3), np.uint8)
    image[:, SIZE // 2 : SIZE // 2 + SIZE] = random_images(1)[0]
    source, _ = source_of(tmp_path, [tf.io.encode_png(image).numpy()])
    result = pixel_statistics.compute(source, PREPROCESSING, verbose=0)
    np.testing.assert_allclose(result.mean_image, random_images(1)[0], rtol=1e-6)
    squashed = dataclasses.replace(PREPROCESSING, resize="squash")
    result = pixel_statistics.compute(source, squashed, verbose=0)
    assert (result.mean_image[:, :2] == 0).all()


def test_gray_images_have_one_component(tmp_path):
    gray = [tf.io.encode_png(image[..., :1]).numpy() for image in random_images(5)]
    source, _ = source_of(tmp_path, gray)
    result = pixel_statistics.compute(source, PREPROCESSING, verbose=0)
    np.testing.assert_allclose(result.component_stds[:2], 0, atol=1e-4)
    assert result.component_stds[2] == pytest.approx(
        np.sqrt(3) * result.channel_std[0], rel=1e-6
    )
    np.testing.assert_allclose(
        np.abs(result.components[:, 2]), 3**-0.5, rtol=1e-6
    )


@pytest.mark.parametrize("level", [0, 37, 201])
def test_images_of_one_color_have_zero_deviation(tmp_path, level):
    encoded = tf.io.encode_png(np.full((20, 20, 3), level, np.uint8)).numpy()
    source, _ = source_of(tmp_path, [encoded] * 7)
    result = pixel_statistics.compute(source, PREPROCESSING, verbose=0)
    np.testing.assert_array_equal(result.channel_mean, [level] * 3)
    np.testing.assert_allclose(result.component_stds, 0, atol=1e-4)
    np.testing.assert_allclose(result.channel_std, 0, atol=1e-4)


@pytest.mark.parametrize(
    "covariance", [-1e-12 * np.eye(3), np.diag([-1e-12, 1, 4])]
)
def test_variances_rounded_below_zero_give_finite_deviations(covariance):
    result = pixel_statistics.Statistics(np.zeros((2, 2, 3), np.float32), covariance)
    assert np.isfinite(result.component_stds).all()
    assert np.isfinite(result.channel_std).all()


def test_imagenet_has_the_published_values():
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
    # The sign of a component is arbitrary.
    signs = np.sign(result.components[0] / published[0])
    np.testing.assert_allclose(result.components * signs, published, atol=1e-7)


def load_statistics(source, fallback, preprocessing=PREPROCESSING):
    return pixel_statistics.load_or_compute(
        source, preprocessing, str(fallback), verbose=0
    )


def assert_equal(first, second):
    """Checks that two `Statistics` are the same."""
    np.testing.assert_array_equal(first.mean_image, second.mean_image)
    np.testing.assert_array_equal(first.covariance, second.covariance)


def test_statistics_are_read_from_the_file_beside_the_data(tmp_path):
    data, fallback = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    fallback.mkdir()
    source, reads = png_source(data, 6)
    first = load_statistics(source, fallback)
    assert len(reads) == 1
    assert_equal(first, pixel_statistics.compute(source, PREPROCESSING, verbose=0))
    reads.clear()
    assert_equal(first, load_statistics(source, fallback))
    assert not reads
    assert len(os.listdir(data)) == 1 and not os.listdir(fallback)


def test_returns_the_statistics_in_the_file(tmp_path):
    source, _ = png_source(tmp_path, 6)
    load_statistics(source, tmp_path)
    (name,) = os.listdir(tmp_path)
    statistics = pixel_statistics.Statistics(
        np.full((SIZE, SIZE, 3), 7, np.float32), np.diag([1.0, 4.0, 9.0])
    )
    np.savez(
        tmp_path / name,
        mean_image=statistics.mean_image,
        covariance=statistics.covariance,
    )
    assert_equal(load_statistics(source, tmp_path), statistics)


def test_the_fallback_folder_is_used_if_the_data_are_read_only(tmp_path):
    # A file takes the place of the folder, since root may write to a read-only folder.
    (tmp_path / "data").write_text("")
    fallback = tmp_path / "run"
    fallback.mkdir()
    source, reads = png_source(tmp_path / "data", 6)
    first = load_statistics(source, fallback)
    assert len(os.listdir(fallback)) == 1
    assert_equal(first, load_statistics(source, fallback))
    assert len(reads) == 1


def test_without_a_writable_folder_statistics_are_computed_again(tmp_path):
    (tmp_path / "file").write_text("")
    source, reads = png_source(tmp_path / "file", 6)
    first = load_statistics(source, tmp_path / "file")
    assert_equal(first, load_statistics(source, tmp_path / "file"))
    assert len(reads) == 2
    assert os.listdir(tmp_path) == ["file"]


def test_each_split_image_size_and_resizing_has_a_separate_file(tmp_path):
    half, _ = png_source(tmp_path, 6, seed=1, fingerprint="train[:50%]")
    other_half, _ = png_source(tmp_path, 6, seed=2, fingerprint="train[50%:]")
    statistics = load_statistics(half, tmp_path)
    other_statistics = load_statistics(other_half, tmp_path)
    assert (statistics.mean_image != other_statistics.mean_image).any()
    for changes in {"image_size": 10}, {"resize": "squash"}:
        load_statistics(half, tmp_path, dataclasses.replace(PREPROCESSING, **changes))
    assert len(os.listdir(tmp_path)) == 4
    assert_equal(load_statistics(half, tmp_path), statistics)
    smaller = dataclasses.replace(PREPROCESSING, image_size=10)
    assert load_statistics(half, tmp_path, smaller).mean_image.shape == (10, 10, 3)


def test_a_different_crop_size_needs_no_second_pass(tmp_path):
    source, reads = png_source(tmp_path, 6)
    load_statistics(source, tmp_path)
    load_statistics(source, tmp_path, dataclasses.replace(PREPROCESSING, crop_size=10))
    assert len(reads) == 1


def test_imagenet_has_the_mean_of_the_published_weights():
    """The file ilsvrc_2012_mean.npy of Caffe contains these means in BGR order."""
    result = pixel_statistics.imagenet(presets.get("caffe").preprocessing)
    np.testing.assert_allclose(
        result.channel_mean, [122.678914, 116.668768, 104.006988], rtol=1e-6
    )


def test_read_returns_what_was_written(tmp_path):
    source, _ = png_source(tmp_path, 6)
    result = load_statistics(source, tmp_path)
    pixel_statistics.write(result, str(tmp_path / "copy.npz"))
    assert_equal(pixel_statistics.read(str(tmp_path / "copy.npz")), result)
    assert not [name for name in os.listdir(tmp_path) if ".tmp" in name]


@pytest.mark.parametrize(
    "mean_image", [np.float32(9), np.full((4, 4, 3), "9"), np.zeros((3, 4, 3))]
)
def test_read_rejects_arrays_that_are_not_a_mean_image(tmp_path, mean_image):
    path = str(tmp_path / "statistics.npz")
    np.savez(path, mean_image=mean_image, covariance=np.eye(3))
    with pytest.raises(ValueError, match="damaged .*Restore the file from a copy"):
        pixel_statistics.read(path)


# In an archive, byte 4 is the required version and byte 6 the flag of encryption.
@pytest.mark.parametrize("position, value", [(None, None), (4, 99), (6, 1)])
def test_read_rejects_files_that_are_not_archives_of_arrays(tmp_path, position, value):
    path = tmp_path / "statistics.npz"
    with open(path, "wb") as file:
        if position is None:
            np.save(file, np.zeros((4, 4, 3)))
        else:
            np.savez(file, mean_image=np.zeros((4, 4, 3)), covariance=np.eye(3))
    if position is not None:
        content = bytearray(path.read_bytes())
        # The directory at the end repeats these fields two bytes later.
        for start in (0, content.index(b"PK\x01\x02") + 2):
            content[start + position] = value
        path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged .*Restore the file from a copy"):
        pixel_statistics.read(str(path))


@pytest.mark.parametrize("name", ["imagenet2012", "imagenet2012:5.1.0"])
def test_imagenet_needs_no_pass_for_its_channel_means(tmp_path, name):
    source, reads = png_source(tmp_path, 6, name=name)
    channel_mean = dataclasses.replace(PREPROCESSING, mean="channel")
    assert_equal(
        load_statistics(source, tmp_path, channel_mean),
        pixel_statistics.imagenet(channel_mean),
    )
    assert not reads and not os.listdir(tmp_path)
    load_statistics(source, tmp_path)
    assert len(reads) == 1


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
def test_no_pass_is_needed_if_the_preset_has_all_values(tmp_path, changes, passes):
    source, reads = png_source(tmp_path, 6)
    owt = presets.get("owt").preprocessing
    load_statistics(source, tmp_path, dataclasses.replace(owt, **changes))
    assert len(reads) == passes


def test_other_data_sets_need_a_pass_for_their_channel_means(tmp_path):
    source, reads = png_source(tmp_path, 6, name="imagenet2012_subset")
    channel_mean = dataclasses.replace(PREPROCESSING, mean="channel")
    result = load_statistics(source, tmp_path, channel_mean)
    assert len(reads) == 1
    np.testing.assert_allclose(
        result.channel_mean, random_images(6).mean(axis=(0, 1, 2)), rtol=1e-6
    )


# The first and the last image of a batch of 32, and of the part that follows it.
@pytest.mark.parametrize("index", [0, 3, 31, 32, 40])
@pytest.mark.parametrize("bad", [b"", b"no image"])
def test_an_error_names_the_unreadable_image(tmp_path, index, bad):
    encoded = [tf.io.encode_png(random_images(1)[0]).numpy()] * 41
    encoded[index] = bad
    source, _ = source_of(tmp_path, encoded)
    with pytest.raises(ValueError, match=f"image {index} of images") as error:
        load_statistics(source, tmp_path)
    assert f"({len(bad)} bytes)" in str(error.value)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    "num_examples, received", [(5, "at least 6"), (7, "only 6")]
)
def test_rejects_a_source_with_a_wrong_count(tmp_path, num_examples, received):
    source, _ = png_source(tmp_path, 6, num_examples=num_examples)
    message = f"{num_examples} images.*Received: {received}. Prepare"
    with pytest.raises(ValueError, match=message):
        load_statistics(source, tmp_path)
    assert not os.listdir(tmp_path)


def save_mean(path, size, channel_values=(10, 20, 30)):
    """Writes a mean image as Caffe does, [B, G, R] with the given values."""
    mean = np.ones((3, size, size), np.float32)
    np.save(path, mean * np.reshape(channel_values, (3, 1, 1)).astype("f4"))


def test_a_mean_image_replaces_the_published_mean(tmp_path):
    save_mean(tmp_path / "mean.npy", 256)
    preprocessing = presets.get("caffe").preprocessing
    published = pixel_statistics.published(preprocessing)
    statistics = pixel_statistics.published(preprocessing, tmp_path / "mean.npy")
    np.testing.assert_array_equal(statistics.channel_mean, [30, 20, 10])
    np.testing.assert_array_equal(statistics.covariance, published.covariance)
    np.testing.assert_allclose(
        published.channel_mean, [122.679, 116.669, 104.007], 1e-4
    )


def test_rejects_a_mean_image_that_does_not_fit(tmp_path):
    save_mean(tmp_path / "mean.npy", 200)
    with pytest.raises(ValueError, match="256 x 256 pixels.*mean.npy, of 200 x 200"):
        pixel_statistics.published(
            presets.get("caffe").preprocessing, tmp_path / "mean.npy"
        )
    with pytest.raises(ValueError, match="no mean for a preset that subtracts const"):
        pixel_statistics.published(
            presets.get("owt").preprocessing, tmp_path / "mean.npy"
        )
