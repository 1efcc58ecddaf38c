"""Turns encoded images into pixels, and pixels into the input of the network.

The operations are small, pure functions of one image that work eagerly and inside
`tf.data`. Training and evaluation share the first step (`decode_crop`) and the
last step (`_augment_and_normalize`). Before the last step, pixels are RGB in
[0, 255].

CHM and CC2 are the authors' code of 2012 and of 2014, see `presets`.
"""

import dataclasses
import functools

import tensorflow as tf

from alexnet_tf.data import decode
from alexnet_tf.data import resample
from alexnet_tf.data.separate_graph import NOT_OPTIMIZED


def decode_crop(encoded, offset, preprocessing):
    """Decodes a crop of the resized center square, uint8 RGB [crop, crop, 3].

    The image is resized so that its short side has `image_size` pixels (or both sides,
    if the preprocessing squashes it). The crop that begins at `offset` is taken from
    the center square of the resized image (paper, section 2).

    Only the pixels that the crop needs are decoded, yet the result is the same part of
    `center_square` (see `resample`). In crops of 1,500 images of random sizes, four
    values differed, by one gray level; they were in two images that are enlarged. An
    image that already has the right size is only cropped. Otherwise, each new pixel is
    the weighted average of the original pixels that are less than one new pixel away,
    horizontally and vertically, with weights that decrease linearly with the distance.
    This is antialiased bilinear interpolation, as in Pillow. The authors' later code
    shrinks with OpenCV's INTER_AREA, an average with equal weights over the area of the
    new pixel (CC2 make-data/pyext/src/pyext.cpp:102-131). On two photographs of 640 x
    427 pixels (china.jpg and flower.jpg of scikit-learn), the mean absolute difference
    at 256 pixels is .2 gray levels to Pillow, 1.8 and .6 to exact averages over areas,
    and 4.3 and 1.2 to bilinear interpolation without antialiasing.

    Args:
        encoded: string [], the bytes of a JPEG (including gray and CMYK), PNG, BMP,
            GIF or WebP.
        offset: int32 [2], (y, x) of the crop in the center square, in pixels.
        preprocessing: a `presets.Preprocessing`.

    Raises:
        tf.errors.InvalidArgumentError: if the bytes are not an image, the image has
            more than 134 million pixels, or a part of it is missing or damaged.
    """
    return _decoder(preprocessing)(
        tf.convert_to_tensor(encoded), tf.convert_to_tensor(offset)
    )


@functools.cache
def _decoder(preprocessing):
    """Returns `_decode_crop` as a `tf.function`, traced once for all pipelines.

    If `preprocessing` were an argument of the `tf.function`, the function would be
    traced again for an equal `Preprocessing` after the first one is deleted.
    """
    crop = functools.partial(_decode_crop, preprocessing)
    return tf.function(crop, autograph=False)


def _decode_crop(preprocessing, encoded, offset):
    """Decodes a crop as `decode_crop` does, with the arguments in a different order."""
    size, exif = preprocessing.crop_size, preprocessing.exif_orientation
    encoded, shape = decode.ensure_image(encoded, exif)
    resized = resample.resized_shape(shape, preprocessing)
    margin = (resized - preprocessing.image_size) // 2

    def crop_only():
        # The window extends four pixels beyond the crop: libjpeg interpolates the
        # colors at the crop's edges from two pixels around it.
        position = margin + offset
        start = tf.maximum(position - 4, 0)
        end = tf.minimum(position + size + 4, shape)
        window = decode.decode_window(encoded, start, end - start, exif)  # [h, w, 3]
        crop_start = tf.concat([position - start, [0]], axis=0)
        return tf.slice(window, crop_start, [size, size, 3])

    def resize_and_crop():
        start, end, step, translation = resample.crop_window(
            shape, offset, preprocessing
        )
        window = decode.decode_window(encoded, start, end - start, exif)  # [h, w, 3]
        images = window[tf.newaxis]  # [1, h, w, 3]
        return resample.resample(images, [size, size], step, translation)[0]

    pixels = tf.cond(tf.reduce_all(shape == resized), crop_only, resize_and_crop)
    return tf.ensure_shape(pixels, [size, size, 3])


