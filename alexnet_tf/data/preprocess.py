"""Encoded bytes become pixels, and pixels the network's input.

Small pure operations on one picture, for eager use and inside `tf.data`.
Training and evaluation share the head (`decode_crop`) and the tail
(`_augment_and_normalize`). Pixels are RGB in [0, 255] until the very end.
"""

import dataclasses
import functools

import tensorflow as tf

from alexnet_tf.data import decode
from alexnet_tf.data import resample


def decode_crop(encoded, offset, preprocessing):
    """Part of the resized central square, as uint8 RGB [crop, crop, 3].

    The picture is resized so that its short side has `image_size` pixels (or
    squashed to a square), its central square is taken, and of that the part
    that begins at `offset` (paper, section 2). Only the pixels that the crop
    needs are decoded, yet the result is bit for bit that of resizing the whole
    picture (`resample._align_window`), and a picture that is a square of `image_size` already is
    only cut. Shrinking averages over all pixels that it covers, as INTER_AREA did
    for the authors (cuda-convnet2, make-data/pyext/src/pyext.cpp:102-131); plain
    bilinear interpolation would be off by 4.8 grey levels on average.

    Args:
        encoded: string [], the bytes of a JPEG (grey and CMYK too), PNG, BMP
            or GIF.
        offset: int32 [2], (y, x) in pixels of the central square.
        preprocessing: a `presets.Preprocessing`.

    Raises:
        tf.errors.InvalidArgumentError: if the bytes are no picture.
    """
    return _decoder(preprocessing)(
        tf.convert_to_tensor(encoded), tf.convert_to_tensor(offset)
    )


@functools.cache
def _decoder(preprocessing):
    """Traced once for all pipelines; as an argument an equal `Preprocessing`
    would be traced anew once the first one is gone."""
    decode = functools.partial(_decode_crop, preprocessing)
    return tf.function(decode, autograph=False)


def _decode_crop(preprocessing, encoded, offset):
    size = preprocessing.crop_size
    encoded, shape = decode.checked(encoded)
    resized = resample.resized_shape(shape, preprocessing)
    margin = (resized - preprocessing.image_size) // 2

    def cut():
        # More than the crop, since from two pixels around it libjpeg interpolates
        # the colours at its edges.
        place = margin + offset
        first = tf.maximum(place - 4, 0)
        last = tf.minimum(place + size + 4, shape)
        window = decode.decode_window(encoded, first, last - first)  # [h, w, 3]
        start = tf.concat([place - first, [0]], axis=0)
        return tf.slice(window, start, [size, size, 3])

    def resampled():
        first, last, step, translation = resample.crop_window(shape, offset, preprocessing)
        window = decode.decode_window(encoded, first, last - first)  # [h, w, 3]
        return resample.resample(window[tf.newaxis], [size, size], step, translation)[0]

    pixels = tf.cond(tf.reduce_all(shape == resized), cut, resampled)
    return tf.ensure_shape(pixels, [size, size, 3])


def center_square(encoded, preprocessing):
    """All of the resized central square, uint8 RGB [size, size, 3].

    Args and errors as in `decode_crop`.
    """
    whole = dataclasses.replace(
        preprocessing, crop_size=preprocessing.image_size
    )
    return decode_crop(encoded, [0, 0], whole)


def random_offset(seed, preprocessing):
    """int32 [2], uniform over the places of a crop in the central square.

    From 0 to image_size - crop_size inclusive: 33 x 33 for 224 of 256, which
    with the flips makes 2,178 views; the paper's 2,048 leaves one row out
    (section 4.1; convdata_jpeg.py:238-246).
    """
    places = preprocessing.image_size - preprocessing.crop_size + 1
    return tf.random.stateless_uniform([2], seed, 0, places, tf.int32)


def center_offset(preprocessing):
    """int32 [2], the place of the central crop in the central square."""
    margin = (preprocessing.image_size - preprocessing.crop_size) // 2
    return tf.constant([margin, margin])


def random_flip(seed):
    """bool [], whether to mirror a view left to right: every other time."""
    return tf.random.stateless_uniform([], seed) < 0.5


