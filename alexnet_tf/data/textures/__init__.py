"""The data set `textures`, which this package generates."""

from alexnet_tf.data.textures.textures_dataset_builder import Builder as Textures
