"""The check that something is continued with the settings that it began with."""


def check_same(before, now, description, remedy):
    """Raises an error that names each setting that has changed.

    Args:
        before: {name: value}, the settings that it began with.
        now: {name: value}, the present settings. A name that only one of the two has
            counts as changed, unless its value is None.
        description: what is continued, as in "the run in runs/tiny".
        remedy: a sentence that says what to do.

    Raises:
        ValueError: if the settings differ.
    """
    names = [
        name
        for name in {**before, **now}
        if before.get(name) != now.get(name)
    ]
    if names:
        old, new = (
            " ".join(
                f"{name}={values[name]}"
                for name in names
                if values.get(name) is not None
            )
            or "nothing"
            for values in (before, now)
        )
        raise ValueError(
            f"Expected the settings of {description}: {old}. Received: {new}. {remedy}"
        )