def pca_color_shift(seed, statistics, strength):
    """float32 [3], what to add to the R, G and B of all pixels of a picture.

    The sum of the principal components of the training split's RGB values,
    each times its standard deviation times a draw from N(0, `strength`) (paper
    section 4.1). The paper writes the eigenvalue where the original takes its
    square root (convdata_jpeg.py:155-179); on the 0-255 scale the eigenvalue
    would add about 1,500 grey levels.
    """
    draws = tf.random.stateless_normal([3], seed, stddev=strength)
    scaled = draws * tf.cast(statistics.component_stds, tf.float32)
    components = tf.cast(statistics.components, tf.float32)  # columns
    return tf.linalg.matvec(components, scaled)


def training_image(encoded, seed, preprocessing, statistics):
    """The network's input, float32 [crop, crop, 3]: a random view.

    Args:
        encoded: string [], the bytes of a picture.
        seed: int32 or int64 [2], which view: equal seeds, equal views.
        preprocessing: a `presets.Preprocessing`.
        statistics: a `pixel_statistics.Statistics` of the training split.
    """
    crop_seed, flip_seed, noise_seed = tf.unstack(tf.random.split(seed, 3))
    offset = (
        random_offset(crop_seed, preprocessing)
        if preprocessing.random_crop
        else center_offset(preprocessing)
    )
    pixels = decode_crop(encoded, offset, preprocessing)
    flipped = random_flip(flip_seed) if preprocessing.flip else False
    noise, divisor = tf.zeros([3]), 1.0
    if preprocessing.pca_color_std:
        divisor = preprocessing.pca_color_divisor
        noise = pca_color_shift(
            noise_seed, statistics, preprocessing.pca_color_std
        )
    return _augment_and_normalize(
        pixels, offset, flipped, noise, divisor, preprocessing, statistics
    )


def evaluation_image(encoded, preprocessing, statistics, compiled=True):
    """The network's input, float32 [crop, crop, 3]: the central view.

    Args:
        encoded, preprocessing, statistics: as in `training_image`.
        compiled: False for where XLA may not be at hand.
    """
    offset = center_offset(preprocessing)
    pixels = decode_crop(encoded, offset, preprocessing)
    return _augment_and_normalize(
        pixels,
        offset,
        False,
        tf.zeros([3]),
        1.0,
        preprocessing,
        statistics,
        compiled,
    )


def center_crop(images, preprocessing, statistics):
    """The network's input, float32 [B, crop, crop, 3], from pixels.

    What `evaluation_image` makes of encoded pictures.

    Args:
        images: [B, H, W, 3], RGB in [0, 255], of any size and type.
        preprocessing, statistics: as in `training_image`.
    """
    size, offset = preprocessing.crop_size, center_offset(preprocessing)
    step, place = resample.sampling_grid(tf.shape(images)[1:3], offset, preprocessing)
    translation = tf.cast(-place / step, tf.float32)
    pixels = resample.resample(images, [size, size], step, translation)
    pixels = tf.ensure_shape(pixels, [None, size, size, 3])
    pixels = tf.cast(pixels, tf.float32)
    pixels -= mean_pixels(offset, preprocessing, statistics)
    return _standardize(pixels, preprocessing, _std(preprocessing, statistics))


