"""The table of published weights, and the download of their files."""

import contextlib
import dataclasses
import errno
import functools
import hashlib
import logging
import os
import socket
import sys
import tempfile
import urllib.error
import urllib.parse

from alexnet_tf import files

_log = logging.getLogger(__name__)
_PRETRAINED_FOLDER = os.path.join(os.path.dirname(__file__), "pretrained")
# Berkeley's server is known to accept connections and then to send nothing.
_TIMEOUT_SECONDS = 30
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# {`_identity` of a file: its SHA-256} of the files that this process has read.
_DIGESTS = {}


@dataclasses.dataclass(frozen=True)
class PublishedFile:
    """One file with published weights.

    Attributes:
        filename: the name of the file in Keras' cache folder.
        bytes: the size of the file.
        sha256: the SHA-256 of the file in hexadecimal digits.
        urls: the addresses of the file, in the order in which they are tried.
    """

    filename: str
    bytes: int
    sha256: str
    urls: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class PublishedWeights:
    """A set of trained weights that has a name.

    The files of a set are downloaded, or they are in a folder of this package.

    Attributes:
        name: the name by which the set is chosen.
        preset: the name of the preset that the weights belong to.
        dataset: TFDS's name of the data set that the network was trained on.
        classes: the number of classes.
        top1_error: the published top-1 error in percent, for the center crop of the
            validation or test images; None if it is unknown.
        top5_error: the published top-5 error in percent; None if it is unknown.
        source: where the errors were published.
        license: the license of the weights.
        files: alternative files with the same weights, in the order in which they are
            tried; empty for weights inside the package.
        folder: the name of the folder in alexnet_tf/pretrained; None for weights
            that are downloaded.
        command: the command that trained weights inside the package.
        commit: the commit of this project at which they were trained.
        seed: the random seed with which they were trained.
    """

    name: str
    preset: str
    dataset: str
    classes: int
    top1_error: float | None
    top5_error: float | None
    source: str
    license: str
    files: tuple[PublishedFile, ...] = ()
    folder: str | None = None
    command: str | None = None
    commit: str | None = None
    seed: int | None = None


def _zoo_urls(path):
    """Returns the addresses of a file of the ONNX model zoo.

    The first one names the revision whose hashes are in the table. The second one
    reaches the same file if that revision is no longer stored.
    """
    repository = "https://huggingface.co/onnxmodelzoo/legacy_models/resolve"
    revision = "253614d982615fcf2ca39b51c2fdb3fa73693e94"
    folder = "validated/vision/classification"
    return tuple(f"{repository}/{name}/{folder}/{path}" for name in (revision, "main"))


