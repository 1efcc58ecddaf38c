"""The pictures that a run was trained and measured on, to look at it by."""

import dataclasses
import os

from alexnet_tf import datasets
from alexnet_tf import workdir


@dataclasses.dataclass(frozen=True)
class RunData:
    """Where pictures come from; see the flags of `alexnet_tf.train`.

    Attributes:
        dataset: None if the run does not say.
        train_split: that the run was trained on.
        split: to measure and show; None for validation, else test.
        data_dir: of TFDS.
        skips: whether the run went on without the bad pictures, which are then
            left out here too.
    """

    dataset: str | None
    train_split: str
    split: str | None
    data_dir: str | None
    skips: bool = False

    def source(self):
        """The `datasets.Source` to measure and show; errors of `load`."""
        return self._load(self.split)

    def train_source(self):
        """The `datasets.Source` of the training split."""
        return self._load(self.train_split)

    def _load(self, split):
        source = datasets.load(self.dataset, split, self.data_dir)
        return source.without_bad() if self.skips else source


def find(weights, dataset=None, split=None, data_dir=None, otherwise=None):
    """The `RunData` asked for; what is not given is the run's.

    Of another data set than the run's, only what is given counts.

    Args:
        weights: the directory of a run, or a file of weights, which says
            nothing of its data.
        dataset, split, data_dir: of `RunData`, or None.
        otherwise: the data set where neither says one.
    """
    run = workdir.read_flags(weights) if os.path.isdir(weights) else {}
    if dataset not in (None, run.get("dataset")):
        run = {}
    return RunData(
        dataset or run.get("dataset", otherwise),
        run.get("train_split", "train"),
        split or run.get("eval_split"),
        data_dir or run.get("data_dir"),
        run.get("on_bad_image") == "skip",
    )
