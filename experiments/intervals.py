"""Confidence intervals over seeds, and the verdicts that are based on them."""

import math

import numpy as np

# 97.5% quantiles of Student's t distribution with 1, 2, ... degrees of freedom.
_T_QUANTILES = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
    2.040, 2.037, 2.035, 2.032, 2.030, 2.028, 2.026, 2.024, 2.023,
)  # fmt: skip


def confidence_interval(values):
    """Returns the mean of values and the half width of the 95% Student's t interval.

    Args:
        values: 1 to 40 numbers, one per seed. The half width of the interval of a
            single number is infinite.
    """
    values = np.asarray(values, float)
    if len(values) < 2:
        return float(values.mean()), math.inf
    quantile = _T_QUANTILES[len(values) - 2]
    half_width = quantile * values.std(ddof=1) / math.sqrt(len(values))
    return float(values.mean()), float(half_width)


def p_value(differences):
    """Returns the two-sided p of the paired t test that a mean difference is 0.

    Args:
        differences: at least 2 numbers, one per seed, which are not all equal.
    """
    differences = np.asarray(differences, float)
    degrees = len(differences) - 1
    error = differences.std(ddof=1) / math.sqrt(len(differences))
    # With t = sqrt(degrees) tan(angle), the density of t becomes a power of a cosine.
    angle = math.atan(abs(differences.mean()) / error / math.sqrt(degrees))

    def area(first):
        angles = np.linspace(first, math.pi / 2, 10_001)
        return np.trapezoid(np.cos(angles) ** (degrees - 1), angles)

    return float(area(angle) / area(0.0))


def holm(p_values):
    """Returns p values that are corrected for several comparisons by Holm's method.

    The smallest of n is multiplied by n, the next by n - 1, and so on, and none is less
    than the one before or more than 1.
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def format_interval(mean, half_width):
    """Returns the ends of an interval as text, such as "+0.4 to +3.0"."""
    if math.isinf(half_width):
        return "no interval"
    return f"{_signed(mean - half_width)} to {_signed(mean + half_width)}"


def _signed(value):
    """Returns a number with a sign and one decimal.

    A number that would be rounded to 0 has one digit that is not 0 instead, so that an
    interval that includes 0 differs from one that does not.
    """
    return f"{value:+.1f}" if round(value, 1) or not value else f"{value:+.1g}"


def points_summary(points):
    """Returns the mean of percentage points and its 95% interval, as text.

    Args:
        points: numbers as for `confidence_interval`.
    """
    mean, half_width = confidence_interval(points)
    return f"{_signed(mean)} points ({format_interval(mean, half_width)})"


def paired_points(before, after):
    """Returns the differences of errors in percentage points, a list.

    Args:
        before, after: {seed: error in [0, 1]} of the two arms. Seeds that only one of
            them has are left out.
    """
    seeds = sorted(before.keys() & after.keys())
    return [100 * (after[seed] - before[seed]) for seed in seeds]


def compare(errors, other_errors, names):
    """Returns (text, number of seeds, verdict) for the claim that `errors` are lower.

    Args:
        errors, other_errors: as for `paired_points`.
        names: the labels of the two mean errors in the text, `errors` first.
    """
    seeds = sorted(errors.keys() & other_errors.keys())
    points = paired_points(errors, other_errors)
    means = ", ".join(
        f"{100 * np.mean([of_seeds[seed] for seed in seeds]):.1f}% {name}"
        for name, of_seeds in zip(names, (errors, other_errors))
    )
    text = f"{points_summary(points)}: {means}"
    return text, len(seeds), verdict(*confidence_interval(points))


def verdict(mean, half_width):
    """Returns the verdict on the claim that a difference is positive.

    Args:
        mean, half_width: the center and the half width of the 95% interval of the
            difference.

    Returns:
        "reproduced" if the whole interval is positive, "contradicted" if the whole
        interval is negative, "undecided" if the interval includes zero.
    """
    if mean - half_width > 0:
        return "reproduced"
    return "contradicted" if mean + half_width < 0 else "undecided"


def ratio_summary(ratios):
    """Returns (text, verdict) on the claim that a ratio is above 1.

    The mean is geometric, and the interval is computed from the logarithms. The result
    for the inverse ratios is therefore the inverse.

    Args:
        ratios: 1 to 40 positive numbers, one per seed.
    """
    mean, half_width = confidence_interval(np.log(ratios))
    ends = "no interval"
    if math.isfinite(half_width):
        low, high = math.exp(mean - half_width), math.exp(mean + half_width)
        ends = f"{low:.2f} to {high:.2f}"
    return f"{math.exp(mean):.2f} times ({ends})", verdict(mean, half_width)


def epochs_to(curve, target):
    """Returns the number of epochs until an error is reached, by interpolation.

    Args:
        curve: [(epoch, error), ...] in order. The error at epoch 0 is taken to be 1.
        target: the error to reach.

    Returns:
        A number of epochs, with a fraction, or infinity if the error is never reached.
    """
    last_epoch, last_error = 0, 1.0
    for epoch, error in curve:
        if error <= target:
            fraction = (last_error - target) / (last_error - error)
            return last_epoch + fraction * (epoch - last_epoch)
        last_epoch, last_error = epoch, error
    return math.inf
