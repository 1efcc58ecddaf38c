"""Turns encoded images into pixels, and pixels into the input of the network.

The operations are small, pure functions of one image that work eagerly and inside
`tf.data`. Training and evaluation share the first step (`decode_crop`) and the
last one (`_augment_and_normalize`). Pixels are RGB in [0, 255] until that last
step.
"""

import dataclasses
import functools

import tensorflow as tf

from alexnet_tf.data import decode
from alexnet_tf.data import resample


def decode_crop(encoded, offset, preprocessing):
    """Decodes a crop of the resized central square, uint8 RGB [crop, crop, 3].

    The image is resized so that its short side has `image_size` pixels (or
    squashed to a square), its central square is taken, and from that the crop that
    begins at `offset` (paper, section 2). Only the pixels that the crop needs are
    decoded, yet the result is bit for bit that of resizing the whole image
    (`resample._align_window`), and an image that is already a square of
    `image_size` is only cropped. Shrinking averages over all pixels that a new one
    covers, as INTER_AREA did for the authors (cuda-convnet2,
    make-data/pyext/src/pyext.cpp:102-131); plain bilinear interpolation would be
    off by 4.8 gray levels on average.

    Args:
        encoded: string [], the bytes of a JPEG (gray and CMYK too), PNG, BMP
            or GIF.
        offset: int32 [2], (y, x) of the crop in the central square, in pixels.
        preprocessing: a `presets.Preprocessing`.

    Raises:
        tf.errors.InvalidArgumentError: if the bytes are not an image.
    """
    return _decoder(preprocessing)(
        tf.convert_to_tensor(encoded), tf.convert_to_tensor(offset)
    )


@functools.cache
def _decoder(preprocessing):
    """Returns a `tf.function` that is traced once for all pipelines.

    If `preprocessing` were an argument of it, an equal `Preprocessing` would be
    traced again once the first one is deleted.
    """
    crop = functools.partial(_decode_crop, preprocessing)
    return tf.function(crop, autograph=False)


def _decode_crop(preprocessing, encoded, offset):
    size = preprocessing.crop_size
    encoded, shape = decode.checked(encoded)
    resized = resample.resized_shape(shape, preprocessing)
    margin = (resized - preprocessing.image_size) // 2

    def cut():
        # The window is larger than the crop, since libjpeg interpolates the
        # colors at the crop's edges from two pixels around it.
        position = margin + offset
        first = tf.maximum(position - 4, 0)
        last = tf.minimum(position + size + 4, shape)
        window = decode.decode_window(encoded, first, last - first)  # [h, w, 3]
        start = tf.concat([position - first, [0]], axis=0)
        return tf.slice(window, start, [size, size, 3])

    def resampled():
        first, last, step, translation = resample.crop_window(
            shape, offset, preprocessing
        )
        window = decode.decode_window(encoded, first, last - first)  # [h, w, 3]
        images = window[tf.newaxis]  # [1, h, w, 3]
        return resample.resample(images, [size, size], step, translation)[0]

    pixels = tf.cond(tf.reduce_all(shape == resized), cut, resampled)
    return tf.ensure_shape(pixels, [size, size, 3])


def center_square(encoded, preprocessing):
    """Decodes all of the resized central square, uint8 RGB [size, size, 3].

    Args and errors as in `decode_crop`.
    """
    uncropped = dataclasses.replace(
        preprocessing, crop_size=preprocessing.image_size
    )
    return decode_crop(encoded, [0, 0], uncropped)


def random_offset(seed, preprocessing):
    """Draws the offset of a crop in the central square, int32 [2].

    It is uniform from 0 to image_size - crop_size inclusive: 33 x 33 offsets for
    224 of 256, which with the flips makes 2,178 crops; the paper's 2,048 omits
    one row and one column of them (section 4.1; convdata_jpeg.py:238-246).
    """
    num_offsets = preprocessing.image_size - preprocessing.crop_size + 1
    return tf.random.stateless_uniform([2], seed, 0, num_offsets, tf.int32)


def center_offset(preprocessing):
    """Returns the offset of the center crop in the central square, int32 [2]."""
    margin = (preprocessing.image_size - preprocessing.crop_size) // 2
    return tf.constant([margin, margin])