def center_square(encoded, preprocessing):
    """Decodes the resized center square, uint8 RGB [image_size, image_size, 3].

    Args:
        encoded, preprocessing: as in `decode_crop`.

    Raises:
        tf.errors.InvalidArgumentError: as in `decode_crop`.
    """
    uncropped = dataclasses.replace(
        preprocessing, crop_size=preprocessing.image_size
    )
    return decode_crop(encoded, [0, 0], uncropped)


def random_offset(seed, preprocessing):
    """Draws the offset of a crop in the center square, int32 [2].

    Both coordinates are uniform from 0 to image_size - crop_size inclusive. Crops of
    224 of 256 pixels have 33 x 33 offsets, and 2,178 variants with the flips. The paper
    counts 2,048 of 32 x 32 offsets (section 4.1), but the authors' code draws from 33
    (CHM convdata_jpeg.py:238-246).

    Args:
        seed: int32 or int64 [2], the random seed.
        preprocessing: a `presets.Preprocessing`.
    """
    num_offsets = preprocessing.image_size - preprocessing.crop_size + 1
    return tf.random.stateless_uniform([2], seed, 0, num_offsets, tf.int32)


def center_offset(preprocessing):
    """Returns the offset of the center crop in the center square, int32 [2]."""
    margin = (preprocessing.image_size - preprocessing.crop_size) // 2
    return tf.constant([margin, margin])


def random_flip(seed):
    """Draws whether to mirror a crop left to right, bool [], with probability .5.

    Args:
        seed: int32 or int64 [2], the random seed.
    """
    return tf.random.stateless_uniform([], seed) < 0.5


def pca_color_shift(seed, statistics, strength):
    """Draws the color that is added to all pixels of an image, float32 RGB [3].

    The color is a sum over the principal components of the training split's RGB values.
    Each component is multiplied by the standard deviation along it and by a random
    number of mean 0 and standard deviation `strength` (paper, section 4.1). The paper
    multiplies by the eigenvalue, but the authors' code multiplies by its square root,
    the standard deviation (CHM convdata_jpeg.py:155-179). On the 0-255 scale, the
    largest eigenvalue would add about 1,500 gray levels.

    Args:
        seed: int32 or int64 [2], the random seed.
        statistics: a `pixel_statistics.Statistics` of the training split.
        strength: the standard deviation of the random numbers.
    """
    draws = tf.random.stateless_normal([3], seed, stddev=strength)
    scaled = draws * tf.cast(statistics.component_stds, tf.float32)
    components = tf.cast(statistics.components, tf.float32)  # columns
    return tf.linalg.matvec(components, scaled)


def training_image(encoded, seed, preprocessing, statistics, augment=None):
    """Computes a random crop for training, float32 [crop, crop, 3].

    Args:
        encoded: string [], the bytes of an image.
        seed: int32 or int64 [2], the random seed of crop, flip and color. Equal
            seeds give equal results.
        preprocessing: a `presets.Preprocessing`.
        statistics: a `pixel_statistics.Statistics` of the training split.
        augment: a function that changes the crop before it is mirrored, its colors are
            changed, and the mean is subtracted; see `check_augment`.

    Raises:
        tf.errors.InvalidArgumentError: as in `decode_crop`.
    """
    crop_seed, flip_seed, color_seed = tf.unstack(tf.random.split(seed, 3))
    offset = (
        random_offset(crop_seed, preprocessing)
        if preprocessing.random_crop
        else center_offset(preprocessing)
    )
    pixels = decode_crop(encoded, offset, preprocessing)
    if augment is not None:
        # `split` and `fold_in` draw different numbers from the same seed. AutoGraph
        # converts a `tf.function` even in a pipeline that is not converted.
        augmented = tf.function(augment)(pixels, tf.random.fold_in(seed, 3))
        pixels = tf.ensure_shape(augmented, pixels.shape)
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


