"""Finds the images in folders, and says which other images cannot be decoded."""

import collections
import functools
import logging
import os
import re
import unicodedata

_log = logging.getLogger(__name__)

IMAGE_EXTENSIONS = (
    ".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp",
)  # fmt: skip

# The extensions of images that have to be converted before use. Files with any other
# extension are not images.
_OTHER_EXTENSIONS = (
    ".arw", ".avif", ".cr2", ".cr3", ".dng", ".heic", ".heif", ".ico", ".jp2", ".jxl",
    ".nef", ".orf", ".pgm", ".ppm", ".psd", ".raf", ".rw2", ".svg", ".tga", ".tif",
    ".tiff",
)  # fmt: skip
_ANIMATED_WEBP = "animated .webp"

# Folders of operating systems, storage devices and programs, in lower case. Their
# images are thumbnails, earlier versions or deleted files. The names of other such
# folders begin with a dot.
_SYSTEM_FOLDERS = {
    "#recycle", "#snapshot", "$recycle.bin", "@eadir", "@recently-snapshot", "@recycle",
    "__macosx", "__pycache__", "lost+found", "recycler", "system volume information",
}  # fmt: skip


def subfolders(path):
    """Returns the sorted names of the folders in a folder.

    Hidden folders and those of operating systems are left out.

    Raises:
        OSError: if the folder cannot be read.
    """
    return [entry.name for entry in _entries(path) if _is_folder(entry)]


def find_images(folder, recursive=True):
    """Returns (images, undecodable, others), lists of the paths of files.

    The entries of each folder are sorted by name, and a subfolder's files come at the
    position of its name. Hidden files and the folders of operating systems are left
    out.

    Args:
        folder: the path of the folder.
        recursive: whether to look in its subfolders too.

    Returns:
        images: the files with an extension in `IMAGE_EXTENSIONS`, without animated
            WebP images.
        undecodable: images of other kinds, and animated WebP images.
        others: all other files.

    Raises:
        OSError: if the folder or a subfolder cannot be read.
    """
    images, undecodable, others = [], [], []
    for path in _walk(folder, recursive, set()):
        kind = _kind(path)
        if kind in IMAGE_EXTENSIONS:
            images.append(path)
        else:
            is_image = kind in _OTHER_EXTENSIONS or kind == _ANIMATED_WEBP
            (undecodable if is_image else others).append(path)
    return images, undecodable, others


def find_file(path):
    """Returns the path of an existing file with the name in `path`, or None.

    If there is no file at `path` itself, other Unicode forms of it are tried: macOS
    writes an accented letter as two characters (NFD), other systems as one (NFC).
    """
    for form in (None, "NFC", "NFD"):
        candidate = unicodedata.normalize(form, path) if form else path
        if os.path.isfile(candidate):
            return candidate
    return None


def describe_undecodable(paths):
    """Returns a phrase such as "3 .heic, such as a/1.heic: convert them to JPEG".

    Args:
        paths: the paths of images that cannot be decoded, at least one.
    """
    counts = collections.Counter(map(_kind, paths))
    kinds = " and ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    return f"{kinds}, such as {paths[0]}: convert them to JPEG"


@functools.cache
def log_once(level, message):
    """Logs a message unless it has been logged already.

    A folder is scanned for each split, which would repeat the message.
    """
    _log.log(level, message)


def name_prefix(path):
    """Returns the name of an image file without its number, "cat" for a/cat.01.jpg.

    For other names it returns "".
    """
    match = re.fullmatch(r"(.*[^\W\d_])[\W\d_]*\d+[\W_]*\.\w+", os.path.basename(path))
    return match[1] if match else ""


def _walk(folder, recursive, visited):
    """Yields the paths of the files in a folder and its subfolders, in order.

    Args:
        folder, recursive: see `find_images`.
        visited: the real paths of the folders that have been visited. Each folder is
            visited once, so that a link to a folder above it is not followed forever.
    """
    real_path = os.path.realpath(folder)
    if real_path in visited:
        return
    visited.add(real_path)
    for entry in _entries(folder):
        if not _is_folder(entry):
            yield entry.path
        elif recursive:
            yield from _walk(entry.path, recursive, visited)


def _entries(folder):
    """Returns the entries of a folder, sorted by name.

    Hidden entries and the folders of operating systems are left out.
    """
    with os.scandir(folder) as entries:
        return sorted(
            (
                entry
                for entry in entries
                # Beside 1.jpg, macOS writes a file "._1.jpg" that is not an image.
                if not entry.name.startswith(".")
                and entry.name.lower() not in _SYSTEM_FOLDERS
            ),
            key=lambda entry: entry.name,
        )


def _is_folder(entry):
    try:
        return entry.is_dir()
    except OSError:
        # A link to itself, for instance. Reading it as a file reports the error.
        return False


def _kind(path):
    """Returns the extension of a file in lower case, or "animated .webp"."""
    extension = os.path.splitext(path)[1].lower()
    if extension == ".webp" and _is_animated_webp(path):
        return _ANIMATED_WEBP
    return extension


def _is_animated_webp(path):
    """Returns whether the extended header of a WebP file declares an animation."""
    try:
        with open(path, "rb") as file:
            header = file.read(21)
    except OSError:
        return False  # The error is reported when the image is read.
    return (
        len(header) == 21
        and header[:4] + header[8:16] == b"RIFFWEBPVP8X"
        and header[20] & 2 != 0
    )
