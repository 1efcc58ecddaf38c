"""The embedded data set."""

from alexnet_tf.data.textures.textures_dataset_builder import Builder as Textures