def check_augment(augment, preprocessing):
    """Checks that a function is an augmentation of single images.

    It is called as augment(image, seed) within `tf.data`, with an image uint8 RGB
    [crop, crop, 3] and a random seed int32 [2] for functions such as
    `tf.image.stateless_random_brightness`. It returns an image of the same shape, of
    any integer or floating dtype, in [0, 255]. If all of its random numbers depend only
    on the seed, a resumed run draws the same ones.

    Args:
        augment: the function.
        preprocessing: a `presets.Preprocessing`.

    Raises:
        ValueError: if it is not a function, or returns something else. Errors that
            the function itself raises are not changed.
    """
    if not callable(augment):
        raise ValueError(
            "Expected augment to be a function of an image and a seed. Received: "
            f"augment={augment!r}."
        )
    shape = [preprocessing.crop_size, preprocessing.crop_size, 3]
    traced = tf.function(lambda *args: augment(*args)).get_concrete_function(
        tf.TensorSpec(shape, tf.uint8), tf.TensorSpec([2], tf.int32)
    )
    result = traced.structured_outputs
    is_image = (
        isinstance(result, tf.Tensor)
        and (result.dtype.is_integer or result.dtype.is_floating)
        and result.shape.is_compatible_with(shape)
    )
    if not is_image:
        raise ValueError(
            f"Expected augment to return one image {shape} of an integer or floating "
            f"dtype. Received: {result}."
        )


def evaluation_image(encoded, preprocessing, statistics, compiled=True):
    """Computes the center crop for evaluation, float32 [crop, crop, 3].

    Args:
        encoded, preprocessing, statistics: as in `training_image`.
        compiled: whether to use XLA; False where it may not be available.

    Raises:
        tf.errors.InvalidArgumentError: as in `decode_crop`.
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
    """Computes center crops of decoded images, float32 [B, crop, crop, 3].

    The crops are those that `evaluation_image` computes for encoded images, but for
    rounding: at some sizes, about one in ten, some pixels differ by one gray level.

    Args:
        images: RGB [B, H, W, 3] in [0, 255], of any size and dtype.
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
    """Computes the paper's ten crops of an image, float32 [10, crop, crop, 3].

    They are the corners (top left, top right, bottom left, bottom right) and the
    center of the center square, and these five crops mirrored. The paper (section
    4.1) and the authors' code (CHM convdata_jpeg.py:224-233) average the probabilities
    of the ten crops, not the logits.

    Args:
        encoded, preprocessing, statistics: as in `training_image`.

    Raises:
        tf.errors.InvalidArgumentError: as in `decode_crop`.
    """
    size = preprocessing.crop_size
    last = preprocessing.image_size - size
    middle = last // 2
    square = center_square(encoded, preprocessing)
    crops, mirrored = [], []
    for y, x in [(0, 0), (0, last), (last, 0), (last, last), (middle, middle)]:
        crop = tf.cast(square[y : y + size, x : x + size], tf.float32)
        mean = mean_pixels([y, x], preprocessing, statistics)
        crops.append(crop - mean)
        if _flips_mean(mean, preprocessing):
            mean = tf.reverse(mean, [1])
        mirrored.append(tf.reverse(crop, [1]) - mean)
    std = _std(preprocessing, statistics)
    return _standardize(tf.stack(crops + mirrored), preprocessing, std)


def whole_image(encoded, short_side, preprocessing, statistics):
    """Computes the network's input from a whole image, float32 [1, H, W, 3].

    The image is resized to `short_side` by the method of `preprocessing`, and is not
    cropped. The mean per channel is subtracted even if `preprocessing` subtracts a mean
    image, which covers only the center square.

    Args:
        encoded, preprocessing, statistics: as in `training_image`.
        short_side: the size that replaces `image_size`, in pixels.

    Raises:
        tf.errors.InvalidArgumentError: as in `decode_crop`.
    """
    resized = dataclasses.replace(preprocessing, image_size=short_side)
    exif = preprocessing.exif_orientation
    encoded, shape = decode.ensure_image(encoded, exif)
    size = resample.resized_shape(shape, resized)
    window = decode.decode_window(encoded, tf.zeros_like(shape), shape, exif)
    step = tf.cast(shape, tf.float64) / tf.cast(size, tf.float64)
    pixels = resample.resample(window[tf.newaxis], size, step, tf.zeros([2]))
    pixels = tf.cast(pixels, tf.float32)
    mean_per_channel = dataclasses.replace(preprocessing, mean="channel")
    pixels -= mean_pixels([0, 0], mean_per_channel, statistics)
    return _standardize(pixels, preprocessing, _std(preprocessing, statistics))