# The sizes and hashes of the ONNX files are those of the Git LFS pointers in
# onnx/models at b1eeaa1, which had the same weights. The sizes of the .caffemodel files
# and the hash of the first one are those of openvinotoolkit/open_model_zoo at 07893b0;
# the hash of the second one is that of Homebrew's formula of Caffe.
_ROWS = (
    PublishedWeights(
        name="torchvision",
        preset="owt",
        dataset="imagenet2012",
        classes=1000,
        top1_error=43.48,
        top5_error=20.93,
        source="pytorch/vision, torchvision/models/alexnet.py, IMAGENET1K_V1",
        license="BSD-3-Clause",
        files=(
            PublishedFile(
                filename="alexnet-owt-7be5be79.pth",
                bytes=244_408_911,
                sha256=(
                    "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02"
                ),
                urls=(
                    "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
                ),
            ),
        ),
    ),
    PublishedWeights(
        name="bvlc_alexnet",
        preset="caffe",
        dataset="imagenet2012",
        classes=1000,
        top1_error=42.9,
        top5_error=19.8,
        source="BVLC/caffe at 9b89154, models/bvlc_alexnet/readme.md",
        license="unrestricted",
        files=(
            PublishedFile(
                filename="bvlcalexnet-12.onnx",
                bytes=243_863_787,
                sha256=(
                    "6b0da9510f27f234ee96a85dc3809dd210150fdefad87f6850f9788513216945"
                ),
                urls=_zoo_urls("alexnet/model/bvlcalexnet-12.onnx"),
            ),
            PublishedFile(
                filename="bvlc_alexnet.caffemodel",
                bytes=243_862_414,
                sha256=(
                    "4bff209a9837298157915ef50a4831a59636a6ca1a6b8ebacd990c3a5f3053e0"
                ),
                urls=(
                    "http://dl.caffe.berkeleyvision.org/bvlc_alexnet.caffemodel",
                ),
            ),
        ),
    ),
    PublishedWeights(
        name="bvlc_caffenet",
        preset="caffenet",
        dataset="imagenet2012",
        classes=1000,
        top1_error=42.6,
        top5_error=19.6,
        source="BVLC/caffe at 9b89154, models/bvlc_reference_caffenet/readme.md",
        license="unrestricted",
        files=(
            PublishedFile(
                filename="caffenet-12.onnx",
                bytes=243_863_798,
                sha256=(
                    "ea563e5c47d1f58e1717cf1a2d8bf288b8adc07af0ad228b622096cd243aeecb"
                ),
                urls=_zoo_urls("caffenet/model/caffenet-12.onnx"),
            ),
            PublishedFile(
                filename="bvlc_reference_caffenet.caffemodel",
                bytes=243_862_418,
                sha256=(
                    "472d4a06035497b180636d8a82667129960371375bd10fcb6df5c6c7631f25e0"
                ),
                urls=(
                    "http://dl.caffe.berkeleyvision.org/"
                    "bvlc_reference_caffenet.caffemodel",
                ),
            ),
        ),
    ),
    PublishedWeights(
        name="tiny_textures",
        preset="tiny",
        dataset="textures",
        classes=10,
        top1_error=0.0,
        top5_error=0.0,
        source="this project, on the 500 validation images",
        license="Apache-2.0",
        folder="tiny_textures",
        command="python -m alexnet_tf.train --epochs=24 --boundaries=18,22",
        commit="1d1cc16",
        seed=0,
    ),
    PublishedWeights(
        name="cifar10_full",
        preset="cifar10_full",
        dataset="cifar10",
        classes=10,
        top1_error=21.0,
        top5_error=1.42,
        source="this project, on 5,000 of the 10,000 test images, as JPEGs",
        license="Apache-2.0",
        folder="cifar10_full",
        command="python -m alexnet_tf.train --dataset=cifar10 --preset=cifar10_full",
        commit="cbfc5f7",
        seed=0,
    ),
)
WEIGHTS = {row.name: row for row in _ROWS}


def find(weights, preset=None):
    """Returns the `PublishedWeights` of a name, or None for anything else.

    A name takes precedence over a file of the same name, which can be given as
    "./imagenet".

    Args:
        weights: a name in `WEIGHTS`, "imagenet" for the first weights in `WEIGHTS` that
            were trained on ImageNet with the preset, or anything else, such as a path
            or None.
        preset: a `presets.Preset` or the name of one; None if it is not known.

    Raises:
        ValueError: if the weights belong to another preset, or if `weights` is
            "imagenet" and there is no preset or it has no weights for ImageNet.
    """
    if not isinstance(weights, str):
        return None
    preset = getattr(preset, "name", preset)
    if weights == "imagenet":
        return _find_imagenet(preset)
    row = WEIGHTS.get(weights)
    if row is not None and preset not in (None, row.preset):
        names = [other.name for other in WEIGHTS.values() if other.preset == preset]
        advice = f", or give weights of {preset}: {', '.join(names)}" if names else ""
        raise ValueError(
            f"Expected preset={row.preset} for weights={weights}. Received: {preset=}. "
            f"Leave the preset out{advice}."
        )
    return row


def _find_imagenet(preset):
    rows = [row for row in WEIGHTS.values() if row.dataset == "imagenet2012"]
    for row in rows:
        if row.preset == preset:
            return row
    known = ", ".join(f"{row.preset} ({row.name})" for row in rows)
    raise ValueError(
        "Expected a preset with published weights for weights=imagenet. Received: "
        f"{preset=}. These presets have some: {known}."
    )


