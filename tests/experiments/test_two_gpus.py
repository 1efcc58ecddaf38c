"""The tensors that cross between two towers, counted in a small network."""

import pytest
import tensorflow as tf

from alexnet_tf import presets
from alexnet_tf.training import towers
from experiments import device_traffic
from experiments import two_gpus

# The first CPU device is left out: it would run the operations without a device.
DEVICES = ("/device:CPU:1", "/device:CPU:2")


@pytest.fixture
def two_towers():
    """`tiny` for images of 64 pixels and 7 classes on two devices."""
    strategy = tf.distribute.get_strategy()
    model_and_optimizer = two_gpus.build(presets.get("tiny"), strategy, 7, 64)
    return towers.Towers(*model_and_optimizer, DEVICES)


def test_towers_exchange_only_what_the_paper_lets_them_exchange(two_towers):
    """The maps of conv1, norm1 and pool1 have 15, 15 and 7 pixels a side."""
    recipe = presets.Recipe(batch_size=6)
    graph = two_gpus.trace_step(two_towers, recipe, 64).graph
    per_image = {
        "norm1": 4 * 15 * 15,
        "norm2": 4 * 7 * 7,
        "pool2 to conv3": 3 * 3 * 32,
        "pool5 to fc6": 1 * 1 * 32,
        "fc6 to fc7": 128,
        "fc7 to fc8": 128,
        "logits of three classes": 3,
    }
    # The learning rate, and the seeds of two dropout layers, two int64 each.
    constants = 4 + 2 * 16
    expected = 2 * 4 * 6 * sum(per_image.values()) + constants
    assert sum(device_traffic.crossings(graph).values()) == expected
    # Only arguments, variables and the result have no device.
    unplaced = {
        operation.type
        for operation in graph.get_operations()
        if not device_traffic.device_of(operation, graph)
    }
    assert unplaced == {"Placeholder", "Identity", "NoOp"}


def test_each_gradient_is_computed_on_the_device_of_its_weight(two_towers):
    devices = []

    @tf.function
    def differentiate(images):
        loss = tf.reduce_sum(two_towers(images, training=True))
        devices.extend(gradient.device for gradient in two_towers.gradients(loss))

    differentiate(tf.zeros([1, 64, 64, 3]))
    expected = [variable.value.device for variable in two_towers.trainable_variables]
    assert [d[-5:] for d in devices] == [d[-5:] for d in expected]
    assert [d[-5:] for d in devices[:2]] == ["CPU:1", "CPU:2"]


def test_table_has_the_megabytes_that_cross():
    """In `code2012`, 61,172 elements cross for each image, forward and backward."""
    line = {"arm": "code2012", "seed": 0, "final": True, "images_per_second": 60.0}
    log = [{**line, "crossing_bytes": 62_640_164}]
    rows = {name: values for name, *values in two_gpus.rows(log)}
    assert rows["pool2 to conv3, MB"] == ["44.3", "44.3", "-", "-", "-"]
    assert rows["norm1, MB"] == ["12.4", "-", "-", "-", "-"]
    assert rows["all, MB"] == ["78.0", "62.6", "487.7", "-", "-"]
    assert rows["all, counted in the graph, MB"] == ["-", "62.6", "-", "-", "-"]
    assert rows["images per second"] == ["-", "60.0", "-", "-", "-"]
