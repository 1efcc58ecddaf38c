"""Keeps the kernels of the first convolution over the epochs of a run.

They are NumPy files in the folder kernels/ of the work directory, such as
conv1_00003.npy for the kernels after the third epoch and conv1_00000.npy for those
before training, whatever the convolution is called. A file takes 139 KB with the preset
`paper`.
"""

import contextlib
import logging
import os
import re

import keras
import numpy as np

from alexnet_tf.files import atomic_write
from alexnet_tf.models import alexnet

_log = logging.getLogger(__name__)
_FOLDER = "kernels"
_FILE_NAME = re.compile(r"conv1_(\d+)\.npy")
# The number of epochs that are recorded while the number of epochs doubles.
_EPOCHS_PER_DOUBLING = 16


class KernelRecorder(keras.callbacks.Callback):
    """Writes the kernels of the first convolution at the end of epochs.

    The initial kernels and all of the first 32 epochs are recorded, then every second
    one up to epoch 64, every fourth one up to epoch 128, and so on, and the last epoch
    of the run. A network without convolutions has no such files. An error while writing
    is logged, and training continues.

    Args:
        workdir: an existing directory.
        preset: the `presets.Preset` of the model.
        resumed: whether the run is resumed. Otherwise, kernels that an earlier run
            without a checkpoint has left are removed.
    """

    def __init__(self, workdir, preset, resumed):
        super().__init__()
        self._workdir, self._preset = workdir, preset
        self._resumed, self._epoch = resumed, None

    def on_train_begin(self, logs=None):
        if not self._resumed:
            with _logging_errors(0):
                for path in recorded_epochs(self._workdir).values():
                    os.remove(path)
            self._write(0)

    def on_epoch_end(self, epoch, logs=None):
        self._epoch = epoch + 1
        if is_recorded(self._epoch):
            self._write(self._epoch)

    def on_train_end(self, logs=None):
        if self._epoch is not None and not is_recorded(self._epoch):
            self._write(self._epoch)

    def _write(self, epoch):
        if alexnet.first_convolution(self.model) is None:
            return
        kernels = alexnet.rgb_kernels(self.model, self._preset)
        folder = os.path.join(self._workdir, _FOLDER)
        path = os.path.join(folder, f"conv1_{epoch:05d}.npy")
        with _logging_errors(epoch):
            os.makedirs(folder, exist_ok=True)
            with atomic_write(path) as temporary:
                np.save(temporary, kernels, allow_pickle=False)


@contextlib.contextmanager
def _logging_errors(epoch):
    """Logs errors while files are written or removed, which must not end a run."""
    try:
        yield
    except OSError as error:
        _log.warning("Could not keep the kernels of epoch %d: %s", epoch, error)


def is_recorded(epoch):
    """Returns whether a number of epochs is one after which kernels are always kept."""
    num_doublings = max((epoch // _EPOCHS_PER_DOUBLING).bit_length() - 1, 0)
    return epoch % 2**num_doublings == 0


def recorded_epochs(workdir):
    """Returns {epoch: path} of the kernels that a run has kept, in ascending order.

    Args:
        workdir: the work directory of the run.
    """
    folder = os.path.join(workdir, _FOLDER)
    names = os.listdir(folder) if os.path.isdir(folder) else []
    matches = [match for match in map(_FILE_NAME.fullmatch, sorted(names)) if match]
    return {int(match[1]): os.path.join(folder, match[0]) for match in matches}


def read_kernels(path):
    """Reads the kernels in a file, float32 RGB [H, W, 3, kernels].

    Raises:
        ValueError: if the file is damaged.
    """
    try:
        kernels = np.load(path, allow_pickle=False)
        if kernels.ndim == 4 and kernels.shape[2] == 3:
            return kernels
        reason = f"shape {list(kernels.shape)}"
    except (ValueError, EOFError) as error:
        reason = str(error)
    raise ValueError(f"{path} is damaged: expected kernels of images ({reason}).")
