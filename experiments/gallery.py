"""Draws the images of docs/figures.md with the commands on that page.

    python -m experiments.gallery
    python -m experiments.gallery --data_dir=~/tensorflow_datasets --only=crops,norms

Run it when a figure or the weights inside the package have changed. The images are
reduced to 720 pixels and 256 colors, so that the repository stays small. A file of less
than 40 KB is not changed: the color gradients of kernels need more colors.
"""

import contextlib
import os
import pathlib
import re
import shlex
import shutil
import tempfile

from PIL import Image

from alexnet_tf import cli
from alexnet_tf import visualize

DOCUMENTS = pathlib.Path(__file__).parents[1] / "docs"
_MAX_WIDTH = 720
_NUM_COLORS = 256
_SMALL_BYTES = 40_000

FLAGS = [
    cli.data_dir_flag(),
    cli.list_flag("only", [], "Names of images without .png. Default: all."),
]


def commands(page):
    """Returns {path of an image on the page: the arguments of `visualize`}.

    Args:
        page: the `pathlib.Path` of the page. The name of an image is that of the output
            of the command that draws it.
    """
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\((.*\.png)\)", text)
    links = {link.rpartition("/")[2]: link for link in links}
    arguments = {}
    for line in re.findall(r"^python -m alexnet_tf\.(visualize .*)$", text, re.M):
        output = re.search(r"--output=(\S+)", line)
        if output and output[1] in links:
            arguments[page.parent / links.pop(output[1])] = shlex.split(line)
    if links:
        raise ValueError(
            f"No command on {page} draws these images: {', '.join(links)}. Add a "
            "command with the name of the image as its --output."
        )
    return arguments


def reduce_image(source, target):
    """Writes a PNG with at most 720 pixels in width and 256 colors, if it is large."""
    if os.path.getsize(source) < _SMALL_BYTES:
        shutil.copyfile(source, target)
        return
    with Image.open(source) as image:
        image = image.convert("RGB")
        if image.width > _MAX_WIDTH:
            height = round(image.height * _MAX_WIDTH / image.width)
            image = image.resize((_MAX_WIDTH, height), Image.Resampling.LANCZOS)
        palette = image.quantize(_NUM_COLORS)
        dithered = image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
        dithered.save(target, optimize=True)


def _draw(args):
    data = [f"--data_dir={args.data_dir}"] if args.data_dir else []
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for path, arguments in commands(DOCUMENTS / "figures.md").items():
            if args.only and path.stem not in args.only:
                continue
            visualize.main([*arguments, *data])
            path.parent.mkdir(exist_ok=True)
            reduce_image(path.name, path)
            print(path, path.stat().st_size, "bytes")


def main(argv=None):
    cli.run("experiments.gallery", _draw, FLAGS, argv)


if __name__ == "__main__":
    main()
