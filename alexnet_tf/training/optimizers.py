"""The paper's update rule, and how the learning rate falls."""

import keras

_DROP = 10  # PAPER 5: the learning rate is divided by 10, ...
_DROPS = 3  # ... three times before the end.

# "stepped_exponential" of the authors' later code: 4 levels from 1 down to 1/250
# (cuda-convnet2, layers/layer-params-imagenet-1gpu.cfg:6).
_LEVELS = 4
_TARGET_FACTOR = 250


@keras.saving.register_keras_serializable("alexnet_tf")
class MomentumSGD(keras.optimizers.SGD):
    """Momentum with weight decay inside the gradient.

        v <- momentum * v - weight_decay * lr * w - lr * gradient
        w <- w + v

    (paper, section 5; CHM weights.cu:146-198). Decay applies to kernels only
    (CHM layer.cu:565). Keras' own `SGD(weight_decay=...)` differs: it leaves
    the decay out of v, which makes it ten times weaker at momentum .9.

    Args:
        learning_rate: lr of the kernels.
        momentum: what is left of v after a step.
        weight_decay: for kernels.
        bias_lr_multiplier: lr of the biases over that of the kernels.
        lr_multipliers: {layer name: lr of its variables over the others'}; at
            0 they do not move at all.

    The multipliers are constants of a traced step: trace it anew to change
    them.
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
        self._kernels, self._layers = [], []

    def build(self, variables):
        super().build(variables)
        self._kernels = [is_kernel(variable) for variable in variables]
        self._layers = [variable.path.split("/")[0] for variable in variables]

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        multiplier = self.lr_multipliers.get(self._layers[index], 1.0)
        if multiplier == 0:
            return  # Not even by what is left of v (CHM weights.cu:148).
        learning_rate = learning_rate * multiplier
        if self._kernels[index]:
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
    """Whether weight decay applies to a Keras variable."""
    return variable.name == "kernel"


def learning_rate(recipe, epoch, errors):
    """The learning rate of an epoch, or None if training has ended.

    A function of what is past and nothing else, so that a resumed run finds
    the rate that it had.

    Args:
        recipe: a `presets.Recipe`. Its schedule is one of
            "plateau": divided by 10 after each `patience` epochs without a
                better error; ended at the fourth such time (paper, section 5:
                when the validation error stopped improving, three times);
            "step": divided by 10 before each epoch in `boundaries`;
            "stepped_exponential": four levels, each for a quarter of the epochs, the last a
                250th of the first;
            "constant".
        epoch: from 0.
        errors: validation errors of the epochs before it, in order.
    """
    if epoch >= recipe.epochs:
        return None
    match recipe.schedule:
        case "plateau":
            drops = _plateaus(errors, recipe.patience)
            if drops > _DROPS:
                return None
        case "step":
            drops = sum(epoch >= drop for drop in recipe.boundaries)
        case "stepped_exponential":
            level = _LEVELS * epoch // recipe.epochs
            factor = _TARGET_FACTOR ** (level / (_LEVELS - 1))
            return recipe.learning_rate / factor
        case "constant":
            drops = 0
    return recipe.learning_rate / _DROP**drops


def multipliers(recipe, epoch, rate):
    """(biases' learning rate over the kernels', {layer: its over the others'}).

    Args:
        recipe: a `presets.Recipe`.
        epoch: from 0.
        rate: what `learning_rate` gives for it.
    """
    biases = recipe.bias_lr_multiplier
    if rate and not recipe.bias_lr_follows_schedule:
        biases *= recipe.learning_rate / rate
    started = [entry for entry in recipe.layer_lr_multipliers if entry[1] <= epoch]
    return biases, {layer: factor for layer, _, factor in started}


def _plateaus(errors, patience):
    """How often the best error was not bettered for `patience` epochs."""
    best, waited, plateaus = float("inf"), 0, 0
    for error in errors:
        waited += 1
        if error < best:
            best, waited = error, 0
        elif waited == patience:
            plateaus, waited = plateaus + 1, 0
    return plateaus