def ten_crop(encoded, preprocessing, statistics):
    """The network's input, float32 [10, crop, crop, 3]: the paper's ten views.

    The corners (top left, top right, bottom left, bottom right) and the
    centre of the central square, and these five mirrored (paper, section 4.1;
    convdata_jpeg.py:224-233). Their probabilities are averaged, not their
    logits.

    Args and errors as in `training_image`.
    """
    size = preprocessing.crop_size
    last = preprocessing.image_size - size
    square = center_square(encoded, preprocessing)
    views, mirrored = [], []
    for y, x in [(0, 0), (0, last), (last, 0), (last, last), (last // 2,) * 2]:
        crop = tf.cast(square[y : y + size, x : x + size], tf.float32)
        mean = mean_pixels([y, x], preprocessing, statistics)
        views.append(crop - mean)
        if _flips_mean(mean, preprocessing):
            mean = mean[:, ::-1]
        mirrored.append(crop[:, ::-1] - mean)
    std = _std(preprocessing, statistics)
    return _standardize(tf.stack(views + mirrored), preprocessing, std)


def whole_image(encoded, short_side, preprocessing, statistics):
    """All of a picture as a network's input, float32 [1, H, W, 3].

    Resized as `preprocessing` says, to another size and not cut. The mean is
    that per channel: a mean image covers the central square only.

    Args:
        encoded, preprocessing, statistics: as in `training_image`.
        short_side: pixels of the short side, in place of `image_size`.
    """
    resized = dataclasses.replace(preprocessing, image_size=short_side)
    encoded, shape = decode.checked(encoded)
    size = resample.resized_shape(shape, resized)
    window = decode.decode_window(encoded, tf.zeros_like(shape), shape)
    step = tf.cast(shape, tf.float64) / tf.cast(size, tf.float64)
    pixels = resample.resample(window[tf.newaxis], size, step, tf.zeros([2]))
    pixels = tf.cast(pixels, tf.float32)
    channels = dataclasses.replace(preprocessing, mean="channel")
    pixels -= mean_pixels([0, 0], channels, statistics)
    return _standardize(pixels, preprocessing, _std(preprocessing, statistics))


def mean_pixels(offset, preprocessing, statistics):
    """What to subtract: float32 RGB [3], or [crop, crop, 3] of a mean image."""
    return _crop_mean(_mean(preprocessing, statistics), offset, preprocessing)


def _augment_and_normalize(
    pixels,
    offset,
    flipped,
    noise,
    divisor,
    preprocessing,
    statistics,
    compiled=True,
):
    """float32 [crop, crop, 3]: the network's input, of a crop's pixels.

    Args:
        pixels: uint8 [crop, crop, 3].
        offset: of the crop, see `decode_crop`.
        flipped: bool [].
        noise, divisor: what is added, float32 [3], and then divided by.
        preprocessing, statistics: as in `training_image`.
        compiled: as in `evaluation_image`.
    """
    finish = _compiled if compiled else _uncompiled
    return finish(preprocessing)(
        pixels,
        tf.convert_to_tensor(offset),
        tf.convert_to_tensor(flipped),
        noise,
        tf.constant(divisor),
        _mean(preprocessing, statistics),
        _std(preprocessing, statistics),
    )


@functools.cache
def _compiled(preprocessing):
    """One pass over the picture in place of eight, which took longer than to
    read a prepared picture: 2,600 against 750 views a second on two cores."""
    return tf.function(
        _uncompiled(preprocessing), jit_compile=True, autograph=False
    )


def _uncompiled(preprocessing):
    return functools.partial(_step_by_step, preprocessing)


def _step_by_step(
    preprocessing, pixels, offset, flipped, noise, divisor, mean, std
):
    def turned(image):
        return tf.where(flipped, tf.reverse(image, [1]), image)

    mean = _crop_mean(mean, offset, preprocessing)
    if _flips_mean(mean, preprocessing):
        mean = turned(mean)
    image = turned(tf.cast(pixels, tf.float32)) - mean
    return _standardize((image + noise) / divisor, preprocessing, std)


def _mean(preprocessing, statistics):
    """float32 RGB [3], or the whole mean image [S, S, 3]."""
    if preprocessing.mean == "image":
        return tf.constant(statistics.mean_image, tf.float32)
    published = preprocessing.channel_mean
    mean = statistics.channel_mean if published is None else published
    return tf.constant(mean, tf.float32)


def _crop_mean(mean, offset, preprocessing):
    """What of the mean is subtracted from a crop."""
    if mean.shape.rank == 1:
        return mean
    if preprocessing.mean_position == "center":
        offset = center_offset(preprocessing)
    size = preprocessing.crop_size
    return tf.slice(mean, [offset[0], offset[1], 0], [size, size, 3])


def _flips_mean(mean, preprocessing):
    """Whether the mean is mirrored with the picture: Caffe mirrors their
    difference."""
    return preprocessing.mean_position == "crop" and mean.shape.rank == 3


def _std(preprocessing, statistics):
    """float32 RGB [3]."""
    std = preprocessing.channel_std or tuple(statistics.channel_std)
    return tf.constant(std, tf.float32)


def _standardize(image, preprocessing, std):
    if preprocessing.divide_by_std:
        # A channel that is the same everywhere is 0 by now, and stays so.
        image = tf.math.divide_no_nan(image, std)
    if preprocessing.channel_order == "bgr":
        image = image[..., ::-1]
    return image