def random_flip(seed):
    """Draws whether to mirror a crop left to right, bool [], with probability .5."""
    return tf.random.stateless_uniform([], seed) < 0.5


def pca_color_shift(seed, statistics, strength):
    """Draws the color that is added to all pixels of an image, float32 RGB [3].

    It is the sum of the principal components of the training split's RGB values,
    each times its standard deviation times a draw from N(0, `strength`) (paper,
    section 4.1). The paper writes the eigenvalue where the original code takes
    its square root (convdata_jpeg.py:155-179); on the 0-255 scale the eigenvalue
    would add about 1,500 gray levels.
    """
    draws = tf.random.stateless_normal([3], seed, stddev=strength)
    scaled = draws * tf.cast(statistics.component_stds, tf.float32)
    components = tf.cast(statistics.components, tf.float32)  # columns
    return tf.linalg.matvec(components, scaled)


def training_image(encoded, seed, preprocessing, statistics):
    """Makes a random crop for training, float32 [crop, crop, 3].

    Args:
        encoded: string [], the bytes of an image.
        seed: int32 or int64 [2], the random seed of crop, flip and color; equal
            seeds give equal results.
        preprocessing: a `presets.Preprocessing`.
        statistics: a `pixel_statistics.Statistics` of the training split.
    """
    crop_seed, flip_seed, color_seed = tf.unstack(tf.random.split(seed, 3))
    offset = (
        random_offset(crop_seed, preprocessing)
        if preprocessing.random_crop
        else center_offset(preprocessing)
    )
    pixels = decode_crop(encoded, offset, preprocessing)
    flipped = random_flip(flip_seed) if preprocessing.flip else False
    color_shift, divisor = tf.zeros([3]), 1.0
    if preprocessing.pca_color_std:
        divisor = preprocessing.pca_color_divisor
        color_shift = pca_color_shift(
            color_seed, statistics, preprocessing.pca_color_std
        )
    return _augment_and_normalize(
        pixels, offset, flipped, color_shift, divisor, preprocessing, statistics
    )


def evaluation_image(encoded, preprocessing, statistics, compiled=True):
    """Makes the center crop for evaluation, float32 [crop, crop, 3].

    Args:
        encoded, preprocessing, statistics: as in `training_image`.
        compiled: whether to use XLA; False where it may not be available.
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
    """Makes center crops of decoded images, float32 [B, crop, crop, 3].

    The result is that of `evaluation_image` for encoded images.

    Args:
        images: [B, H, W, 3], RGB in [0, 255], of any size and dtype.
        preprocessing, statistics: as in `training_image`.
    """
    size, offset = preprocessing.crop_size, center_offset(preprocessing)
    shape = tf.shape(images)[1:3]
    step, position = resample.sampling_grid(shape, offset, preprocessing)
    translation = tf.cast(-position / step, tf.float32)
    pixels = resample.resample(images, [size, size], step, translation)
    pixels = tf.ensure_shape(pixels, [None, size, size, 3])
    pixels = tf.cast(pixels, tf.float32)
    pixels -= mean_pixels(offset, preprocessing, statistics)
    return _standardize(pixels, preprocessing, _std(preprocessing, statistics))


def ten_crop(encoded, preprocessing, statistics):
    """Makes the paper's ten crops of an image, float32 [10, crop, crop, 3].

    They are the corners (top left, top right, bottom left, bottom right) and the
    center of the central square, and these five mirrored (paper, section 4.1;
    convdata_jpeg.py:224-233). Their probabilities are averaged, not their
    logits.

    Args and errors as in `training_image`.
    """
    size = preprocessing.crop_size
    last = preprocessing.image_size - size
    square = center_square(encoded, preprocessing)
    crops, mirrored = [], []
    for y, x in [(0, 0), (0, last), (last, 0), (last, last), (last // 2,) * 2]:
        crop = tf.cast(square[y : y + size, x : x + size], tf.float32)
        mean = mean_pixels([y, x], preprocessing, statistics)
        crops.append(crop - mean)
        if _flips_mean(mean, preprocessing):
            mean = mean[:, ::-1]
        mirrored.append(crop[:, ::-1] - mean)
    std = _std(preprocessing, statistics)
    return _standardize(tf.stack(crops + mirrored), preprocessing, std)


def whole_image(encoded, short_side, preprocessing, statistics):
    """Makes an input of all of an image, float32 [1, H, W, 3].

    The image is resized as `preprocessing` says, but to another size, and is not
    cropped. The mean per channel is subtracted, since a mean image covers the
    central square only.

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
    mean_per_channel = dataclasses.replace(preprocessing, mean="channel")
    pixels -= mean_pixels([0, 0], mean_per_channel, statistics)
    return _standardize(pixels, preprocessing, _std(preprocessing, statistics))