def mean_pixels(offset, preprocessing, statistics):
    """Returns the mean to subtract from the crop at `offset`.

    The mean is float32 RGB [3], or [crop, crop, 3] if the preprocessing subtracts a
    mean image.

    Args:
        offset: int32 [2], the offset of the crop as in `decode_crop`.
        preprocessing, statistics: as in `training_image`.
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
    """Computes the network's input from a crop's pixels, float32 [crop, crop, 3].

    Args:
        pixels: uint8 RGB [crop, crop, 3].
        offset: int32 [2], the offset of the crop as in `decode_crop`.
        flipped: bool [], whether to mirror the crop.
        color_shift: float32 RGB [3], the color to add after subtracting the mean.
        divisor: the number to divide by after adding the color.
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
    """Returns `_augment` for a preprocessing, compiled by XLA.

    The compiled function passes over the image once instead of eight times: two cores
    compute 2,600 crops per second with one pass, and 750 with eight. Eight passes took
    longer than reading a prepared image.
    """
    return tf.function(
        _uncompiled(preprocessing),
        jit_compile=True,
        autograph=False,
        experimental_attributes=NOT_OPTIMIZED,  # XLA optimizes it.
    )


def _uncompiled(preprocessing):
    """Returns `_augment` for a preprocessing, as a Python function."""
    return functools.partial(_augment, preprocessing)


def _augment(
    preprocessing, pixels, offset, flipped, color_shift, divisor, mean, std
):
    """Computes the network's input; see `_augment_and_normalize`.

    Args:
        mean, std: as returned by `_mean` and `_std`.
    """

    def maybe_flip(image):
        return tf.where(flipped, tf.reverse(image, [1]), image)

    mean = _crop_mean(mean, offset, preprocessing)
    if _flips_mean(mean, preprocessing):
        mean = maybe_flip(mean)
    image = maybe_flip(tf.cast(pixels, tf.float32)) - mean
    return _standardize((image + color_shift) / divisor, preprocessing, std)


def _mean(preprocessing, statistics):
    """Returns the mean per channel, float32 RGB [3], or the mean image.

    The mean image is float32 RGB [image_size, image_size, 3]. A published mean per
    channel in the preprocessing replaces that of the training split.
    """
    if preprocessing.mean == "image":
        return tf.constant(statistics.mean_image, tf.float32)
    published = preprocessing.channel_mean
    mean = statistics.channel_mean if published is None else published
    return tf.constant(mean, tf.float32)


def _crop_mean(mean, offset, preprocessing):
    """Returns the part of a mean image that is subtracted from the crop at `offset`.

    A mean per channel is returned unchanged.
    """
    if mean.shape.rank == 1:
        return mean
    if preprocessing.mean_position == "center":
        offset = center_offset(preprocessing)
    size = preprocessing.crop_size
    return tf.slice(mean, [offset[0], offset[1], 0], [size, size, 3])


def _flips_mean(mean, preprocessing):
    """Returns whether the mean is mirrored with the image.

    Caffe mirrors the image after subtracting the mean image at the crop's position,
    which is the same as mirroring both.
    """
    return preprocessing.mean_position == "crop" and mean.shape.rank == 3


def _std(preprocessing, statistics):
    """Returns the standard deviation per channel, float32 RGB [3].

    Published values in the preprocessing replace those of the training split.
    """
    std = preprocessing.channel_std or tuple(statistics.channel_std)
    return tf.constant(std, tf.float32)


def _standardize(image, preprocessing, std):
    """Divides by the standard deviation and orders the channels, if necessary."""
    if preprocessing.divide_by_std:
        # A channel with a standard deviation of 0 becomes 0.
        image = tf.math.divide_no_nan(image, std)
    if preprocessing.channel_order == "bgr":
        image = image[..., ::-1]
    return image
