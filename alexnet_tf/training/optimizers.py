"""The paper's update rule, and the schedules of the learning rate."""

import keras

# PAPER 5: the learning rate is divided by 10, three times before the end.
_DROP_FACTOR = 10
_MAX_DROPS = 3

# "stepped_exponential" of the authors' later code: 4 levels from 1 down to 1/250
# (cuda-convnet2, layers/layer-params-imagenet-1gpu.cfg:6).
_LEVELS = 4
_TARGET_FACTOR = 250


@keras.saving.register_keras_serializable("alexnet_tf")
class MomentumSGD(keras.optimizers.SGD):
    """SGD with momentum and with weight decay inside the gradient.

        v <- momentum * v - weight_decay * lr * w - lr * gradient
        w <- w + v

    (paper, section 5; CHM weights.cu:146-198). Decay applies to kernels only
    (CHM layer.cu:565). Keras' `SGD(weight_decay=...)` differs: it does not add
    the decay to v, which makes it ten times weaker at momentum .9.

    The multipliers are constants of a traced step: after changing them, the
    step must be traced again.

    Args:
        learning_rate: the learning rate of the kernels, lr.
        momentum: the factor by which each step multiplies v.
        weight_decay: the weight decay of the kernels.
        bias_lr_multiplier: the learning rate of the biases, relative to that
            of the kernels.
        lr_multipliers: {layer name: the learning rate of its variables,
            relative to other layers}; variables with 0 do not change at all.
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
        self._are_kernels, self._layer_names = [], []

    def build(self, variables):
        super().build(variables)
        self._are_kernels = [is_kernel(variable) for variable in variables]
        self._layer_names = [variable.path.split("/")[0] for variable in variables]

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        multiplier = self.lr_multipliers.get(self._layer_names[index], 1.0)
        if multiplier == 0:
            return  # Remaining velocity is not applied either (CHM weights.cu:148).
        learning_rate = learning_rate * multiplier
        if self._are_kernels[index]:
            gradient = gradient + self.kernel_decay * variable
        else:
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
    """Returns whether weight decay applies to a Keras variable."""
    return variable.name == "kernel"


def learning_rate(recipe, epoch, errors):
    """Returns the learning rate of an epoch, or None if training has ended.

    It depends on nothing but the arguments, so that a resumed run continues
    with the same learning rate.

    Args:
        recipe: a `presets.Recipe`. Its schedule is one of
            "plateau": divided by 10 after each `patience` epochs without a
                lower error; training ends at the fourth such time (paper,
                section 5: when the validation error stopped improving, three
                times);
            "step": divided by 10 before each epoch in `boundaries`;
            "stepped_exponential": four levels, each for a quarter of the
                epochs, the last of which is a 250th of the first;
            "constant".
        epoch: the number of the epoch, from 0.
        errors: the validation errors of the epochs before it, in order.
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
        {layer name: its learning rate relative to other layers}).
    """
    biases = recipe.bias_lr_multiplier
    if kernel_learning_rate and not recipe.bias_lr_follows_schedule:
        biases *= recipe.learning_rate / kernel_learning_rate
    layers = {
        layer: factor
        for layer, first_epoch, factor in recipe.layer_lr_multipliers
        if first_epoch <= epoch
    }
    return biases, layers


def _count_plateaus(errors, patience):
    """Counts how often `patience` epochs passed without a new lowest error."""
    best, waited, plateaus = float("inf"), 0, 0
    for error in errors:
        waited += 1
        if error < best:
            best, waited = error, 0
        elif waited == patience:
            plateaus, waited = plateaus + 1, 0
    return plateaus
