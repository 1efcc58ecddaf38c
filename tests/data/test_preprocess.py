"""Crops and normalization against NumPy, eagerly and inside `tf.data.map`."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.data import pixel_statistics
from alexnet_tf.data import preprocess
from alexnet_tf import presets
from helpers.encoded_images import encode
from helpers.encoded_images import photograph
from helpers.encoded_images import preprocessing_of
from helpers.encoded_images import run_both_ways

# Thousands of crops of this size take little time, and they have only 3 x 3 offsets.
SMALL = dict(image_size=18, crop_size=16)


def map_seeds(op, count):
    """Maps `op` over `count` seeds, and checks three of the results eagerly.

    Returns:
        An array [count, ...] of all results.
    """
    seeds = np.stack([np.arange(count), np.full(count, 5)], axis=1)
    dataset = tf.data.Dataset.from_tensor_slices(seeds.astype(np.int64))
    (results,) = dataset.map(op).batch(count).as_numpy_iterator()
    for seed, result in zip(seeds[:3], results):
        np.testing.assert_allclose(
            op(seed).numpy(), result, rtol=1e-5, atol=1e-4
        )
    return results


def coordinates(size):
    """Returns uint8 RGB [size, size, 3]: R is y, G is x, and B is a mix of both."""
    y, x = np.mgrid[:size, :size]
    return np.stack([y, x, y * 7 + x * 13], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    "preset",
    [
        "paper",
        "tiny",
        pytest.param("caffe", marks=pytest.mark.large),
        pytest.param("cifar10_full", marks=pytest.mark.large),
    ],
)
def test_an_image_of_the_right_size_is_only_cropped(preset):
    preprocessing = preprocessing_of(preset)
    image, size = coordinates(preprocessing.image_size), preprocessing.crop_size
    last = preprocessing.image_size - size
    for y, x in {(0, 0), (last, last), (last // 3, last), (last // 2, 0)}:
        crop = run_both_ways(
            lambda encoded, offset: preprocess.decode_crop(
                encoded, offset, preprocessing
            ),
            encode(image, "png"),
            (y, x),
        )
        np.testing.assert_array_equal(
            crop, image[y : y + size, x : x + size]
        )


@pytest.mark.parametrize(
    "preset, num_offsets, center",
    [("paper", 33, 16), ("caffe", 30, 14), ("cifar10_full", 1, 0)],
)
def test_random_offsets_are_uniform(preset, num_offsets, center):
    preprocessing = preprocessing_of(preset)
    count = 200 * num_offsets
    offsets = map_seeds(
        lambda seed: preprocess.random_offset(seed, preprocessing), count
    )
    assert offsets.shape == (count, 2)
    for axis in offsets.T:
        counts = np.bincount(axis, minlength=num_offsets)
        assert len(counts) == num_offsets and counts.min() > 0
        # A chi-squared variable with 32 degrees of freedom exceeds 75 with a
        # probability below 1/30,000.
        assert ((counts - 200) ** 2 / 200).sum() < 75
    if num_offsets > 1:
        assert abs(np.corrcoef(offsets.T)[0, 1]) < 0.05
    assert preprocess.center_offset(preprocessing).numpy().tolist() == [center, center]


def test_equal_seeds_give_equal_crops_and_colors():
    preprocessing = preprocessing_of("paper")
    statistics = pixel_statistics.imagenet(preprocessing)
    seed = tf.constant([3, 4])
    ops = [
        lambda seed: preprocess.random_offset(seed, preprocessing),
        lambda seed: preprocess.pca_color_shift(seed, statistics, 0.1),
    ]
    for op in ops:
        np.testing.assert_array_equal(op(seed), op(seed))
        assert (op(seed).numpy() != op(tf.constant([3, 5])).numpy()).any()


def test_half_of_the_crops_are_mirrored():
    flipped = map_seeds(preprocess.random_flip, 2000)
    assert 0.46 < flipped.mean() < 0.54


def skewed_statistics(size=18):
    """Returns random `Statistics`, without symmetries that could hide an error."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(3, 3)) * [[60], [40], [20]]
    return pixel_statistics.Statistics(
        rng.uniform(80, 160, (size, size, 3)).astype(np.float32),
        root @ root.T,
    )


