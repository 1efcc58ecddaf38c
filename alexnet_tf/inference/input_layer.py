"""The preprocessing of published weights as a layer of a Keras model."""

import keras

from alexnet_tf import presets


@keras.saving.register_keras_serializable("alexnet_tf")
class PreprocessInput(keras.layers.Layer):
    """Applies `preprocess_input` to a batch of decoded images.

    Input: RGB [B, H, W, 3] in [0, 255] of any dtype. Output: float32
    [B, crop, crop, 3].

    Args:
        preset: a `presets.Preset`, or the dict that `presets.to_dict` returns for one.
        **kwargs: keyword arguments of `keras.layers.Layer`.

    Raises:
        ValueError: if the layer is applied to anything but RGB images.
    """

    def __init__(self, preset, **kwargs):
        # Half precision cannot represent all pixels after resizing.
        super().__init__(**{"dtype": "float32", **kwargs}, autocast=False)
        if isinstance(preset, dict):
            preset = presets.from_dict(preset)
        self.preset = preset
        # XLA cannot resize images.
        self.supports_jit = False

    def build(self, input_shape):
        if len(input_shape) != 4 or input_shape[-1] != 3:
            raise ValueError(
                "Expected RGB images [B, H, W, 3]. Received: shape "
                f"{tuple(input_shape)}."
            )

    def call(self, images):
        # This module is imported while another one is importing Keras. That one may be
        # `classifier`, which therefore cannot be imported at the top.
        from alexnet_tf.inference.classifier import preprocess_input

        return preprocess_input(images, self.preset)

    def compute_output_shape(self, input_shape):
        size = self.preset.preprocessing.crop_size
        return input_shape[0], size, size, 3

    def get_config(self):
        return {**super().get_config(), "preset": presets.to_dict(self.preset)}
