"""Checks of arguments and settings, and lists of names in arguments."""

import difflib
import numbers


def as_names(value):
    """Returns a tuple of names.

    Args:
        value: a name, several names, or None for no names.
    """
    if isinstance(value, str):
        return (value,)
    return tuple(value or ())


def some_of(names):
    """Returns at most four names as text, such as "a, b, c and 7 others"."""
    if len(names) <= 4:
        return ", ".join(names)
    return f"{', '.join(names[:3])} and {len(names) - 3} others"


def suggest(name, names):
    """Returns " Did you mean NAME?" if a name is similar to one of `names`, else "".

    Args:
        name: the name that was received.
        names: the names that exist.
    """
    similar = difflib.get_close_matches(str(name), names, n=1)
    return f" Did you mean {similar[0]}?" if similar else ""


def check_integer(name, value, minimum):
    """Raises a ValueError unless a value is an integer of at least `minimum`.

    Args:
        name: the name of the argument.
        value: the value. A boolean is not an integer.
        minimum: the smallest value.
    """
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not (is_integer and value >= minimum):
        raise ValueError(
            f"Expected {name} to be an integer of at least {minimum}. Received: "
            f"{name}={value!r}."
        )


def check_choice(name, value, choices):
    """Raises a ValueError unless a value is one of several.

    Args:
        name: the name of the argument.
        value: the value.
        choices: the strings that it may be, or None.
    """
    if value not in choices:
        names = (f'"{choice}"' if choice else "None" for choice in choices)
        raise ValueError(
            f"Expected {name} to be {' or '.join(names)}. Received: {name}={value!r}."
        )


def check_same(before, now, description, remedy):
    """Checks that no setting has changed.

    Args:
        before: {name: value}, the settings at the beginning.
        now: {name: value}, the present settings. A setting that is missing in `before`
            or in `now` counts as None there.
        description: the settings in words, as in "the settings of the run in
            runs/tiny".
        remedy: a sentence that says what to do.

    Raises:
        ValueError: if settings differ. The error names each of these settings.
    """
    changed = [
        name
        for name in {**before, **now}
        if before.get(name) != now.get(name)
    ]
    if changed:
        expected, received = (
            " ".join(
                f"no {name}" if values.get(name) is None else f"{name}={values[name]}"
                for name in changed
            )
            for values in (before, now)
        )
        raise ValueError(
            f"Expected {description}: {expected}. Received: {received}. {remedy}"
        )
