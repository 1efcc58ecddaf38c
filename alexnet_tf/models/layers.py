"""The layers of AlexNet that Keras lacks.

They are serializable Keras layers for the TensorFlow backend. Their inputs and
outputs are [B, H, W, C]. The normalization layers compute in float32 under any dtype
policy, because activations reach hundreds for raw pixels, and the squares of such
activations overflow float16.
"""

import contextlib
import functools
import numbers
import threading

import keras
import tensorflow as tf

if keras.config.backend() != "tensorflow":
    raise ImportError(
        "Expected Keras with the backend tensorflow. Received: the backend "
        f"{keras.config.backend()}, from the environment variable KERAS_BACKEND or "
        "from keras.json. Set KERAS_BACKEND=tensorflow before Keras is imported."
    )

_register = keras.saving.register_keras_serializable("alexnet_tf")
# Whether `compiled_normalization` and `portable_convolutions` apply to the current
# thread.
_compiled_scope = threading.local()
_portable_scope = threading.local()


@contextlib.contextmanager
def compiled_normalization():
    """Lets `LocalResponseNormalization` call functions compiled with XLA in the body.

    The functions are compiled for each shape of the inputs, which takes half a second,
    and can be saved only in TensorFlow's format. The body is the code that traces or
    calls a model. Only the current thread is affected.

    For the preset `paper` on two CPU cores with AVX-512, they make inference 1.2 times
    as fast as TensorFlow's operation does, and the gradients 1.1 times. If there is a
    GPU, the layer remains TensorFlow's operation: XLA needs the library libdevice for
    GPUs, and many installations of TensorFlow do not find it.
    """
    with _activated(_compiled_scope):
        yield


@contextlib.contextmanager
def portable_convolutions():
    """Lets `GroupedConv2D` convolve each group separately in the body.

    The body is the code that traces a model before it is saved. A model that was saved
    with native grouped convolutions, which are faster on a GPU, cannot run on a CPU
    without oneDNN. Only the current thread is affected.
    """
    with _activated(_portable_scope):
        yield


@contextlib.contextmanager
def _activated(scope):
    previous = getattr(scope, "active", False)
    scope.active = True
    try:
        yield
    finally:
        scope.active = previous


def _has_gpu():
    return bool(tf.config.list_logical_devices("GPU"))


def _check_constants(*, bias, alpha, beta, **sizes):
    for name, value in sizes.items():
        if not (isinstance(value, numbers.Integral) and value > 0):
            raise ValueError(
                f"Expected {name} to be a positive integer. Received: "
                f"{name}={value}."
            )
    for name, value in {"bias": bias, "alpha": alpha, "beta": beta}.items():
        if not isinstance(value, numbers.Real):
            raise ValueError(
                f"Expected {name} to be a number. Received: {name}={value!r}."
            )
        # `not value > 0` is also true for NaN, and `value <= 0` is not.
        if name != "alpha" and not value > 0:
            raise ValueError(
                f"Expected {name} to be positive. Received: {name}={value}."
            )
    if not alpha >= 0:
        raise ValueError(
            f"Expected alpha to be 0 or positive. Received: alpha={alpha}."
        )