@pytest.mark.parametrize("strength", [0.1, 0.5])
def test_the_color_shift_is_that_of_the_paper(strength):
    statistics = skewed_statistics()
    variances, vectors = np.linalg.eigh(statistics.covariance)
    for seed in ([0, 1], [7, 9]):
        shift = run_both_ways(
            lambda seed: preprocess.pca_color_shift(seed, statistics, strength), seed
        )
        draws = tf.random.stateless_normal([3], seed).numpy() * strength
        # This is [p1, p2, p3][a1 l1, a2 l2, a3 l3]^T of section 4.1 of the paper, but
        # with the square roots of the eigenvalues l.
        expected = sum(
            draw * np.sqrt(variance) * vector
            for draw, variance, vector in zip(draws, variances, vectors.T)
        )
        np.testing.assert_allclose(shift, expected, rtol=1e-4, atol=1e-4)


def test_color_shifts_have_the_covariance_of_the_colors():
    statistics = pixel_statistics.imagenet(preprocessing_of("paper"))
    shifts = map_seeds(
        lambda seed: preprocess.pca_color_shift(seed, statistics, 0.1), 8000
    )
    projections = shifts @ statistics.components
    stds = projections.std(axis=0)
    # The shifts of the original code have standard deviations of 1.97, 3.71 and 12.18
    # gray levels along the three components.
    np.testing.assert_allclose(stds, [1.972, 3.709, 12.178], rtol=0.03)
    assert (np.abs(projections.mean(axis=0)) < 0.05 * stds).all()
    np.testing.assert_allclose(
        np.cov(shifts.T), 0.01 * statistics.covariance, rtol=0.08
    )


OWT_MEAN, OWT_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

# The normalization of each preset, written independently of the package. The arguments
# of the functions are a crop, the center of the mean image, and the part of the mean
# image at the position of the crop, which is mirrored if the crop is mirrored.
EXPECTED = {
    "paper": lambda crop, center_mean, crop_mean: crop - center_mean,
    "code2012": lambda crop, center_mean, crop_mean: (crop - center_mean) / 1.1,
    "caffe": lambda crop, center_mean, crop_mean: (crop - crop_mean)[..., ::-1],
    "owt": lambda crop, center_mean, crop_mean: (crop / 255 - OWT_MEAN) / OWT_STD,
    "tiny": lambda crop, center_mean, crop_mean: (
        (crop - skewed_statistics(73).mean_image.mean(axis=(0, 1)))
        / np.sqrt(np.diag(skewed_statistics().covariance))
    ),
    "cifar10_full": lambda crop, center_mean, crop_mean: crop - center_mean,
}
EXPECTED["caffenet"] = EXPECTED["caffe"]
EXPECTED["single_tower"] = EXPECTED["paper_conv6"] = EXPECTED["paper"]
# Presets with the preprocessing of another preset are marked large.
each_preset = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.large)
        if name in ("caffenet", "single_tower", "paper_conv6") else name
        for name in EXPECTED
    ],
)  # fmt: skip


def test_the_preprocessing_of_each_preset_is_tested():
    assert EXPECTED.keys() == presets.PRESETS.keys()


