"""The data set `textures`, which this package draws itself."""

from alexnet_tf.data.textures.textures_dataset_builder import Builder as Textures
