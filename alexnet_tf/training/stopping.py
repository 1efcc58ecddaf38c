"""Decides which epochs are evaluated, when a run ends, and which epoch was the best.

The results depend only on the arguments, so they are the same for a resumed run and for
one that was never interrupted. `errors` is a list of the top-1 validation errors of the
completed epochs, with None for an epoch without an evaluation.
"""

from alexnet_tf.training import optimizers


def is_evaluated(completed, epochs, eval_every):
    """Returns whether there is an evaluation after an epoch.

    Args:
        completed: the number of epochs completed by then.
        epochs: the number of epochs of the run.
        eval_every: the number of epochs between two evaluations.
    """
    return completed % eval_every == 0 or completed == epochs


def without_extra_evaluations(errors, epochs, eval_every):
    """Returns the errors that a run of `epochs` epochs would have measured by now.

    A run that ends is evaluated after its last epoch. If it is continued, this
    evaluation may be one that a longer run would not have had. It does not change the
    schedule or the end of the longer run, but counts for the best weights.

    Args:
        errors: see the module docstring.
        epochs, eval_every: as for `is_evaluated`.
    """
    return [
        error if is_evaluated(completed, epochs, eval_every) else None
        for completed, error in enumerate(errors, 1)
    ]


def evaluations_since_best(errors):
    """Returns the number of evaluations after the first one with the lowest error."""
    errors = optimizers.measured(errors)
    return len(errors) - 1 - errors.index(min(errors)) if errors else 0


def is_best(errors):
    """Returns whether the last epoch has a lower error than all epochs before it."""
    is_measured = bool(errors) and errors[-1] is not None
    return is_measured and evaluations_since_best(errors) == 0


def end_reason(recipe, errors, options):
    """Returns why training has ended, or None if it goes on.

    Args:
        recipe: a `presets.Recipe`.
        errors: see the module docstring.
        options: a `TrainingOptions`.

    Returns:
        "epochs" after the last epoch, "plateau" after the fourth plateau of the error,
        "early_stopping" if the error has not reached a new minimum for long enough.
    """
    if len(errors) >= recipe.epochs:
        return "epochs"
    if optimizers.learning_rate(recipe, len(errors), errors) is None:
        return "plateau"
    patience = options.early_stopping_patience
    if patience is not None and evaluations_since_best(errors) >= patience:
        return "early_stopping"
    return None


def last_epoch(recipe, errors, options):
    """Returns the number of epochs after which a run with these errors ends.

    The result is None if the run has not ended by now.

    Args:
        recipe, errors, options: as for `end_reason`.
    """
    for completed in range(len(errors) + 1):
        if end_reason(recipe, errors[:completed], options):
            return completed
    return None