@_register
class LocalResponseNormalization(keras.layers.Layer):
    """Divides the input by (bias + alpha * sum of squares)^beta across channels.

    The sum is over `2 * depth_radius + 1` neighboring channels of the same pixel,
    and over fewer for the first and last channels (paper, section 3.3). `alpha`
    multiplies the sum itself. Caffe, PyTorch and the original source multiply it by
    alpha / n, where n is the number of channels in the sum, so their alpha must be
    divided by n.

    Input and output are [B, H, W, C] of any floating dtype.

    Args:
        depth_radius: the number of channels on each side; 2 for the paper's n = 5.
        bias: the paper's k, a positive number.
        alpha: the paper's alpha, a number of at least 0.
        beta: the paper's beta, a positive number.
        groups: the number of towers, which are normalized separately, as on the two
            GPUs of the original source (layers-145.cfg:35-45).
        **kwargs: keyword arguments of `keras.layers.Layer`.

    The layer is `tf.nn.local_response_normalization`, except in
    `compiled_normalization` without a GPU.

    Raises:
        ValueError: if an argument is out of range, the input is not [B, H, W, C], or
            `groups` does not divide the number of channels.
    """

    def __init__(
        self,
        depth_radius=2,
        bias=2.0,
        alpha=1e-4,
        beta=0.75,
        groups=1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        _check_constants(
            bias=bias,
            alpha=alpha,
            beta=beta,
            depth_radius=depth_radius,
            groups=groups,
        )
        # Saved configurations cannot contain NumPy scalars.
        self.depth_radius = int(depth_radius)
        self.bias = float(bias)
        self.alpha = float(alpha)
        self.beta = float(beta)
        self.groups = int(groups)

    def build(self, input_shape):
        _check_maps(input_shape)
        _check_groups(self.groups, input_shape[-1])

    def call(self, inputs):
        constants = self.depth_radius, self.bias, self.alpha, self.beta
        if getattr(_compiled_scope, "active", False) and not _has_gpu():
            return _compiled_normalization(*constants, self.groups)(inputs)
        maps = tf.cast(inputs, tf.float32)
        if self.groups == 1:
            normalized = tf.nn.local_response_normalization(maps, *constants)
        else:
            towers = [
                tf.nn.local_response_normalization(tower, *constants)
                for tower in tf.split(maps, self.groups, axis=-1)
            ]
            normalized = tf.concat(towers, axis=-1)
        return tf.cast(normalized, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "depth_radius": self.depth_radius,
            "bias": self.bias,
            "alpha": self.alpha,
            "beta": self.beta,
            "groups": self.groups,
        }


def _second_derivative(op, upstream):
    """Returns the gradients of the gradient of `tf.nn.local_response_normalization`.

    TensorFlow has the operation LRNGrad for the gradient, but no gradient of LRNGrad.
    Without it, no second derivative through a network could be computed.

    Args:
        op: the LRNGrad operation, whose inputs are the gradient of the loss with
            respect to the outputs, the inputs, and the outputs of the normalization.
        upstream: the gradient of the second loss with respect to the result of `op`.
    """
    gradient, inputs, _ = op.inputs
    names = ("depth_radius", "bias", "alpha", "beta")
    constants = [op.get_attr(name) for name in names]
    with tf.GradientTape() as tape:
        tape.watch([gradient, inputs])
        result = _normalization_gradient(inputs, gradient, *constants)
    # There is no gradient with respect to the outputs of the normalization: they are
    # functions of its inputs, whose gradient includes their part.
    return *tape.gradient(result, [gradient, inputs], upstream), None


# A gradient is registered already if this module has been reloaded, or if another
# package has registered one.
with contextlib.suppress(KeyError):
    tf.RegisterGradient("LRNGrad")(_second_derivative)


def _normalization_gradient(x, gradient, radius, bias, alpha, beta):
    """Returns the result of LRNGrad, computed with operations that have gradients."""
    s = bias + alpha * _window_sum(x * x, radius)
    sums = _window_sum(gradient * x * s ** (-beta - 1), radius)
    return gradient * s**-beta - 2 * alpha * beta * x * sums


def _window_sum(values, radius):
    """Sums over each channel, the last axis, and its neighbors."""
    channels = values.shape[-1]
    padding = [[0, 0]] * (values.shape.rank - 1) + [[radius, radius]]
    padded = tf.pad(values, padding)
    return tf.add_n([padded[..., i : i + channels] for i in range(2 * radius + 1)])


@functools.cache
def _compiled_normalization(radius, bias, alpha, beta, groups):
    """Returns a function that normalizes; it and its gradient are compiled with XLA.

    With s = bias + alpha * sum(x^2), where `sum` is over neighboring channels, x is the
    input, y the output, and dx and dy are the gradients of the loss with respect to x
    and y:

        y  = x s^-beta
        dx = dy s^-beta - 2 alpha beta x sum(p),   p = dy x s^-beta / s

    XLA fuses each of the three functions `forward`, `residual` and `backward` into
    one loop. Each of them computes s, because this is cheaper than storing s.
    `residual` computes p, because XLA would compute p once per neighbor if it were
    a part of `backward`.
    """

    def split(values):
        """Returns float32 [B, H, W, towers, C / towers]."""
        shape = tf.concat([tf.shape(values)[:-1], [groups, -1]], axis=0)
        tower_width = values.shape[-1] // groups
        towers = tf.reshape(tf.cast(values, tf.float32), shape)
        return tf.ensure_shape(towers, [None, None, None, groups, tower_width])

    def merge(values, like):
        """Reverses `split`: returns `values` with the shape and dtype of `like`."""
        return tf.cast(tf.reshape(values, tf.shape(like)), like.dtype)

    def factors(x):
        """Returns s and s^-beta."""
        s = bias + alpha * _window_sum(x * x, radius)
        if beta == 0.75:
            # Two square roots take a tenth of the time of the general power.
            root = tf.math.rsqrt(s)
            return s, root * tf.sqrt(root)
        return s, s**-beta

    @_compiled
    def forward(inputs):
        x = split(inputs)
        return merge(x * factors(x)[1], inputs)

    @_compiled
    def residual(inputs, gradient):
        x, dy = split(inputs), split(gradient)
        s, power = factors(x)
        return dy * x * power / s

    @_compiled
    def backward(inputs, gradient, p):
        x, dy = split(inputs), split(gradient)
        dx = dy * factors(x)[1] - 2 * alpha * beta * x * _window_sum(p, radius)
        return merge(dx, inputs)

    @tf.custom_gradient
    def normalize(inputs):
        def grad(gradient):
            return backward(inputs, gradient, residual(inputs, gradient))

        return forward(inputs), grad

    return normalize


def _compiled(function):
    return tf.function(function, jit_compile=True, autograph=False)


@_register
class SpatialResponseNormalization(keras.layers.Layer):
    """Divides the input by (bias + alpha * sum of squares)^beta within channels.

    The sum is over the `size` x `size` pixels around each pixel in the same channel,
    and over fewer at the edges. The original network has this layer after norm2,
    although the paper does not mention it (`type=rnorm`, layers-145.cfg:107-117).
    Caffe calls it WITHIN_CHANNEL. `alpha` multiplies the sum itself; the alpha of
    Caffe and of the original source must be divided by `size`^2.

    Input and output are [B, H, W, C] of any floating dtype.

    Args:
        size: the side of the window in pixels, an odd number.
        bias: the constant that is added to the scaled sum, a positive number.
        alpha: the factor of the sum, a number of at least 0.
        beta: the exponent, a positive number.
        **kwargs: keyword arguments of `keras.layers.Layer`.

    Raises:
        ValueError: if an argument is out of range, or the input is not [B, H, W, C].
    """

    def __init__(self, size=5, bias=1.0, alpha=4e-5, beta=0.75, **kwargs):
        super().__init__(**kwargs)
        _check_constants(bias=bias, alpha=alpha, beta=beta, size=size)
        if size % 2 == 0:
            raise ValueError(
                "Expected size to be odd, so that the window has a center. "
                f"Received: size={size}."
            )
        # Saved configurations cannot contain NumPy scalars.
        self.size = int(size)
        self.bias = float(bias)
        self.alpha = float(alpha)
        self.beta = float(beta)

    def build(self, input_shape):
        _check_maps(input_shape)

    def call(self, inputs):
        x = tf.cast(inputs, tf.float32)
        margin = self.size // 2
        padding = [[0, 0], [margin, margin], [margin, margin], [0, 0]]
        means = tf.nn.avg_pool2d(
            tf.pad(tf.square(x), padding), self.size, strides=1, padding="VALID"
        )
        sums = self.size**2 * means
        divisor = tf.pow(self.bias + self.alpha * sums, self.beta)
        return tf.cast(x / divisor, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "size": self.size,
            "bias": self.bias,
            "alpha": self.alpha,
            "beta": self.beta,
        }


@_register
class GroupedConv2D(keras.layers.Conv2D):
    """A `keras.layers.Conv2D` whose grouped convolutions train fast on a CPU.

    On a CPU, Keras compiles its own grouped convolutions with XLA, and training the
    preset `paper` takes four times as long as with this class.

    The filters and the channels are divided into `groups` equal parts, and the
    filters of a part are applied to the channels of the same part only, as on the
    paper's two GPUs (section 3.5). The kernel is [height, width, in / groups, out],
    as in Keras and in bvlc_alexnet.npy.

    Args:
        *args: positional arguments of `keras.layers.Conv2D`.
        implementation: "split" convolves each group separately and concatenates
            the results; "native" runs one grouped operation, the gradient of which
            requires oneDNN on a CPU; "auto" is "native" if there is a GPU, except in
            `portable_convolutions`, and "split" otherwise.
        **kwargs: keyword arguments of `keras.layers.Conv2D`. `data_format` may only be
            "channels_last", the default.

    Raises:
        ValueError: if `implementation` is unknown, `data_format` is not
            "channels_last", or `groups` does not divide the number of filters or of
            channels.
    """

    def __init__(self, *args, implementation="auto", **kwargs):
        # The default of Keras is `keras.config.image_data_format`. The data format is
        # the fifth positional argument.
        if len(args) < 5 and kwargs.get("data_format") is None:
            kwargs["data_format"] = "channels_last"
        super().__init__(*args, **kwargs)
        if implementation not in ("auto", "split", "native"):
            raise ValueError(
                'Expected implementation "auto", "split" or "native". '
                f"Received: implementation={implementation!r}."
            )
        if self.data_format != "channels_last":
            raise ValueError(
                'Expected data_format "channels_last", inputs of [B, H, W, C]. '
                f"Received: data_format={self.data_format}."
            )
        self.implementation = implementation

    def build(self, input_shape):
        _check_groups(self.groups, input_shape[-1])
        super().build(input_shape)

    def convolution_op(self, inputs, kernel):
        # `tf.nn.conv2d` itself is grouped if the kernel has fewer channels than the
        # inputs.
        num_parts = 1 if self._is_native() else self.groups
        outputs = [
            tf.nn.conv2d(
                maps,
                filters,
                self.strides,
                self.padding.upper(),
                dilations=self.dilation_rate,
            )
            for maps, filters in zip(
                tf.split(inputs, num_parts, axis=-1),
                tf.split(tf.convert_to_tensor(kernel), num_parts, axis=-1),
            )
        ]
        return tf.concat(outputs, axis=-1)

    def _is_native(self):
        if self.implementation == "auto":
            return _has_gpu() and not getattr(_portable_scope, "active", False)
        return self.implementation == "native"

    def get_config(self):
        return {**super().get_config(), "implementation": self.implementation}


def _check_maps(shape):
    if len(shape) != 4 or shape[-1] is None:
        raise ValueError(
            "Expected maps [B, H, W, C] with a fixed number of channels. Received: "
            f"input_shape={tuple(shape)}."
        )


def _check_groups(groups, channels):
    if channels % groups:
        raise ValueError(
            "Expected the number of channels to be divisible by groups. "
            f"Received: channels={channels}, groups={groups}."
        )
