"""The paper's update rule, and the schedules of the learning rate.

"CHM" is the authors' source code of 2012, see `presets`.
"""

import dataclasses

import keras

# In the paper (section 5), the learning rate is divided by 10 three times before the
# end of training.
_DROP_FACTOR = 10
_MAX_DROPS = 3

# "stepped_exponential" has 4 levels, from the initial learning rate down to a 250th of
# it, as in the authors' later code (cuda-convnet2,
# layers/layer-params-imagenet-1gpu.cfg:6).
_LEVELS = 4
_TARGET_FACTOR = 250


@keras.saving.register_keras_serializable("alexnet_tf")
class MomentumSGD(keras.optimizers.SGD):
    """SGD with momentum and with weight decay inside the gradient.

        v <- momentum * v - weight_decay * lr * w - lr * gradient
        w <- w + v

    (paper, section 5; CHM weights.cu:146-198). Decay applies to kernels only
    (CHM layer.cu:565), except for those given to `exclude_from_weight_decay`.
    Keras' `SGD(weight_decay=...)` differs: it does not add the decay to v, which
    makes the decay ten times weaker at momentum .9.

    Attributes:
        kernel_decay: the weight decay of the kernels. The attribute
            `weight_decay` of Keras remains None, because Keras would otherwise
            apply the decay of `SGD` too.
        bias_lr_multiplier, lr_multipliers: the arguments of the same names. They
            are constants of a traced training step, which must be traced again
            after a change.

    Args:
        learning_rate: the learning rate of the kernels, lr.
        momentum: the factor by which each step multiplies v.
        weight_decay: the weight decay of the kernels.
        bias_lr_multiplier: the learning rate of the biases, relative to that
            of the kernels.
        lr_multipliers: {layer name: the factor that the learning rate of its
            variables is multiplied by}, 1 by default. Variables with a factor
            of 0 do not change at all.
        **kwargs: arguments of `keras.optimizers.SGD`.
    """

    def __init__(
        self,
        learning_rate=0.01,
        momentum=0.9,
        weight_decay=0.0005,
        bias_lr_multiplier=1.0,
        lr_multipliers=None,
        **kwargs,
    ):
        super().__init__(learning_rate, momentum, **kwargs)
        self.kernel_decay = weight_decay
        self.bias_lr_multiplier = bias_lr_multiplier
        self.lr_multipliers = dict(lr_multipliers or {})
        self._are_kernels, self._are_decayed, self._layer_names = [], [], []

    def build(self, variables):
        super().build(variables)
        self._are_kernels = [is_kernel(variable) for variable in variables]
        self._are_decayed = [self.is_decayed(variable) for variable in variables]
        self._layer_names = [variable.path.split("/")[0] for variable in variables]

    def is_decayed(self, variable):
        """Returns whether the optimizer applies weight decay to a Keras variable."""
        return is_kernel(variable) and self._use_weight_decay(variable)

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        multiplier = self.lr_multipliers.get(self._layer_names[index], 1.0)
        if multiplier == 0:
            return  # The velocity is not applied either (CHM weights.cu:148).
        learning_rate = learning_rate * multiplier
        if self._are_decayed[index]:
            gradient = gradient + self.kernel_decay * variable
        if not self._are_kernels[index]:
            learning_rate = learning_rate * self.bias_lr_multiplier
        super().update_step(gradient, variable, learning_rate)

    def get_config(self):
        return {
            **super().get_config(),
            "weight_decay": self.kernel_decay,
            "bias_lr_multiplier": self.bias_lr_multiplier,
            "lr_multipliers": self.lr_multipliers,
        }


def is_kernel(variable):
    """Returns whether a Keras variable is a kernel, unlike a bias."""
    return variable.name == "kernel"


def learning_rate(recipe, epoch, errors):
    """Returns the learning rate of an epoch, or None if training has ended.

    The result depends only on the arguments, so that a resumed run continues
    with the same learning rate.

    Args:
        recipe: a `presets.Recipe`. Its schedule is one of
            "plateau": the learning rate is divided by 10 whenever `patience`
                evaluations in a row, one per epoch by default, bring no new
                minimum of the validation error. Training ends at the fourth
                such plateau. (The authors divided it three times, when
                the validation error stopped improving; paper, section 5.)
            "step": the learning rate is divided by 10 before each epoch in
                `boundaries`.
            "stepped_exponential": the learning rate has four levels, each for a
                quarter of the epochs. The last level is a 250th of the first.
            "constant": the learning rate does not change.
        epoch: the number of the epoch, from 0.
        errors: the validation errors of the previous epochs, in order; None for
            an epoch without an evaluation.
    """
    if epoch >= recipe.epochs:
        return None
    match recipe.schedule:
        case "plateau":
            drops = _count_plateaus(errors, recipe.patience)
            if drops > _MAX_DROPS:
                return None
        case "step":
            drops = sum(epoch >= boundary for boundary in recipe.boundaries)
        case "stepped_exponential":
            level = _LEVELS * epoch // recipe.epochs
            factor = _TARGET_FACTOR ** (level / (_LEVELS - 1))
            return recipe.learning_rate / factor
        case "constant":
            drops = 0
    return recipe.learning_rate / _DROP_FACTOR**drops


def multipliers(recipe, epoch, kernel_learning_rate):
    """Returns the learning rate multipliers of an epoch.

    Args:
        recipe: a `presets.Recipe`.
        epoch: the number of the epoch, from 0.
        kernel_learning_rate: the result of `learning_rate` for this epoch.

    Returns:
        (the learning rate of the biases relative to that of the kernels,
        {layer name: the factor that its learning rate is multiplied by}).
    """
    bias_multiplier = recipe.bias_lr_multiplier
    if kernel_learning_rate and not recipe.bias_lr_follows_schedule:
        bias_multiplier *= recipe.learning_rate / kernel_learning_rate
    # Later epochs of a layer override earlier ones.
    layer_multipliers = {
        layer: factor
        for layer, first_epoch, factor in sorted(
            recipe.layer_lr_multipliers, key=lambda entry: entry[1]
        )
        if first_epoch <= epoch
    }
    return bias_multiplier, layer_multipliers


def warmup_factor(step, warmup_steps):
    """Returns the factor by which warm-up reduces the learning rate of a step.

    It increases linearly from 0 before the first step to 1 in the last step of the
    warm-up, and then remains 1.

    Args:
        step: the number of the step, from 0.
        warmup_steps: the number of steps of the warm-up; 0 for none.
    """
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0


def scale_learning_rate(recipe, reference_batch_size):
    """Returns a copy of a recipe with a learning rate in proportion to the batch size.

    Args:
        recipe: a `presets.Recipe`.
        reference_batch_size: the batch size that its learning rate is for; None if it
            is for the batch size of the recipe.
    """
    if reference_batch_size is None:
        return recipe
    scale = recipe.batch_size / reference_batch_size
    return dataclasses.replace(recipe, learning_rate=recipe.learning_rate * scale)


def measured(errors):
    """Returns the errors that are not None, which marks an epoch without evaluation."""
    return [error for error in errors if error is not None]


def _count_plateaus(errors, patience):
    """Counts how often `patience` evaluations passed without a new lowest error."""
    best, waited, plateaus = float("inf"), 0, 0
    for error in measured(errors):
        waited += 1
        if error < best:
            best, waited = error, 0
        elif waited == patience:
            plateaus, waited = plateaus + 1, 0
    return plateaus
