"""Checks of the arguments of `run.train_dataset`, before data are loaded."""

from alexnet_tf import settings
from alexnet_tf.training.fine_tuning import check_weights
from alexnet_tf.training import towers


def check_dataset(dataset):
    """Raises a ValueError if a data set is not given by its name."""
    if not isinstance(dataset, str):
        raise ValueError(
            f"Expected the name of a data set. Received: dataset={dataset!r}. Call "
            "alexnet_tf.training.train, which takes a Source for training and one for "
            "validation."
        )


def check_devices(strategy, num_devices, parallelism):
    """Raises a ValueError if the arguments that select devices exclude each other."""
    settings.check_choice("strategy", strategy, ("mirrored", "multi_worker"))
    settings.check_choice("parallelism", parallelism, ("data", "towers"))
    if strategy == "multi_worker":
        _check_not_both(
            "strategy=multi_worker", {"num_devices": num_devices},
            "A worker uses all GPUs that it sees (CUDA_VISIBLE_DEVICES).",
        )
    if parallelism == "towers" and strategy == "multi_worker":
        raise ValueError(
            "Expected --parallelism=towers or --strategy=multi_worker. Received: both. "
            "The towers are computed by two devices of one machine."
        )
    if parallelism == "towers" and num_devices not in (None, towers.NUM_TOWERS):
        raise ValueError(
            "Expected --num_devices=2 for --parallelism=towers, one device for each "
            f"tower. Received: --num_devices={num_devices}. Leave it out."
        )


def check_data(on_bad_image, data_service, strategy, cache, cache_features):
    """Raises a ValueError if the arguments of the pipeline exclude each other."""
    settings.check_choice("on_bad_image", on_bad_image, ("error", "skip"))
    if data_service is None:
        return
    if strategy == "multi_worker":
        _check_not_both(
            "strategy=multi_worker", {"data_service": data_service},
            "A worker decodes its own share of the images.",
        )
    _check_not_both(
        "data_service",
        {"cache": cache, "cache_features": cache_features},
        "Images that are kept in memory are not decoded by a data service.",
    )


def check_fine_tuning(weights, layout, reinit, freeze, train_layers, lr_mult):
    """Raises a ValueError if arguments are empty or exclude each other."""
    for name, value in (
        ("weights", weights), ("reinit", reinit), ("freeze", freeze),
        ("train_layers", train_layers), ("lr_mult", lr_mult),
    ):
        # An empty tuple or dictionary is the default; an empty string or list comes
        # from an empty flag.
        if value is not None and not value and value not in ((), {}):
            raise ValueError(
                f"Expected a value, or no --{name}. Received: an empty --{name}."
            )
    check_weights(weights, reinit=reinit, layout=layout)
    if freeze and train_layers:
        raise ValueError(
            "Expected --freeze or --train_layers. Received: both. Each of them says "
            "which layers are trained."
        )


def _check_not_both(flag, other_flags, reason):
    for name, value in other_flags.items():
        if value:
            raise ValueError(
                f"Expected --{flag} or --{name}. Received: both. {reason}"
            )
