"""Lists the commands of the package.

    python -m alexnet_tf
"""

import importlib

_COMMANDS = (
    "train", "evaluate", "predict", "extract", "visualize", "report", "export",
    "prepare", "serve_data", "benchmark",
)  # fmt: skip


def main():
    """Prints each command with the first line of its description."""
    print("The commands of alexnet_tf; each has a --help:\n")
    for name in _COMMANDS:
        module = importlib.import_module(f"alexnet_tf.{name}")
        description = module.__doc__.partition("\n")[0]
        print(f"  {f'python -m alexnet_tf.{name}':<34}{description}")


if __name__ == "__main__":
    main()
