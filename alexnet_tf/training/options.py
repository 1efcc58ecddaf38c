"""Options of a training run that are not part of a preset."""

import dataclasses

from alexnet_tf import settings


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """Options of a training run, all of which are off by default.

    Attributes:
        early_stopping_patience: training ends when this number of evaluations in a row
            has not reached a new minimum of the top-1 validation error; None to train
            for all epochs. Not for the schedule "plateau", which ends by itself.
        keep_best: whether to keep the weights with the lowest top-1 validation error
            in the work directory, beside the newest checkpoint.
        class_weights: "balanced" to weight the loss of each class by
            `class_weights.balanced_weights`; None for equal weights. The weighted
            losses of a batch are summed and divided by the number of its images, in
            the update as in the loss that is logged for training. The validation loss
            and all errors are not weighted.
        warmup_epochs: the number of epochs in which the learning rate increases
            linearly in each step, see `optimizers.warmup_factor`.
        reference_batch_size: the batch size that the learning rate of the recipe is
            for. The learning rate is multiplied by the batch size and divided by this
            number; None to use it unchanged.
        eval_every: the number of epochs between two evaluations. The last epoch is
            always followed by an evaluation. The schedule "plateau" and
            `early_stopping_patience` count evaluations, but not an additional one at
            the end of a run that is continued later.

    Raises:
        ValueError: if a value is out of range.
    """

    early_stopping_patience: int | None = None
    keep_best: bool = False
    class_weights: str | None = None
    warmup_epochs: int = 0
    reference_batch_size: int | None = None
    eval_every: int = 1

    def __post_init__(self):
        for name, minimum in (
            ("early_stopping_patience", 1), ("warmup_epochs", 0),
            ("reference_batch_size", 1), ("eval_every", 1),
        ):  # fmt: skip
            value = getattr(self, name)
            if value != getattr(type(self), name):
                settings.check_integer(name, value, minimum)
        settings.check_choice("class_weights", self.class_weights, ("balanced", None))

    def changed(self):
        """Returns {name: value} of the options that are not at their defaults."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }
