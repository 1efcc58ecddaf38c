"""Tests which kernels a run keeps."""

import numpy as np
import pytest

from alexnet_tf.models import alexnet
from alexnet_tf.training import kernel_history
from helpers.networks import dense_preset
from helpers.networks import untrained_classifier


def test_keeps_at_most_16_epochs_for_each_doubling():
    recorded = [epoch for epoch in range(129) if kernel_history.is_recorded(epoch)]
    assert recorded == [*range(32), *range(32, 64, 2), *range(64, 129, 4)]


def make_recorder(path, classifier, resumed=False):
    recorder = kernel_history.KernelRecorder(str(path), classifier.preset, resumed)
    recorder.set_model(classifier.model)
    return recorder


def test_files_have_the_kernels_of_their_epochs_in_rgb_order(tmp_path):
    classifier = untrained_classifier(channel_order="bgr")
    kernel = classifier.model.get_layer("conv1").kernel
    recorder = make_recorder(tmp_path, classifier)
    recorder.on_train_begin()
    before = kernel.numpy()
    for epoch in (0, 32):
        kernel.assign(2 * kernel)
        recorder.on_epoch_end(epoch)
    paths = kernel_history.recorded_epochs(tmp_path)
    assert [*paths] == [0, 1]  # Epoch 33 is not kept until the run ends.
    recorder.on_train_end()
    paths = kernel_history.recorded_epochs(tmp_path)
    assert [*paths] == [0, 1, 33]
    for path, factor in zip(paths.values(), (1, 2, 4)):
        np.testing.assert_array_equal(
            kernel_history.read_kernels(path), factor * before[:, :, ::-1]
        )


def test_a_resumed_run_keeps_earlier_files_and_a_new_run_removes_them(tmp_path):
    classifier = untrained_classifier()
    make_recorder(tmp_path, classifier).on_train_begin()
    make_recorder(tmp_path, classifier).on_epoch_end(2)
    make_recorder(tmp_path, classifier, resumed=True).on_train_begin()
    assert [*kernel_history.recorded_epochs(tmp_path)] == [0, 3]
    make_recorder(tmp_path, classifier).on_train_begin()
    assert [*kernel_history.recorded_epochs(tmp_path)] == [0]


def test_errors_do_not_end_a_run(tmp_path, caplog):
    (tmp_path / "kernels").write_text("not a folder")
    make_recorder(tmp_path, untrained_classifier()).on_epoch_end(0)
    assert "Could not keep the kernels of epoch 1" in caplog.text


def test_a_network_without_convolutions_keeps_nothing(tmp_path):
    recorder = kernel_history.KernelRecorder(str(tmp_path), None, False)
    recorder.set_model(alexnet.AlexNet(dense_preset(), 10))
    recorder.on_train_begin()
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("content", [b"", b"not an array", np.zeros(3)])
def test_rejects_damaged_files(tmp_path, content):
    path = tmp_path / "conv1_00000.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    with pytest.raises(ValueError, match="00000.npy is damaged: expected kernels"):
        kernel_history.read_kernels(path)