def mean_pixels(offset, preprocessing, statistics):
    """Returns the mean to subtract from the crop at `offset`.

    It is float32 RGB [3], or [crop, crop, 3] if the preset subtracts a mean image.
    """
    return _crop_mean(_mean(preprocessing, statistics), offset, preprocessing)


def _augment_and_normalize(
    pixels,
    offset,
    flipped,
    color_shift,
    divisor,
    preprocessing,
    statistics,
    compiled=True,
):
    """Makes the network's input from a crop's pixels, float32 [crop, crop, 3].

    Args:
        pixels: uint8 [crop, crop, 3].
        offset: int32 [2], the crop's offset as in `decode_crop`.
        flipped: bool [], whether the crop is mirrored.
        color_shift: float32 [3], a color that is added after the mean is
            subtracted.
        divisor: a number by which the sum is divided.
        preprocessing, statistics: as in `training_image`.
        compiled: as in `evaluation_image`.
    """
    augment = _compiled if compiled else _uncompiled
    return augment(preprocessing)(
        pixels,
        tf.convert_to_tensor(offset),
        tf.convert_to_tensor(flipped),
        color_shift,
        tf.constant(divisor),
        _mean(preprocessing, statistics),
        _std(preprocessing, statistics),
    )


@functools.cache
def _compiled(preprocessing):
    """Compiles the augmentation into one pass over the image in place of eight.

    Eight passes took longer than reading a prepared image: two cores make 2,600
    crops a second with one pass, and 750 with eight.
    """
    return tf.function(
        _uncompiled(preprocessing), jit_compile=True, autograph=False
    )


def _uncompiled(preprocessing):
    return functools.partial(_augment, preprocessing)


def _augment(
    preprocessing, pixels, offset, flipped, color_shift, divisor, mean, std
):
    def maybe_flip(image):
        return tf.where(flipped, tf.reverse(image, [1]), image)

    mean = _crop_mean(mean, offset, preprocessing)
    if _flips_mean(mean, preprocessing):
        mean = maybe_flip(mean)
    image = maybe_flip(tf.cast(pixels, tf.float32)) - mean
    return _standardize((image + color_shift) / divisor, preprocessing, std)


def _mean(preprocessing, statistics):
    """Returns the mean, float32 RGB [3], or the mean image [S, S, 3]."""
    if preprocessing.mean == "image":
        return tf.constant(statistics.mean_image, tf.float32)
    published = preprocessing.channel_mean
    mean = statistics.channel_mean if published is None else published
    return tf.constant(mean, tf.float32)


def _crop_mean(mean, offset, preprocessing):
    """Crops a mean image as the preset says; returns a mean per channel as is."""
    if mean.shape.rank == 1:
        return mean
    if preprocessing.mean_position == "center":
        offset = center_offset(preprocessing)
    size = preprocessing.crop_size
    return tf.slice(mean, [offset[0], offset[1], 0], [size, size, 3])


def _flips_mean(mean, preprocessing):
    """Returns whether the mean is mirrored with the image.

    Caffe mirrors the difference of the two.
    """
    return preprocessing.mean_position == "crop" and mean.shape.rank == 3


def _std(preprocessing, statistics):
    """Returns the standard deviation per channel, float32 RGB [3]."""
    std = preprocessing.channel_std or tuple(statistics.channel_std)
    return tf.constant(std, tf.float32)


def _standardize(image, preprocessing, std):
    if preprocessing.divide_by_std:
        # A channel that is the same everywhere is 0 at this point and stays 0.
        image = tf.math.divide_no_nan(image, std)
    if preprocessing.channel_order == "bgr":
        image = image[..., ::-1]
    return image