def locate(weights, preset=None):
    """Returns the path of published weights, or `weights` if it is anything else.

    In a path, ~ is replaced by the home directory.

    Weights that are neither in this package nor in Keras' cache are downloaded.

    Args:
        weights: a name in `WEIGHTS`, "imagenet", or anything else, as for `find`.
        preset: a `presets.Preset` or the name of one; None if it is not known.

    Raises:
        ValueError: as for `find`.
        OSError: as for `download`.
    """
    row = find(weights, preset)
    if row is not None:
        return download(row.name)
    return files.expand_home(weights)


def download(name):
    """Returns the path of published weights, and downloads them if necessary.

    Downloads are stored in Keras' cache, the folder "models" in ~/.keras or in
    $KERAS_HOME. A file gets its name there only when it is complete and its SHA-256 is
    right. A file that is in the cache is used without a connection. A progress bar is
    shown if the output is a terminal.

    Args:
        name: a name in `WEIGHTS`.

    Returns:
        The path of the file, or of a folder for weights inside the package.

    Raises:
        ValueError: if there is no such name.
        OSError: if no address has the file, or the file cannot be saved. The message
            says where to get the file and where to put it, or what the folder needs.
    """
    if name not in WEIGHTS:
        raise ValueError(
            f"Expected the name of published weights, one of {', '.join(WEIGHTS)}. "
            f"Received: {name=}."
        )
    row = WEIGHTS[name]
    if row.folder is not None:
        return os.path.join(_PRETRAINED_FOLDER, row.folder)
    return _find_cached(row) or _download(row)


def _cache_folders():
    """Returns the folders that may have a file; the last one is for new files.

    The folders are those that Keras uses, which has no public function for them. Unlike
    in Keras, files in a cache that is not writable are used too, because such a cache
    may be shared by many machines.
    """
    home = os.path.expanduser(os.environ.get("KERAS_HOME", "~/.keras"))
    with contextlib.suppress(OSError):
        os.makedirs(home, exist_ok=True)
    homes = [home]
    if not os.access(home, os.W_OK):
        parent = "/tmp" if os.path.isdir("/tmp") else tempfile.gettempdir()
        homes.append(os.path.join(parent, ".keras"))
    return [os.path.join(home, "models") for home in homes]


def _find_cached(row):
    """Returns the path of any of the set's files in the cache, or None."""
    for file in row.files:
        for folder in _cache_folders():
            path = os.path.join(folder, file.filename)
            if _defect(path, file) is None:
                return path
    return None


def _defect(path, file):
    """Returns what is wrong with a file in the cache, or None if it is right.

    Each process hashes a file once, because users put files into the cache by hand.
    Hashing 244 MB takes .15 to .7 seconds, less than importing TensorFlow.
    """
    try:
        size = os.stat(path).st_size
        if size != file.bytes:
            return f"{size:,} bytes instead of {file.bytes:,}"
        if _sha256(path) != file.sha256:
            return "another SHA-256"
    except OSError as error:
        return error.strerror
    return None


def _sha256(path):
    with open(path, "rb") as stream:
        identity = _identity(os.fstat(stream.fileno()))
        if identity not in _DIGESTS:
            _DIGESTS[identity] = hashlib.file_digest(stream, "sha256").hexdigest()
    return _DIGESTS[identity]


def _identity(status):
    """Returns a key that changes whenever the contents of a file change."""
    return (
        status.st_dev, status.st_ino, status.st_size,
        status.st_mtime_ns, status.st_ctime_ns,
    )  # fmt: skip


class _DownloadError(Exception):
    """The error that one address, or every address, does not have a file."""


