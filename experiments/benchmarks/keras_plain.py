"""AlexNet in plain Keras: standard layers, `fit` and default settings.

    python -m experiments.benchmarks.keras_plain training|inference [PRECISION]

PRECISION is float32 or mixed_bfloat16.
"""

import sys

from experiments.benchmarks import timing

BATCH_SIZE = 128


def build():
    """Returns the network with softmax outputs."""
    import keras
    import tensorflow as tf

    layers = keras.layers

    def normalize(maps):
        # TensorFlow has no bfloat16 kernel of this operation for CPUs.
        normalized = tf.nn.local_response_normalization(
            tf.cast(maps, tf.float32), depth_radius=2, bias=2.0, alpha=1e-4, beta=0.75
        )
        return tf.cast(normalized, maps.dtype)

    def norm():
        return layers.Lambda(normalize)

    def conv(filters, size, **kwargs):
        return layers.Conv2D(filters, size, activation="relu", **kwargs)

    return keras.Sequential(
        [
            keras.Input((224, 224, 3)),
            layers.ZeroPadding2D(((0, 3), (0, 3))),
            conv(96, 11, strides=4),
            norm(),
            layers.MaxPooling2D(3, 2),
            conv(256, 5, padding="same", groups=2),
            norm(),
            layers.MaxPooling2D(3, 2),
            conv(384, 3, padding="same"),
            conv(384, 3, padding="same", groups=2),
            conv(256, 3, padding="same", groups=2),
            layers.MaxPooling2D(3, 2),
            layers.Flatten(),
            layers.Dense(4096, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(4096, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(1000, activation="softmax", dtype="float32"),
        ]
    )


def main(task, precision="float32"):
    import keras
    import numpy as np
    import tensorflow as tf

    keras.config.set_dtype_policy(precision)
    model = build()
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9), "sparse_categorical_crossentropy"
    )
    images, labels = timing.random_batch(BATCH_SIZE)
    data = tf.data.Dataset.from_tensors((images, labels.astype(np.int32)))
    functions = {
        "training": lambda: model.fit(data, verbose=0),
        "inference": lambda: model.predict(images, batch_size=BATCH_SIZE, verbose=0),
    }
    timing.report(functions[task], BATCH_SIZE)


if __name__ == "__main__":
    main(*sys.argv[1:])
