"""The devices of `pytest --gpu`, and its report: which promises hold on GPUs."""

import inspect

import pytest

# A single GPU is divided into two logical devices for the tests that need two devices.
_MEGABYTES_OF_HALF = 3072


def configure_gpus():
    """Sets up the GPUs, and makes them compute float32 with all of its bits.

    TensorFloat-32, which GPUs use for float32 by default, has 10 bits of precision.
    """
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(False)
    gpus = tf.config.list_physical_devices("GPU")
    if len(gpus) == 1:
        half = tf.config.LogicalDeviceConfiguration(_MEGABYTES_OF_HALF)
        tf.config.set_logical_device_configuration(gpus[0], [half, half])
    else:
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)


def gpu_names(pretend):
    """Returns the names of the logical GPUs; skips the test if there is none.

    Args:
        pretend: whether to return CPU devices instead, without the first one.
    """
    import tensorflow as tf

    if pretend:
        return [device.name for device in tf.config.list_logical_devices("CPU")][1:]
    names = [device.name for device in tf.config.list_logical_devices("GPU")]
    if not names:
        pytest.skip("TensorFlow finds no GPU on this machine")
    return names


def note_promises(items):
    """Records the first line of each test's docstring for `report_promises`."""
    for item in items:
        promise = inspect.getdoc(item.function).partition("\n")[0]
        parameters = getattr(item, "callspec", None)
        suffix = f" ({parameters.id})" if parameters else ""
        item.user_properties.append(("promise", promise + suffix))


def report_promises(reporter):
    """Writes a line for each promise: whether it holds, does not, or was not tested.

    Args:
        reporter: the terminal reporter of pytest.
    """
    verdicts = {"passed": "holds", "failed": "DOES NOT HOLD", "skipped": "not tested"}
    reporter.section("Promises on GPUs")
    for outcome, verdict in verdicts.items():
        for report in reporter.stats.get(outcome, []):
            promise = dict(report.user_properties).get("promise")
            if outcome == "skipped":
                *_, reason = report.longrepr
                verdict = f"not tested, {reason.removeprefix('Skipped: ')}"
            reporter.line(f"{verdict}: {promise}")