def _download(row):
    """Downloads one of the set's files, and returns its path.

    Waits for any other process that downloads to the same folder.
    """
    folder = _cache_folders()[-1]
    try:
        os.makedirs(folder, exist_ok=True)
        on_wait = functools.partial(
            _log.warning, "Waiting for another process that downloads to %s.", folder
        )
        # Without locks, two processes may download the same file.
        with files.lock_folder(folder, on_wait) as is_locked:
            if is_locked:
                for file in row.files:
                    files.remove_unfinished(folder, file.filename)
            # Another process may have downloaded a file since the last look.
            return _find_cached(row) or _try_addresses(row, folder)
    except _DownloadError as error:
        choices = " or ".join(
            f"{file.urls[0]} as {os.path.join(folder, file.filename)}"
            for file in row.files
        )
        raise OSError(
            f"The weights {row.name} could not be downloaded ({error}). Get the file "
            f"another way and save {choices}."
        ) from error
    except OSError as error:
        raise OSError(
            f"The weights {row.name} could not be saved in {folder}: "
            f"{error.strerror or error}. They need a writable folder with room for "
            f"{max(file.bytes for file in row.files):,} bytes. The environment "
            "variable KERAS_HOME can name another one."
        ) from error


def _try_addresses(row, folder):
    """Downloads the first of the set's files that any address has; returns its path.

    Raises:
        _DownloadError: if no address has any of the files.
        OSError: if a file cannot be saved.
    """
    failures = []
    for file in row.files:
        path = os.path.join(folder, file.filename)
        if os.path.exists(path):
            _log.warning(
                "%s is not the published file (%s). It is downloaded again.",
                path, _defect(path, file),
            )  # fmt: skip
        for url in file.urls:
            try:
                with files.atomic_write(path) as temporary:
                    _get_file(url, temporary, file.sha256)
            except _DownloadError as error:
                failures.append(f"{urllib.parse.urlsplit(url).netloc}: {error}")
            else:
                # Keras has just computed the digest.
                _DIGESTS[_identity(os.stat(path))] = file.sha256
                return path
    raise _DownloadError("; ".join(dict.fromkeys(failures)))


def _get_file(url, path, sha256):
    """Downloads a file to a path at which there is none, and checks its SHA-256.

    `keras.utils.get_file` may leave a partial file, or one with a wrong hash. Therefore
    `path` has to be a temporary one.

    Raises:
        _DownloadError: if the address does not have the file.
        OSError: if the disk is full.
    """
    # Keras imports TensorFlow, which takes seconds. Commands that print their help,
    # and files that are in the cache, do not need it.
    import keras

    folder, filename = os.path.split(path)
    try:
        with _quiet_without_terminal(keras.config), _socket_timeout():
            keras.utils.get_file(
                filename,
                url,
                file_hash=sha256,
                hash_algorithm="sha256",
                cache_subdir=folder,
            )
    except Exception as error:  # Keras raises errors of no particular class.
        if isinstance(error, OSError) and error.errno in _FULL_DISK:
            raise
        raise _DownloadError(_reason(error)) from error


@contextlib.contextmanager
def _quiet_without_terminal(config):
    """Keeps Keras from printing a progress bar to a file or a pipe."""
    quiet = config.is_interactive_logging_enabled() and not sys.stdout.isatty()
    if quiet:
        config.disable_interactive_logging()
    try:
        yield
    finally:
        if quiet:
            config.enable_interactive_logging()


@contextlib.contextmanager
def _socket_timeout():
    """Limits the wait for a server, for which `get_file` has no argument."""
    timeout = socket.getdefaulttimeout()
    if timeout is None:
        socket.setdefaulttimeout(_TIMEOUT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(timeout)


def _reason(error):
    """Returns a few words about an error of `keras.utils.get_file`."""
    # For errors of urllib, Keras raises an error of class Exception while it handles
    # them. Their own text is shorter.
    if isinstance(error.__context__, urllib.error.URLError):
        error = error.__context__
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP status {error.code}"
    if isinstance(error, urllib.error.URLError):
        error = error.reason
    elif isinstance(error, ValueError) and "hash" in str(error):
        return "its file has another SHA-256"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())[:100]