def expected_crops(normalize, square, mean, crop_size):
    """Returns {(y, x, step): crop} of all crops, mirrored where `step` is -1.

    Each crop is a function that computes only the pixels that its argument selects,
    because it would be slow to compute all pixels of all crops.

    Args:
        normalize: a function in `EXPECTED`.
        square: float64 [image_size, image_size, 3], the pixels.
        mean: [image_size, image_size, 3], the mean image.
        crop_size: the height and width of the crops.
    """
    last = len(square) - crop_size
    center = np.s_[last // 2 : last // 2 + crop_size]

    def make_crop(y, x, step):
        part = np.s_[y : y + crop_size, x : x + crop_size]
        return lambda selection: normalize(
            square[part][:, ::step][selection],
            mean[center, center][selection],
            mean[part][:, ::step][selection],
        )

    return {
        (y, x, step): make_crop(y, x, step)
        for y in range(last + 1)
        for x in range(last + 1)
        for step in (1, -1)
    }


def equal_crops(crops, expected):
    """Returns which of `crops`, [N, h, w, 3], equal `expected`, as bool [N]."""
    return np.isclose(crops, expected, atol=0.01).all(axis=(1, 2, 3))


def find_crop(output, crops):
    """Returns the key in `expected_crops` of the only crop that equals `output`."""
    corners, all_pixels = np.ix_([0, -1], [0, -1]), np.s_[:, :]
    all_corners = np.stack([crop(corners) for crop in crops.values()])
    (index,) = np.flatnonzero(equal_crops(all_corners, output[corners]))
    key = [*crops][index]
    np.testing.assert_allclose(
        output, crops[key](all_pixels), rtol=1e-4, atol=1e-3
    )
    return key


def assert_training_images(preprocessing, normalize):
    """Checks that six training images are expected crops, mirrored and upright."""
    size = preprocessing.image_size
    image, statistics = coordinates(size), skewed_statistics(size)
    encoded = encode(image, "png")
    outputs = map_seeds(
        lambda seed: preprocess.training_image(
            encoded, seed, preprocessing, statistics
        ),
        6,
    )
    crops = expected_crops(
        normalize,
        image.astype(np.float64),
        statistics.mean_image,
        preprocessing.crop_size,
    )
    assert outputs.dtype == np.float32
    keys = {find_crop(output, crops) for output in outputs}
    assert {step for _, _, step in keys} == {1, -1}
    assert len(keys) > 3 or preprocessing.crop_size == size


@each_preset
def test_training_images_are_those_of_the_preset(name):
    # The color shift is too weak to change pixels, but it enables the divisor.
    assert_training_images(
        preprocessing_of(name, pca_color_std=1e-9), EXPECTED[name]
    )


def test_training_images_are_not_divided_without_color_augmentation():
    preprocessing = preprocessing_of("code2012", pca_color_std=0.0)
    assert preprocessing.pca_color_divisor == 1.1
    assert_training_images(preprocessing, EXPECTED["paper"])


# Many programs subtract 104, 117 and 123 instead of Caffe's mean image.
@pytest.mark.parametrize(
    "changes",
    [
        {"mean": "channel"},
        {"mean": "channel", "channel_mean": (123.0, 117.0, 104.0)},
    ],
)
def test_caffe_can_subtract_a_mean_per_channel(changes):
    channel_mean = skewed_statistics(256).mean_image.mean(axis=(0, 1))
    mean = changes.get("channel_mean", channel_mean)
    assert_training_images(
        preprocessing_of("caffe", **changes),
        lambda crop, center_mean, crop_mean: (crop - mean)[..., ::-1],
    )


@each_preset
def test_evaluation_images_are_those_of_the_preset(name):
    preprocessing = preprocessing_of(name)
    size = preprocessing.image_size
    image, statistics = coordinates(size), skewed_statistics(size)
    output = run_both_ways(
        lambda encoded: preprocess.evaluation_image(encoded, preprocessing, statistics),
        encode(image, "png"),
    )
    # The original code divides by 1.1 in training only.
    normalize = EXPECTED["paper" if name == "code2012" else name]
    crops = expected_crops(
        normalize,
        image.astype(np.float64),
        statistics.mean_image,
        preprocessing.crop_size,
    )
    margin = {224: 16, 227: 14, 64: 4, 32: 0}[preprocessing.crop_size]
    assert output.dtype == np.float32
    assert find_crop(output, crops) == (margin, margin, 1)


def test_an_image_is_resized_as_the_preset_says():
    """Caffe squashes a wide image; the paper takes the center square.

    The white part of the image covers the crop of the paper, but not that of Caffe.
    """
    image = np.zeros((256, 512, 3), np.uint8)
    image[:, 120:392] = 255
    for name, share in [("paper", 1.0), ("caffe", 272 / 512 * 256 / 227)]:
        preprocessing, statistics = preprocessing_of(name), skewed_statistics(256)
        output = preprocess.evaluation_image(
            encode(image, "png"), preprocessing, statistics
        )
        margin = (256 - preprocessing.crop_size) // 2
        part = slice(margin, margin + preprocessing.crop_size)
        mean = statistics.mean_image[part, part]
        if name == "caffe":
            mean = mean[..., ::-1]
        brightness = (output + mean).numpy() / 255
        assert brightness.mean() == pytest.approx(share, abs=1e-3)


def small_crops(count, name="paper", **changes):
    """Returns crops of one image for training, and the pixels of the image.

    Args:
        count: the number of crops.
        name: the name of the preset.
        **changes: fields of the `Preprocessing` to override.

    Returns:
        (float32 [count, 16, 16, 3], uint8 [18, 18, 3]).
    """
    preprocessing = preprocessing_of(name, **SMALL | changes)
    image, statistics = photograph(18, 18), skewed_statistics()
    encoded = encode(image, "png")
    crops = map_seeds(
        lambda seed: preprocess.training_image(
            encoded, seed, preprocessing, statistics
        ),
        count,
    )
    return crops, image


def test_all_offsets_and_flips_are_equally_frequent():
    crops, image = small_crops(1800, pca_color_std=0.0)
    mean = skewed_statistics().mean_image[1:17, 1:17]
    counts = [
        equal_crops(
            crops[:, :2, :2], (image[y : y + 16, x : x + 16][:, ::step] - mean)[:2, :2]
        ).sum()
        for y in range(3)
        for x in range(3)
        for step in (1, -1)
    ]
    assert sum(counts) == 1800
    # A chi-squared variable with 17 degrees of freedom exceeds 45 with a probability
    # below 1/4,000.
    assert ((np.array(counts) - 100.0) ** 2 / 100).sum() < 45


def test_no_crop_is_mirrored_without_flip():
    crops, image = small_crops(60, flip=False, pca_color_std=0.0)
    mean = skewed_statistics().mean_image[1:17, 1:17]
    upright = [
        image[y : y + 16, x : x + 16] for y in range(3) for x in range(3)
    ]
    for crop in crops:
        assert any(
            np.allclose(crop + mean, expected, atol=0.01) for expected in upright
        )


@pytest.mark.parametrize(
    "name, divisor",
    [
        ("paper", 1),
        pytest.param("code2012", 1.1, marks=pytest.mark.large),
        pytest.param("owt", (58.395, 57.12, 57.375), marks=pytest.mark.large),
    ],
)
def test_the_color_shift_is_the_same_for_all_pixels(name, divisor):
    """Crops with and without color augmentation have the same offsets and flips."""
    shifted, _ = small_crops(1500, name)
    plain, _ = small_crops(1500, name, pca_color_std=0.0)
    # Without color augmentation code2012 does not divide; owt always does.
    plain_divisor = 1 if name == "code2012" else divisor
    shifts = shifted * divisor - plain * plain_divisor
    np.testing.assert_allclose(
        shifts, np.broadcast_to(shifts[:, :1, :1], shifts.shape), atol=1e-2
    )
    statistics = skewed_statistics()
    np.testing.assert_allclose(
        (shifts[:, 0, 0] @ statistics.components).std(axis=0),
        0.1 * statistics.component_stds,
        rtol=0.05,
    )


def test_the_color_shift_does_not_depend_on_the_flip():
    shifted, _ = small_crops(1500)
    plain, image = small_crops(1500, pca_color_std=0.0)
    mean = skewed_statistics().mean_image[1:17, 1:17]
    corners = (plain + mean)[:, :1, [0, -1]]
    upright = np.any(
        [
            equal_crops(corners, image[y : y + 1, [x, x + 15]])
            for y in range(3)
            for x in range(3)
        ],
        axis=0,
    )
    shifts = (shifted - plain)[:, 0, 0] @ skewed_statistics().components
    stds = [shifts[rows].std(axis=0) for rows in (upright, ~upright)]
    np.testing.assert_allclose(*stds, rtol=0.15)


@pytest.mark.parametrize(
    "name, level, expected",
    [
        # The values of owt are the known range of the inputs of torchvision's models.
        ("owt", 0, (-2.1179, -2.0357, -1.8044)),
        ("owt", 255, (2.2489, 2.4286, 2.6400)),
        ("paper", 0, (-127.3049, -119.7154, -104.9126)),
        ("paper", 255, (127.6951, 135.2846, 150.0874)),
        ("caffe", 0, (-104.00699, -116.66877, -122.67891)),
        ("caffe", 255, (150.99301, 138.33123, 132.32109)),
    ],
)
def test_the_range_is_that_of_the_preset(name, level, expected):
    preprocessing = preprocessing_of(name)
    black_or_white = np.full((90, 70, 3), level, np.uint8)
    output = run_both_ways(
        lambda encoded: preprocess.evaluation_image(
            encoded, preprocessing, pixel_statistics.imagenet(preprocessing)
        ),
        encode(black_or_white, "png"),
    )
    np.testing.assert_allclose(
        output, np.broadcast_to(expected, output.shape), atol=1e-3
    )


@pytest.mark.parametrize(
    "name, position", [("paper", (16, 16)), ("caffe", (5, 29))]
)
def test_the_mean_is_cropped_where_the_preset_says(name, position):
    statistics = skewed_statistics(256)
    preprocessing = preprocessing_of(name)
    mean = run_both_ways(
        lambda offset: preprocess.mean_pixels(offset, preprocessing, statistics),
        (5, 29),
    )
    (y, x), size = position, preprocessing.crop_size
    np.testing.assert_array_equal(
        mean, statistics.mean_image[y : y + size, x : x + size]
    )


def test_shapes_are_static():
    preprocessing = preprocessing_of("paper")
    statistics = pixel_statistics.imagenet(preprocessing)
    encoded = tf.data.Dataset.from_tensors(b"")
    for op in (
        lambda encoded: preprocess.decode_crop(encoded, [0, 0], preprocessing),
        lambda encoded: preprocess.training_image(
            encoded, [0, 0], preprocessing, statistics
        ),
        lambda encoded: preprocess.evaluation_image(encoded, preprocessing, statistics),
    ):
        assert encoded.map(op).element_spec.shape == (224, 224, 3)


@pytest.mark.parametrize("name", ["paper", "caffe", "owt"])
@pytest.mark.parametrize("shape", [(300, 420), (200, 180)])
def test_pixels_and_bytes_give_the_same_center_crop(name, shape):
    preprocessing, statistics = preprocessing_of(name), skewed_statistics(256)
    pixels = photograph(*shape)
    from_bytes = preprocess.evaluation_image(
        encode(pixels, "png"), preprocessing, statistics
    )
    from_pixels = run_both_ways(
        lambda images: preprocess.center_crop(images, preprocessing, statistics),
        np.stack([pixels, 255 - pixels]),
    )
    # A value that lies on a half may be rounded either way.
    error = np.abs(from_pixels[0] - from_bytes)
    assert (error > 1e-4).mean() < 1e-3
    # The preset owt divides by standard deviations of 57.12 gray levels or more.
    gray_level = 1 / 57.12 if name == "owt" else 1
    assert error.max() <= gray_level * 1.001
    assert from_pixels.shape == (2, preprocessing.crop_size, preprocessing.crop_size, 3)


@pytest.mark.parametrize("mean", ["image", "channel"])
@pytest.mark.parametrize("position", ["center", "crop"])
def test_ten_crop_is_corners_and_center_and_their_mirror_images(mean, position):
    """The image has 18 x 18 pixels, and each pixel contains its coordinates."""
    preprocessing = preprocessing_of(
        "paper", image_size=18, crop_size=12, mean=mean, mean_position=position
    )
    statistics, image = skewed_statistics(), coordinates(18)
    crops = run_both_ways(
        lambda encoded: preprocess.ten_crop(encoded, preprocessing, statistics),
        encode(image, "png"),
    )
    expected, mirrored = [], []
    for y, x in [(0, 0), (0, 6), (6, 0), (6, 6), (3, 3)]:
        crop = image[y : y + 12, x : x + 12].astype(np.float32)
        if mean == "channel":
            crop_mean = statistics.channel_mean
        elif position == "crop":
            crop_mean = statistics.mean_image[y : y + 12, x : x + 12]
        else:
            crop_mean = statistics.mean_image[3:15, 3:15]
        expected.append(crop - crop_mean)
        if mean == "image" and position == "crop":
            crop_mean = crop_mean[:, ::-1]
        mirrored.append(crop[:, ::-1] - crop_mean)
    np.testing.assert_allclose(crops, expected + mirrored, atol=1e-4)


def test_the_fifth_of_ten_crops_is_the_center_crop():
    preprocessing, statistics = preprocessing_of("caffe"), skewed_statistics(256)
    encoded = encode(photograph(300, 420), "jpeg")
    np.testing.assert_allclose(
        preprocess.ten_crop(encoded, preprocessing, statistics)[4],
        preprocess.evaluation_image(encoded, preprocessing, statistics),
        atol=1e-3,
    )


def test_without_augmentation_a_training_image_is_the_center_crop():
    """With random crops but no other augmentation, each seed gives a different crop."""
    preprocessing = presets.override(
        presets.get("tiny"), random_crop=False, flip=False, pca_color_std=0.0
    ).preprocessing
    rng = np.random.default_rng(0)
    encoded = tf.io.encode_png(rng.integers(0, 256, (90, 100, 3), np.uint8))
    statistics = pixel_statistics.imagenet(preprocessing)
    expected = preprocess.evaluation_image(encoded, preprocessing, statistics)
    for seed in range(5):
        crop = preprocess.training_image(
            encoded, [seed, 0], preprocessing, statistics
        )
        np.testing.assert_array_equal(crop, expected)
    random_crops = dataclasses.replace(preprocessing, random_crop=True)
    crops = [
        preprocess.training_image(
            encoded, [seed, 0], random_crops, statistics
        ).numpy()
        for seed in range(5)
    ]
    assert len({crop.tobytes() for crop in crops}) == 5


@pytest.mark.compiled
def test_equal_preprocessing_is_traced_once():
    """Equal `Preprocessing` objects share one trace."""
    encoded = encode(photograph(30, 26), "jpeg")
    for _ in range(3):
        preprocessing = preprocessing_of("tiny", image_size=21, crop_size=16)
        preprocess.evaluation_image(encoded, preprocessing, skewed_statistics(21))
    for make_function in (preprocess._decoder, preprocess._compiled):
        function = make_function(preprocessing)
        assert function.experimental_get_tracing_count() == 1


@pytest.mark.compiled
@pytest.mark.parametrize(
    "name",
    [
        "paper",
        "caffe",
        pytest.param("code2012", marks=pytest.mark.large),
        pytest.param("tiny", marks=pytest.mark.large),
        pytest.param("owt", marks=pytest.mark.large),
    ],
)
def test_compiled_crops_equal_uncompiled_ones(name, monkeypatch):
    """Crops are bitwise equal unless the preset divides.

    The reason for the exception is that XLA rounds divisions differently.
    """
    preprocessing = preprocessing_of(name, image_size=72, crop_size=64)
    statistics = skewed_statistics(72)
    encoded = tf.constant(encode(photograph(90, 75), "jpeg"))

    def make_crops():
        seeds = tf.data.Dataset.range(8).map(lambda seed: tf.stack([1, seed]))
        crops = seeds.map(
            lambda seed: preprocess.training_image(
                encoded, seed, preprocessing, statistics
            ),
            num_parallel_calls=2,
        )
        return tf.stack(
            [*crops, preprocess.evaluation_image(encoded, preprocessing, statistics)]
        )

    compiled = make_crops()
    monkeypatch.setattr(preprocess, "_compiled", preprocess._uncompiled)
    divides = preprocessing.divide_by_std or preprocessing.pca_color_divisor != 1
    # The tolerance is two units in the last place of float32.
    rtol = 2 * 2.0**-23 if divides else 0
    np.testing.assert_allclose(make_crops(), compiled, rtol=rtol)
    uncompiled = preprocess.evaluation_image(
        encoded, preprocessing, statistics, compiled=False
    )
    np.testing.assert_allclose(compiled[-1], uncompiled, rtol=rtol)
