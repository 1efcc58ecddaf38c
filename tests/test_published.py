"""The table of published weights, and downloads from a server on the loopback."""

import concurrent.futures
import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import http.server
import logging
import multiprocessing
import os
import pathlib
import resource
import socket
import sys
import threading

import keras
import pytest

from alexnet_tf import presets
from alexnet_tf import published

CONTENT = bytes(range(256)) * 256
SHA256 = hashlib.sha256(CONTENT).hexdigest()
WRONG_CONTENT = CONTENT[::-1]


class Server(http.server.ThreadingHTTPServer):
    """A server that answers each path as a test has specified.

    Attributes:
        contents: {path: bytes to send, or the HTTP status of an error}.
        cut: {path: the number of bytes after which the connection is closed}.
        pausing: the paths for which the server pauses after half of the bytes.
        paused: an event that is set when the server pauses.
        go_on: an event for which a pausing server waits.
        requests: the paths of all requests, in order.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.contents = {}
        self.cut = {}
        self.pausing = set()
        self.paused = threading.Event()
        self.go_on = threading.Event()
        self.requests = []

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        content = self.server.contents.get(self.path, 404)
        if isinstance(content, int):
            self.send_error(content)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        content = content[: self.server.cut.get(self.path)]
        if self.path in self.server.pausing:
            self.wfile.write(content[: len(content) // 2])
            self.server.paused.set()
            self.server.go_on.wait(60)
            content = content[len(content) // 2 :]
        # The client may have been killed.
        with contextlib.suppress(ConnectionError):
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.go_on.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder of Keras' cache in which downloads are stored; it does not exist."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "keras" / "models"


@pytest.fixture
def publish(monkeypatch):
    """Adds a row called "small" to `WEIGHTS`.

    publish([url, ...], ...): one list of addresses for each alternative file. The files
        are called file0, file1, ...
    """

    def add_row(*urls_of_files):
        row = dataclasses.replace(
            published.WEIGHTS["torchvision"],
            name="small",
            files=tuple(
                published.PublishedFile(
                    f"file{index}", len(CONTENT), SHA256, tuple(urls)
                )
                for index, urls in enumerate(urls_of_files)
            ),
        )
        monkeypatch.setitem(published.WEIGHTS, "small", row)
        return row

    return add_row


def list_cache(cache):
    return sorted(os.listdir(cache))


def unused_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


# The table.


# {name: (preset, top-1 error, top-5 error, [(filename, bytes, SHA-256)])}
IMAGENET_WEIGHTS = {
    "torchvision": (
        "owt", 43.48, 20.93,
        [
            (
                "alexnet-owt-7be5be79.pth", 244408911,
                "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
            ),
        ],
    ),
    "bvlc_alexnet": (
        "caffe", 42.9, 19.8,
        [
            (
                "bvlcalexnet-12.onnx", 243863787,
                "6b0da9510f27f234ee96a85dc3809dd210150fdefad87f6850f9788513216945",
            ),
            (
                "bvlc_alexnet.caffemodel", 243862414,
                "4bff209a9837298157915ef50a4831a59636a6ca1a6b8ebacd990c3a5f3053e0",
            ),
        ],
    ),
    "bvlc_caffenet": (
        "caffenet", 42.6, 19.6,
        [
            (
                "caffenet-12.onnx", 243863798,
                "ea563e5c47d1f58e1717cf1a2d8bf288b8adc07af0ad228b622096cd243aeecb",
            ),
            (
                "bvlc_reference_caffenet.caffemodel", 243862418,
                "472d4a06035497b180636d8a82667129960371375bd10fcb6df5c6c7631f25e0",
            ),
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", IMAGENET_WEIGHTS)
def test_the_table_has_the_files_of_the_imagenet_weights(name):
    row = published.WEIGHTS[name]
    files = [(file.filename, file.bytes, file.sha256) for file in row.files]
    expected = IMAGENET_WEIGHTS[name]
    assert (row.preset, row.top1_error, row.top5_error, files) == expected
    assert (row.dataset, row.classes, row.folder) == ("imagenet2012", 1000, None)
    # torchvision's own convention: the name contains the first digits of the SHA-256.
    if name == "torchvision":
        assert row.files[0].sha256[:8] in row.files[0].filename


def test_the_addresses_of_the_files_are_the_published_ones():
    zoo = "https://huggingface.co/onnxmodelzoo/legacy_models/resolve"
    commit = "253614d982615fcf2ca39b51c2fdb3fa73693e94"
    folder = "validated/vision/classification"
    berkeley = "http://dl.caffe.berkeleyvision.org"
    urls = [file.urls for row in published.WEIGHTS.values() for file in row.files]
    assert urls == [
        ("https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",),
        (
            f"{zoo}/{commit}/{folder}/alexnet/model/bvlcalexnet-12.onnx",
            f"{zoo}/main/{folder}/alexnet/model/bvlcalexnet-12.onnx",
        ),
        (f"{berkeley}/bvlc_alexnet.caffemodel",),
        (
            f"{zoo}/{commit}/{folder}/caffenet/model/caffenet-12.onnx",
            f"{zoo}/main/{folder}/caffenet/model/caffenet-12.onnx",
        ),
        (f"{berkeley}/bvlc_reference_caffenet.caffemodel",),
    ]


def test_each_row_has_a_preset_and_either_files_or_a_folder():
    filenames = []
    for name, row in published.WEIGHTS.items():
        assert row.name == name
        assert row.preset in presets.PRESETS
        assert bool(row.files) != bool(row.folder)
        assert row.source and row.license
        filenames += [file.filename for file in row.files]
    assert len(set(filenames)) == len(filenames)
    assert "imagenet" not in published.WEIGHTS


# Names.


@pytest.mark.parametrize(
    ("weights", "preset", "name"),
    [
        ("torchvision", None, "torchvision"),
        ("torchvision", "owt", "torchvision"),
        ("tiny_textures", "tiny", "tiny_textures"),
        ("imagenet", "owt", "torchvision"),
        ("imagenet", "caffe", "bvlc_alexnet"),
        ("imagenet", presets.PRESETS["caffenet"], "bvlc_caffenet"),
    ],
)
def test_find_returns_the_row_of_a_name(weights, preset, name):
    assert published.find(weights, preset) is published.WEIGHTS[name]


@pytest.mark.parametrize(
    "weights",
    [None, "./imagenet", "weights.npy", "", pathlib.Path("imagenet"), ["imagenet"]],
)
def test_find_and_locate_leave_anything_else_alone(weights):
    assert published.find(weights) is None
    assert published.find(weights, "paper") is None
    assert published.locate(weights, "paper") is weights


def test_locate_replaces_the_home_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for weights in ("~/a.npy", pathlib.Path("~/a.npy")):
        assert published.locate(weights) == str(tmp_path / "a.npy")


@pytest.mark.parametrize("preset", ["paper", "tiny", None])
def test_imagenet_needs_a_preset_with_published_weights(preset):
    with pytest.raises(ValueError) as error:
        published.find("imagenet", preset)
    assert str(error.value) == (
        "Expected a preset with published weights for weights=imagenet. Received: "
        f"preset={preset!r}. These presets have some: owt (torchvision), caffe "
        "(bvlc_alexnet), caffenet (bvlc_caffenet)."
    )


def test_a_name_does_not_fit_another_preset():
    with pytest.raises(ValueError) as error:
        published.locate("torchvision", "caffe")
    assert str(error.value) == (
        "Expected preset=owt for weights=torchvision. Received: preset='caffe'. Leave "
        "the preset out, or give weights of caffe: bvlc_alexnet."
    )
    with pytest.raises(ValueError, match="preset='paper'. Leave the preset out[.]$"):
        published.find("torchvision", presets.PRESETS["paper"])


def test_download_rejects_names_that_are_not_in_the_table():
    message = "one of torchvision, .*cifar10_full. Received: name='imagenet'"
    with pytest.raises(ValueError, match=message):
        published.download("imagenet")


def test_weights_of_the_package_are_located_without_a_cache(cache):
    expected = pathlib.Path(published.__file__).parent / "pretrained" / "tiny_textures"
    assert published.download("tiny_textures") == str(expected)
    assert published.locate("tiny_textures", "tiny") == str(expected)
    assert not cache.exists()


# Downloads.


def test_downloads_a_file_once(server, cache, publish):
    server.contents["/good"] = CONTENT
    publish([server.url("/good")])
    path = published.download("small")
    assert path == str(cache / "file0")
    assert pathlib.Path(path).read_bytes() == CONTENT
    assert list_cache(cache) == ["file0"]
    assert published.locate("small") == path
    assert server.requests == ["/good"]


def test_imagenet_is_located_by_the_preset(server, cache, publish, monkeypatch):
    server.contents["/good"] = CONTENT
    row = publish([server.url("/good")])
    monkeypatch.setitem(
        published.WEIGHTS, "torchvision", dataclasses.replace(row, name="torchvision")
    )
    assert published.locate("imagenet", "owt") == str(cache / "file0")


@pytest.mark.parametrize(
    ("content", "cut", "reason"),
    [
        (WRONG_CONTENT, None, "its file has another SHA-256"),
        (
            CONTENT,
            1000,
            "retrieval incomplete: got only 1000 out of 65536 bytes",
        ),
        (404, None, "HTTP status 404"),
        (503, None, "HTTP status 503"),
    ],
    ids=["wrong hash", "cut short", "404", "503"],
)
def test_a_failed_download_leaves_nothing_and_the_next_address_is_tried(
    server, cache, publish, content, cut, reason
):
    server.contents["/bad"] = content
    server.cut["/bad"] = cut
    row = publish([server.url("/bad")])
    with pytest.raises(OSError) as error:
        published.download("small")
    assert str(error.value) == (
        "The weights small could not be downloaded (127.0.0.1:"
        f"{server.server_port}: {reason}). Get the file another way and save "
        f"{row.files[0].urls[0]} as {cache / 'file0'}."
    )
    assert list_cache(cache) == []

    server.contents["/good"] = CONTENT
    publish([server.url("/bad"), server.url("/good")])
    path = published.download("small")
    assert pathlib.Path(path).read_bytes() == CONTENT
    assert list_cache(cache) == ["file0"]
    assert server.requests == ["/bad", "/bad", "/good"]


def test_gives_up_on_a_silent_server(server, cache, publish, monkeypatch):
    monkeypatch.setattr(published, "_TIMEOUT_SECONDS", 0.2)
    server.contents.update({"/silent": CONTENT, "/good": CONTENT})
    server.pausing.add("/silent")
    publish([server.url("/silent")])
    with pytest.raises(OSError, match=r"127.0.0.1:\d+: timed out\)"):
        published.download("small")
    assert list_cache(cache) == []
    publish([server.url("/silent"), server.url("/good")])
    assert pathlib.Path(published.download("small")).read_bytes() == CONTENT
    assert socket.getdefaulttimeout() is None


def test_the_second_file_is_downloaded_if_no_address_has_the_first(
    server, cache, publish
):
    server.contents["/second"] = CONTENT
    missing = [server.url("/a"), server.url("/b")]
    publish(missing, [server.url("/second")])
    assert published.download("small") == str(cache / "file1")
    assert list_cache(cache) == ["file1"]
    assert server.requests == ["/a", "/b", "/second"]


def test_without_a_connection_one_line_says_what_to_do(cache, publish):
    host = f"127.0.0.1:{unused_port()}"
    publish([f"http://{host}/a", f"http://{host}/b"], [f"http://{host}/c"])
    with pytest.raises(OSError) as error:
        published.download("small")
    # The failures of three addresses are the same and named once.
    assert str(error.value) == (
        f"The weights small could not be downloaded ({host}: Connection refused). Get "
        f"the file another way and save http://{host}/a as {cache / 'file0'} or "
        f"http://{host}/c as {cache / 'file1'}."
    )


# The cache.


@pytest.mark.parametrize("filename", ["file0", "file1"])
def test_any_of_the_files_in_the_cache_is_used_offline(
    server, cache, publish, filename
):
    publish([server.url("/a")], [server.url("/b")])
    cache.mkdir(parents=True)
    (cache / filename).write_bytes(CONTENT)
    assert published.download("small") == str(cache / filename)
    assert server.requests == []


@pytest.mark.parametrize(
    ("content", "defect"),
    [
        (WRONG_CONTENT, "another SHA-256"),
        (CONTENT[:1000], "1,000 bytes instead of 65,536"),
    ],
)
def test_a_wrong_file_in_the_cache_is_reported_and_downloaded_again(
    server, cache, publish, caplog, content, defect
):
    publish([server.url("/good")])
    cache.mkdir(parents=True)
    (cache / "file0").write_bytes(content)
    with pytest.raises(OSError, match="HTTP status 404"):
        published.download("small")
    server.contents["/good"] = CONTENT
    path = published.download("small")
    assert pathlib.Path(path).read_bytes() == CONTENT
    assert caplog.messages == [
        f"{path} is not the published file ({defect}). It is downloaded again."
    ] * 2


def test_a_process_hashes_a_file_once_until_it_changes(cache, publish, monkeypatch):
    hashed = []
    file_digest = hashlib.file_digest

    def counting_digest(stream, algorithm):
        hashed.append(stream.name)
        return file_digest(stream, algorithm)

    monkeypatch.setattr(hashlib, "file_digest", counting_digest)
    host = f"127.0.0.1:{unused_port()}"
    publish([f"http://{host}/a"])
    cache.mkdir(parents=True)
    (cache / "file0").write_bytes(CONTENT)
    for _ in range(3):
        published.download("small")
    assert hashed == [str(cache / "file0")]
    (cache / "file0").write_bytes(WRONG_CONTENT)
    with pytest.raises(OSError):
        published.download("small")
    assert len(hashed) == 2


def test_a_downloaded_file_is_hashed_by_keras_only(
    server, cache, publish, monkeypatch
):
    server.contents["/good"] = CONTENT
    publish([server.url("/good")])
    monkeypatch.delattr(hashlib, "file_digest")
    assert published.download("small") == published.download("small")


def test_a_cache_that_is_not_writable_is_read(server, cache, publish, monkeypatch):
    """Downloads then go to /tmp/.keras, like those of Keras."""
    publish([server.url("/a")])
    cache.mkdir(parents=True)
    (cache / "file0").write_bytes(CONTENT)
    # The test may run as root, who may write everywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert published.download("small") == str(cache / "file0")
    assert published._cache_folders() == [str(cache), "/tmp/.keras/models"]


def test_a_cache_that_cannot_be_written_is_reported(cache, publish):
    publish(["http://127.0.0.1:9/a"])
    cache.parent.mkdir()
    cache.write_text("a file in the place of the folder")
    with pytest.raises(OSError) as error:
        published.download("small")
    assert str(error.value) == (
        f"The weights small could not be saved in {cache}: File exists. They need a "
        "writable folder with room for 65,536 bytes. The environment variable "
        "KERAS_HOME can name another one."
    )


def test_a_full_disk_is_reported_and_nothing_is_left(server, cache, publish):
    """A limit on the file size, smaller than the file, simulates a full disk."""
    server.contents["/good"] = CONTENT
    publish([server.url("/good"), server.url("/second")])
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OSError, match="saved in .*: File too large. They need"):
            published.download("small")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert list_cache(cache) == []
    assert server.requests == ["/good"]


# The progress bar.


@pytest.mark.parametrize("is_terminal", [False, True])
def test_progress_is_shown_on_terminals_only(
    server, cache, publish, monkeypatch, capsys, is_terminal
):
    server.contents["/good"] = CONTENT
    publish([server.url("/good")])
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    published.download("small")
    captured = capsys.readouterr()
    assert captured.err == ""
    assert ("65536/65536" in captured.out) == is_terminal
    assert bool(captured.out) == is_terminal
    assert keras.config.is_interactive_logging_enabled()


# Several processes.


def download_in_child(row, keras_home, results):
    """Downloads the weights of `row`; puts log messages and the path into a queue."""
    os.environ.update(KERAS_HOME=keras_home, no_proxy="*")
    published.WEIGHTS[row.name] = row
    handler = logging.Handler()
    handler.emit = lambda record: results.put(record.getMessage())
    logging.getLogger(published.__name__).addHandler(handler)
    results.put(published.download(row.name))


@pytest.fixture
def start_download(cache):
    """A function that starts `download_in_child` in a new process.

    start_download(row) returns the process and the queue.
    """
    context = multiprocessing.get_context("forkserver")
    # Otherwise, each process would import TensorFlow.
    context.set_forkserver_preload(["keras"])
    processes = []

    def start(row):
        results = context.Queue()
        arguments = (row, str(cache.parent), results)
        process = context.Process(target=download_in_child, args=arguments)
        process.start()
        processes.append(process)
        return process, results

    yield start
    for process in processes:
        process.kill()
        process.join()


def test_a_killed_download_leaves_nothing_that_is_used(
    server, cache, publish, start_download
):
    server.contents["/good"] = CONTENT
    server.pausing.add("/good")
    row = publish([server.url("/good")])
    process, _ = start_download(row)
    assert server.paused.wait(60)
    process.kill()
    process.join()
    server.pausing.clear()
    server.go_on.set()

    (leftover,) = list_cache(cache)
    assert leftover.startswith(".file0.") and leftover.endswith(".tmp")
    (cache / ".other.x1.tmp").mkdir()
    path = published.download("small")
    assert pathlib.Path(path).read_bytes() == CONTENT
    # The folder may have files of other programs, which are not removed.
    assert list_cache(cache) == [".other.x1.tmp", "file0"]
    assert server.requests == ["/good", "/good"]


def test_two_processes_download_a_file_once(server, cache, publish, start_download):
    server.contents["/good"] = CONTENT
    server.pausing.add("/good")
    row = publish([server.url("/good")])
    _, first = start_download(row)
    assert server.paused.wait(60)
    _, second = start_download(row)
    message = f"Waiting for another process that downloads to {cache}."
    assert second.get(timeout=60) == message
    server.go_on.set()

    path = str(cache / "file0")
    assert first.get(timeout=60) == path
    assert second.get(timeout=60) == path
    assert pathlib.Path(path).read_bytes() == CONTENT
    assert list_cache(cache) == ["file0"]
    assert server.requests == ["/good"]


def test_downloads_do_not_spoil_each_other_without_locks(
    server, cache, publish, monkeypatch
):
    def refuse(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    server.contents.update({"/slow": CONTENT, "/fast": CONTENT})
    server.pausing.add("/slow")
    publish([server.url("/slow")])
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        slow = executor.submit(published.download, "small")
        assert server.paused.wait(60)
        publish([server.url("/fast")])
        path = published.download("small")
        assert pathlib.Path(path).read_bytes() == CONTENT
        assert len(list_cache(cache)) == 2
        server.go_on.set()
        assert slow.result(60) == path
    assert pathlib.Path(path).read_bytes() == CONTENT
    assert list_cache(cache) == ["file0"]
    assert server.requests == ["/slow", "/fast"]
