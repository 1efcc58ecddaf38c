"""Crops and normalization against NumPy, eagerly and inside `tf.data.map`."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf import presets
from alexnet_tf.data import pixel_statistics
from alexnet_tf.data import preprocess
from helpers.encoded_images import encode
from helpers.encoded_images import photograph
from helpers.encoded_images import preprocessing_of
from helpers.encoded_images import run_both_ways

# Small, so that thousands of crops cost nothing: there are 3 x 3 offsets.
SMALL = dict(image_size=18, crop_size=16)


def over_seeds(op, count):
    """[count, ...]: `op` of as many seeds, of which the first eagerly too."""
    seeds = np.stack([np.arange(count), np.full(count, 5)], axis=1)
    dataset = tf.data.Dataset.from_tensor_slices(seeds.astype(np.int64))
    (results,) = dataset.map(op).batch(count).as_numpy_iterator()
    for seed, result in zip(seeds[:3], results):
        np.testing.assert_allclose(
            op(seed).numpy(), result, rtol=1e-5, atol=1e-4
        )
    return results


def coordinates(size):
    """uint8 RGB [size, size, 3] that holds y, x and a mix of both."""
    y, x = np.mgrid[:size, :size]
    return np.stack([y, x, y * 7 + x * 13], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("preset", ["paper", "caffe", "tiny", "cifar10_full"])
def test_a_image_of_the_right_size_stays_as_it_is(preset):
    p = preprocessing_of(preset)
    image, size = coordinates(p.image_size), p.crop_size
    last = p.image_size - size
    for y, x in {(0, 0), (last, last), (last // 3, last), (last // 2, 0)}:
        crop = run_both_ways(
            lambda e, offset: preprocess.decode_crop(e, offset, p),
            encode(image, "png"),
            (y, x),
        )
        np.testing.assert_array_equal(
            crop, image[y : y + size, x : x + size]
        )


@pytest.mark.parametrize(
    "preset, places, center",
    [("paper", 33, 16), ("caffe", 30, 14), ("cifar10_full", 1, 0)],
)
def test_offsets_are_uniform_over_all_places(preset, places, center):
    p = preprocessing_of(preset)
    count = 200 * places
    offsets = over_seeds(lambda seed: preprocess.random_offset(seed, p), count)
    assert offsets.shape == (count, 2)
    for axis in offsets.T:
        seen = np.bincount(axis, minlength=places)
        assert len(seen) == places and seen.min() > 0
        # For 32 degrees of freedom 75 comes once in 30,000 times.
        assert ((seen - 200) ** 2 / 200).sum() < 75
    if places > 1:
        assert abs(np.corrcoef(offsets.T)[0, 1]) < 0.05
    assert preprocess.center_offset(p).numpy().tolist() == [center, center]


def test_equal_seeds_bring_equal_views():
    p, statistics = preprocessing_of("paper"), pixel_statistics.imagenet(preprocessing_of("paper"))
    seed = tf.constant([3, 4])
    ops = [
        lambda s: preprocess.random_offset(s, p),
        lambda s: preprocess.pca_color_shift(s, statistics, 0.1),
    ]
    for op in ops:
        np.testing.assert_array_equal(op(seed), op(seed))
        assert (op(seed).numpy() != op(tf.constant([3, 5])).numpy()).any()


def test_half_of_the_images_are_mirrored():
    flipped = over_seeds(preprocess.random_flip, 2000)
    assert 0.46 < flipped.mean() < 0.54


def skewed_statistics(size=18):
    """`Statistics` none of whose figures are alike or symmetric."""
    random = np.random.default_rng(0)
    spread = random.normal(size=(3, 3)) * [[60], [40], [20]]
    return pixel_statistics.Statistics(
        random.uniform(80, 160, (size, size, 3)).astype(np.float32),
        spread @ spread.T,
    )


@pytest.mark.parametrize("strength", [0.1, 0.5])
def test_color_noise_by_hand(strength):
    statistics = skewed_statistics()
    variances, vectors = np.linalg.eigh(statistics.covariance)
    for seed in ([0, 1], [7, 9]):
        noise = run_both_ways(
            lambda s: preprocess.pca_color_shift(s, statistics, strength), seed
        )
        draws = tf.random.stateless_normal([3], seed).numpy() * strength
        # The paper's [p1, p2, p3][a1 l1, a2 l2, a3 l3]^T.
        expected = sum(
            draw * np.sqrt(variance) * vector
            for draw, variance, vector in zip(draws, variances, vectors.T)
        )
        np.testing.assert_allclose(noise, expected, rtol=1e-4, atol=1e-4)


def test_color_noise_spreads_like_the_colors():
    statistics = pixel_statistics.imagenet(preprocessing_of("paper"))
    noise = over_seeds(lambda s: preprocess.pca_color_shift(s, statistics, 0.1), 8000)
    along = noise @ statistics.components
    # Facts of the original: 1.97, 3.71 and 12.18 gray levels.
    np.testing.assert_allclose(
        along.std(axis=0), [1.972, 3.709, 12.178], rtol=0.03
    )
    assert (np.abs(along.mean(axis=0)) < 0.05 * along.std(axis=0)).all()
    np.testing.assert_allclose(
        np.cov(noise.T), 0.01 * statistics.covariance, rtol=0.08
    )


OWT_MEAN, OWT_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

# What a preset makes of a view of an image, given the center of the mean
# image and the part of it under the view, mirrored if the view is; by hand,
# from facts.md.
HAND = {
    "paper": lambda view, center, under: view - center,
    "code2012": lambda view, center, under: (view - center) / 1.1,
    "caffe": lambda view, center, under: (view - under)[..., ::-1],
    "owt": lambda view, center, under: (view / 255 - OWT_MEAN) / OWT_STD,
    "tiny": lambda view, center, under: (
        (view - skewed_statistics(73).mean_image.mean(axis=(0, 1)))
        / np.sqrt(np.diag(skewed_statistics().covariance))
    ),
    "cifar10_full": lambda view, center, under: view - center,
}
HAND["caffenet"] = HAND["caffe"]
HAND["single_tower"] = HAND["paper_conv6"] = HAND["paper"]
# Those with pixels of their own, and the others.
by_hand = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.large)
        if name in ("caffenet", "single_tower", "paper_conv6") else name
        for name in HAND
    ],
)


def test_each_preset_has_its_pixels_by_hand():
    assert HAND.keys() == presets.PRESETS.keys()


def views_by_hand(hand, square, mean, crop_size):
    """{(y, x, step): view} of all crops, mirrored where `step` is -1.

    A view is a function of the pixels to take: whole ones would be slow.
    """
    last = len(square) - crop_size
    middle = slice(last // 2, last // 2 + crop_size)
    return {
        (y, x, step): lambda pick, part=(
            slice(y, y + crop_size), slice(x, x + crop_size)
        ), step=step: hand(
            square[part][:, ::step][pick],
            mean[middle, middle][pick],
            mean[part][:, ::step][pick],
        )
        for y in range(last + 1)
        for x in range(last + 1)
        for step in (1, -1)
    }


def assert_one_view(output, views):
    """Which one of `views_by_hand` `output` is, in every pixel."""
    corners, everything = np.ix_([0, -1], [0, -1]), np.s_[:, :]
    (found,) = [
        place
        for place, view in views.items()
        if np.allclose(view(corners), output[corners], atol=0.01)
    ]
    np.testing.assert_allclose(
        output, views[found](everything), rtol=1e-4, atol=1e-3
    )
    return found


def assert_training_images(p, hand):
    """Six training images are six views by `hand`, mirrored and not."""
    image, statistics = coordinates(p.image_size), skewed_statistics(p.image_size)
    encoded = encode(image, "png")
    outputs = over_seeds(
        lambda seed: preprocess.training_image(encoded, seed, p, statistics), 6
    )
    views = views_by_hand(
        hand, image.astype(np.float64), statistics.mean_image, p.crop_size
    )
    assert outputs.dtype == np.float32
    found = {assert_one_view(output, views) for output in outputs}
    assert {step for _, _, step in found} == {1, -1}
    assert len(found) > 3 or p.crop_size == p.image_size


@by_hand
def test_a_training_image_by_hand(name):
    # Noise too weak to see, but there: the divisor goes with it.
    assert_training_images(preprocessing_of(name, pca_color_std=1e-9), HAND[name])


def test_without_noise_there_is_nothing_to_divide_by():
    p = preprocessing_of("code2012", pca_color_std=0.0)
    assert p.pca_color_divisor == 1.1
    assert_training_images(p, HAND["paper"])


# 104, 117 and 123 are what many subtract in place of Caffe's mean image.
@pytest.mark.parametrize(
    "changes",
    [
        {"mean": "channel"},
        {"mean": "channel", "channel_mean": (123.0, 117.0, 104.0)},
    ],
)
def test_caffe_s_pixels_with_a_mean_per_channel(changes):
    channels = skewed_statistics(256).mean_image.mean(axis=(0, 1))
    mean = changes.get("channel_mean", channels)
    assert_training_images(
        preprocessing_of("caffe", **changes),
        lambda view, center, under: (view - mean)[..., ::-1],
    )


@by_hand
def test_an_evaluation_image_by_hand(name):
    p = preprocessing_of(name)
    image, statistics = coordinates(p.image_size), skewed_statistics(p.image_size)
    output = run_both_ways(
        lambda e: preprocess.evaluation_image(e, p, statistics),
        encode(image, "png"),
    )
    # The original divides while training only.
    hand = HAND["paper" if name == "code2012" else name]
    views = views_by_hand(
        hand, image.astype(np.float64), statistics.mean_image, p.crop_size
    )
    margin = {224: 16, 227: 14, 64: 4, 32: 0}[p.crop_size]
    assert output.dtype == np.float32
    assert assert_one_view(output, views) == (margin, margin, 1)


def test_a_image_is_resized_the_preset_s_way():
    """Caffe sees all of a wide image, the paper its central square."""
    image = np.zeros((256, 512, 3), np.uint8)
    image[:, 120:392] = 255
    for name, share in [("paper", 1.0), ("caffe", 272 / 512 * 256 / 227)]:
        p, statistics = preprocessing_of(name), skewed_statistics(256)
        output = preprocess.evaluation_image(encode(image, "png"), p, statistics)
        margin = (256 - p.crop_size) // 2
        part = slice(margin, margin + p.crop_size)
        mean = statistics.mean_image[part, part]
        if name == "caffe":
            mean = mean[..., ::-1]
        bright = (output + mean).numpy() / 255
        assert bright.mean() == pytest.approx(share, abs=1e-3)


def small_views(count, name="paper", **changes):
    """[count, 16, 16, 3]: training images of one image, and its pixels."""
    p = preprocessing_of(name, **SMALL | changes)
    image, statistics = photograph(18, 18), skewed_statistics()
    encoded = encode(image, "png")
    views = over_seeds(
        lambda seed: preprocess.training_image(encoded, seed, p, statistics), count
    )
    return views, image


def test_every_place_and_both_sides_come_equally_often():
    views, image = small_views(1800, pca_color_std=0.0)
    mean = skewed_statistics().mean_image[1:17, 1:17]
    counts = [
        sum(
            np.allclose(view, expected, atol=0.01)
            for view in views[:, :2, :2]
        )
        for y in range(3)
        for x in range(3)
        for step in (1, -1)
        for expected in [
            (image[y : y + 16, x : x + 16][:, ::step] - mean)[:2, :2]
        ]
    ]
    assert sum(counts) == 1800
    # 17 degrees of freedom: 45 comes once in 4,000 times.
    assert ((np.array(counts) - 100.0) ** 2 / 100).sum() < 45


def test_no_view_is_mirrored_without_flip():
    views, image = small_views(60, flip=False, pca_color_std=0.0)
    mean = skewed_statistics().mean_image[1:17, 1:17]
    crops = [
        image[y : y + 16, x : x + 16] for y in range(3) for x in range(3)
    ]
    for view in views:
        assert any(np.allclose(view + mean, crop, atol=0.01) for crop in crops)


@pytest.mark.parametrize(
    "name, divisor",
    [("paper", 1), ("code2012", 1.1), ("owt", (58.395, 57.12, 57.375))],
)
def test_noise_is_one_color_for_all_pixels(name, divisor):
    """The same seeds bring the same crops and flips without the noise."""
    with_noise, _ = small_views(1500, name)
    without, _ = small_views(1500, name, pca_color_std=0.0)
    # Without noise code2012 does not divide; owt always does.
    scale = 1 if name == "code2012" else divisor
    noise = with_noise * divisor - without * scale
    np.testing.assert_allclose(
        noise, np.broadcast_to(noise[:, :1, :1], noise.shape), atol=1e-2
    )
    statistics = skewed_statistics()
    np.testing.assert_allclose(
        (noise[:, 0, 0] @ statistics.components).std(axis=0),
        0.1 * statistics.component_stds,
        rtol=0.05,
    )


def test_noise_knows_nothing_of_the_view():
    with_noise, _ = small_views(1500)
    without, image = small_views(1500, pca_color_std=0.0)
    mean = skewed_statistics().mean_image[1:17, 1:17]
    corners = (without + mean)[:, 0, [0, -1]]
    last = (image[:3, :3], image[:3, 15:])
    upright = np.array(
        [
            any(
                np.allclose(corner, (last[0][y, x], last[1][y, x]), atol=0.01)
                for y in range(3)
                for x in range(3)
            )
            for corner in corners
        ]
    )
    along = (with_noise - without)[:, 0, 0] @ skewed_statistics().components
    spreads = [along[side].std(axis=0) for side in (upright, ~upright)]
    np.testing.assert_allclose(*spreads, rtol=0.15)


@pytest.mark.parametrize(
    "name, level, expected",
    [
        # torchvision's well-statistics range.
        ("owt", 0, (-2.1179, -2.0357, -1.8044)),
        ("owt", 255, (2.2489, 2.4286, 2.6400)),
        ("paper", 0, (-127.3049, -119.7154, -104.9126)),
        ("paper", 255, (127.6951, 135.2846, 150.0874)),
        ("caffe", 0, (-104.00699, -116.66877, -122.67891)),
        ("caffe", 255, (150.99301, 138.33123, 132.32109)),
    ],
)
def test_the_range_is_that_of_the_preset(name, level, expected):
    black_or_white = np.full((90, 70, 3), level, np.uint8)
    output = run_both_ways(
        lambda e: preprocess.evaluation_image(
            e, preprocessing_of(name), pixel_statistics.imagenet(preprocessing_of(name))
        ),
        encode(black_or_white, "png"),
    )
    np.testing.assert_allclose(
        output, np.broadcast_to(expected, output.shape), atol=1e-3
    )


@pytest.mark.parametrize(
    "name, place", [("paper", (16, 16)), ("caffe", (5, 29))]
)
def test_the_mean_lies_where_the_preset_says(name, place):
    statistics = skewed_statistics(256)
    p = preprocessing_of(name)
    mean = run_both_ways(
        lambda offset: preprocess.mean_pixels(offset, p, statistics), (5, 29)
    )
    (y, x), size = place, p.crop_size
    np.testing.assert_array_equal(
        mean, statistics.mean_image[y : y + size, x : x + size]
    )


def test_shapes_are_static():
    statistics = pixel_statistics.imagenet(preprocessing_of("paper"))
    p = preprocessing_of("paper")
    encoded = tf.data.Dataset.from_tensors(b"")
    for op in (
        lambda e: preprocess.decode_crop(e, [0, 0], p),
        lambda e: preprocess.training_image(e, [0, 0], p, statistics),
        lambda e: preprocess.evaluation_image(e, p, statistics),
    ):
        assert encoded.map(op).element_spec.shape == (224, 224, 3)


@pytest.mark.parametrize("name", ["paper", "caffe", "owt"])
@pytest.mark.parametrize("shape", [(300, 420), (200, 180)])
def test_pixels_and_bytes_give_the_same_view(name, shape):
    p, statistics = preprocessing_of(name), skewed_statistics(256)
    pixels = photograph(*shape)
    from_bytes = preprocess.evaluation_image(encode(pixels, "png"), p, statistics)
    from_pixels = run_both_ways(
        lambda images: preprocess.center_crop(images, p, statistics),
        np.stack([pixels, 255 - pixels]),
    )
    # Where a value lies on a half, it may be rounded either way.
    off = np.abs(from_pixels[0] - from_bytes) > 1e-4
    assert off.mean() < 1e-3
    gray_level = 1 / 55 if name == "owt" else 1
    assert np.abs(from_pixels[0] - from_bytes).max() <= gray_level * 1.001
    assert from_pixels.shape == (2, p.crop_size, p.crop_size, 3)


@pytest.mark.parametrize("mean", ["image", "channel"])
@pytest.mark.parametrize("position", ["center", "crop"])
def test_ten_crop_by_hand(mean, position):
    """Of an image whose pixels say where they are, 18 of which it sees 12."""
    p = preprocessing_of(
        "paper", image_size=18, crop_size=12, mean=mean, mean_position=position
    )
    statistics, image = skewed_statistics(), coordinates(18)
    views = run_both_ways(
        lambda e: preprocess.ten_crop(e, p, statistics), encode(image, "png")
    )
    expected = []
    for y, x in [(0, 0), (0, 6), (6, 0), (6, 6), (3, 3)]:
        crop = image[y : y + 12, x : x + 12].astype(np.float32)
        if mean == "channel":
            below = statistics.channel_mean
        elif position == "crop":
            below = statistics.mean_image[y : y + 12, x : x + 12]
        else:
            below = statistics.mean_image[3:15, 3:15]
        turned = below[:, ::-1] if below.ndim == 3 and position == "crop" else below
        expected.append((crop - below, crop[:, ::-1] - turned))
    expected = [plain for plain, _ in expected] + [m for _, m in expected]
    np.testing.assert_allclose(views, expected, atol=1e-4)


def test_the_fifth_of_ten_crops_is_the_central_view():
    p, statistics = preprocessing_of("caffe"), skewed_statistics(256)
    encoded = encode(photograph(300, 420), "jpeg")
    np.testing.assert_allclose(
        preprocess.ten_crop(encoded, p, statistics)[4],
        preprocess.evaluation_image(encoded, p, statistics),
        atol=1,
    )


def test_without_random_crops_the_central_one_is_taken():
    """And without flips and noise the view is that of an evaluation."""
    pixels = presets.override(
        presets.get("tiny"), random_crop=False, flip=False, pca_color_std=0.0
    ).preprocessing
    random = np.random.default_rng(0)
    encoded = tf.io.encode_png(random.integers(0, 256, (90, 100, 3), np.uint8))
    found = pixel_statistics.imagenet(pixels)
    wanted = preprocess.evaluation_image(encoded, pixels, found)
    for seed in range(5):
        view = preprocess.training_image(encoded, [seed, 0], pixels, found)
        np.testing.assert_array_equal(view, wanted)
    anywhere = dataclasses.replace(pixels, random_crop=True)
    views = [
        preprocess.training_image(encoded, [seed, 0], anywhere, found).numpy()
        for seed in range(5)
    ]
    assert len({view.tobytes() for view in views}) == 5


@pytest.mark.compiled
def test_what_is_equal_is_traced_once():
    """Image by image, as predict and report go: tracing takes .2 seconds."""
    encoded = encode(photograph(30, 26), "jpeg")
    for _ in range(3):
        p = preprocessing_of("tiny", image_size=21, crop_size=16)
        preprocess.evaluation_image(encoded, p, skewed_statistics(21))
    for traced in (preprocess._decoder(p), preprocess._compiled(p)):
        assert traced.experimental_get_tracing_count() == 1


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
def test_compiled_views_are_the_plain_ones(name, monkeypatch):
    """Bit for bit, but for divisions, which XLA rounds otherwise."""
    p = dataclasses.replace(preprocessing_of(name), image_size=72, crop_size=64)
    found = skewed_statistics(72)
    encoded = tf.constant(encode(photograph(90, 75), "jpeg"))

    def views():
        seeds = tf.data.Dataset.range(8).map(lambda seed: tf.stack([1, seed]))
        views = seeds.map(
            lambda seed: preprocess.training_image(encoded, seed, p, found),
            num_parallel_calls=2,
        )
        return tf.stack([*views, preprocess.evaluation_image(encoded, p, found)])

    compiled = views()
    monkeypatch.setattr(preprocess, "_compiled", preprocess._uncompiled)
    ulp = 2.0**-23 if p.divide_by_std or p.pca_color_divisor != 1 else 0
    np.testing.assert_allclose(views(), compiled, rtol=2 * ulp)
    plain = preprocess.evaluation_image(encoded, p, found, compiled=False)
    np.testing.assert_allclose(compiled[-1], plain, rtol=2 * ulp)
