"""Tests of the behavior on Windows and macOS, as far as they can run on Linux.

`hide_what_windows_lacks` and `refuse_what_windows_refuses` make a process resemble one
on Windows. They can imitate neither the libraries that are built for Windows nor its
paths, which are tested with `ntpath`.
"""

import ast
import codecs
import contextlib
import errno
import importlib
import ntpath
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import types

import pytest

from alexnet_tf.files import lock_folder
from alexnet_tf.workdir import locked
from alexnet_tf.workdir import truncate_metrics
from alexnet_tf.workdir import WorkDirectoryInUse

ROOT = pathlib.Path(__file__).parents[1]
MODULES = sorted((ROOT / "alexnet_tf").rglob("*.py"))

# The modules, and the attributes of modules, that Windows lacks.
POSIX_MODULES = {
    "crypt", "curses", "fcntl", "grp", "nis", "posix", "pty", "pwd", "readline",
    "resource", "spwd", "syslog", "termios", "tty",
}  # fmt: skip
POSIX_ATTRIBUTES = {
    "os": {
        "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_SYNC", "WNOHANG",
        "chown", "chroot", "confstr", "copy_file_range", "fchmod", "fchown", "fork",
        "forkpty", "getegid", "geteuid", "getgid", "getgroups", "getloadavg", "getpgid",
        "getpgrp", "getpriority", "getsid", "getuid", "getxattr", "initgroups",
        "killpg", "lchown", "memfd_create", "mkfifo", "mknod", "nice", "openpty",
        "pathconf", "pread", "pwrite", "register_at_fork", "sched_getaffinity",
        "sched_setaffinity", "sched_yield", "sendfile", "setgid", "setpriority",
        "setsid", "setuid", "setxattr", "statvfs", "sync", "sysconf", "ttyname",
        "uname", "wait", "wait3", "wait4",
    },
    "signal": {
        "ITIMER_REAL", "SIGALRM", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL", "SIGPIPE",
        "SIGQUIT", "SIGSTOP", "SIGTSTP", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGXFSZ",
        "alarm", "getitimer", "pause", "pthread_kill", "pthread_sigmask", "setitimer",
        "siginterrupt", "sigpending", "sigtimedwait", "sigwait", "sigwaitinfo",
    },
    "select": {"epoll", "poll"},
    "time": {"tzset"},
}  # fmt: skip
# Uses of these attributes after a check with `hasattr` or of `os.name`.
CHECKED_ATTRIBUTES = {
    "alexnet_tf/native_messages.py: os.WNOHANG",
    "alexnet_tf/native_messages.py: os.fork",
    "alexnet_tf/native_messages.py: signal.SIGHUP",
    "alexnet_tf/training/environment.py: os.sched_getaffinity",
}
RESERVED_NAME = re.compile(
    r'(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?|.*[<>:"\\|?*\x00-\x1f].*|.*[ .]'
)
RUN = "runs/images-tiny"  # The work directory of `train_and_use`.


# Imports, attributes, and other uses of the system.


def nodes(path, *kinds):
    """Yields the nodes of some types in the syntax tree of a Python file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, kinds):
            yield node


def test_no_module_imports_at_its_top_what_windows_lacks():
    for path in MODULES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = set()
            if isinstance(node, ast.Import):
                names = {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names = {node.module.split(".")[0]}
            assert not names & POSIX_MODULES, path


def test_no_module_uses_attributes_that_windows_lacks():
    used = {
        f"{path.relative_to(ROOT).as_posix()}: {node.value.id}.{node.attr}"
        for path in MODULES
        for node in nodes(path, ast.Attribute)
        if isinstance(node.value, ast.Name)
        and node.attr in POSIX_ATTRIBUTES.get(node.value.id, ())
    }
    assert used == CHECKED_ATTRIBUTES


def test_no_module_starts_processes_with_fork():
    """Windows has only the start method "spawn", which is macOS's default."""
    for path in MODULES:
        for node in nodes(path, ast.Constant):
            assert node.value not in ("fork", "forkserver"), path
        for node in nodes(path, ast.Attribute):
            is_default_context = ast.unparse(node) in (
                "multiprocessing.Pool", "multiprocessing.Process"
            )  # fmt: skip
            assert not is_default_context, path


def test_text_files_are_opened_with_an_encoding():
    """The default encoding of Windows is not UTF-8."""
    for path in MODULES:
        for node in nodes(path, ast.Call):
            name = ast.unparse(node.func)
            keywords = {keyword.arg for keyword in node.keywords}
            mode = ast.unparse(node.args[1]) if len(node.args) > 1 else "'r'"
            opens_text = name == "open" and "b" not in mode
            # `self.read_text` is a method of readers of weights files.
            if opens_text or name.endswith("path.read_text"):
                assert "encoding" in keywords, f"{path}: {ast.unparse(node)}"


def test_the_names_of_the_files_are_valid_on_windows_and_macos():
    names = [
        path.relative_to(ROOT).as_posix()
        for folder in ("alexnet_tf", "experiments", "tests")
        for path in (ROOT / folder).rglob("*")
        if "__pycache__" not in path.parts
    ]
    assert len(names) > 100
    assert [n for n in names if RESERVED_NAME.fullmatch(n.rpartition("/")[2])] == []
    # Their file systems do not distinguish upper and lower case.
    assert len({name.lower() for name in names}) == len(names)


# Paths.


@pytest.fixture
def windows_paths(monkeypatch):
    """Makes `os.path` parse paths as on Windows, until the test ends."""
    monkeypatch.setattr(os, "path", ntpath)
    monkeypatch.setattr(os, "sep", "\\")
    monkeypatch.setattr(os, "altsep", "/")


@pytest.mark.parametrize(
    "dataset, name",
    [
        ("textures", "textures"),
        ("cifar10:3.0.2", "cifar10-3.0.2"),
        ("mnist_corrupted/zigzag:1.*.*", "zigzag-1.-.-"),
        (r"folder:C:\images\flowers", "flowers"),
        ("folder:C:\\images\\flowers\\", "flowers"),
        ("folder:C:/images/flowers/", "flowers"),
        (r"list:\\server\share\train.txt", "train.txt"),
        ("folder:flowers", "flowers"),
        ("list:C:train.txt", "train.txt"),
    ],
)
def test_default_work_directories_have_names_that_windows_allows(
    windows_paths, dataset, name
):
    from alexnet_tf.training.run_names import default_workdir

    assert default_workdir(dataset, "tiny") == rf"runs\{name}-tiny"
    assert not RESERVED_NAME.fullmatch(f"{name}-tiny")


def test_an_existing_default_work_directory_of_an_earlier_version_is_used(
    tmp_path, monkeypatch
):
    from alexnet_tf.training.run_names import default_workdir

    monkeypatch.chdir(tmp_path)
    assert default_workdir("cifar10:3.0.2", "tiny") == "runs/cifar10-3.0.2-tiny"
    os.makedirs("runs/cifar10:3.0.2-tiny")
    assert default_workdir("cifar10:3.0.2", "tiny") == "runs/cifar10:3.0.2-tiny"
    os.makedirs("runs/folder-flowers-tiny")
    assert default_workdir("folder:flowers", "tiny") == "runs/folder-flowers-tiny"
    # The directory of the earlier version is that of folder:flowers, not of this path.
    assert default_workdir("folder:/a/flowers", "tiny") == "runs/flowers-tiny"


@pytest.mark.parametrize(
    "path", [r"C:\images\Rock Garden", "C:\\images\\Rock Garden\\", "C:/Rock Garden/"]
)
def test_resized_copies_are_named_after_the_last_folder(windows_paths, path):
    from alexnet_tf.data import resized_copy

    name = resized_copy.data_set_name(f"folder:{path}", 256, "short_side", "jpeg")
    assert name == "rock_garden_256"


def make_windows_files(folder, contents):
    """Makes files and folders on Linux whose names are paths of Windows.

    C:\\a\\b.txt becomes a file of this name in `folder`, beside an empty file b.txt in
    a folder called C:\\a, in which `os.scandir` finds it.

    Args:
        folder: a `pathlib.Path`.
        contents: {path: bytes}.
    """
    for path, content in contents.items():
        (folder / path).write_bytes(content)
        while ntpath.dirname(path) != path:
            parent, name = ntpath.split(path)
            (folder / parent).mkdir(exist_ok=True)
            if path in contents:
                (folder / parent / name).write_bytes(b"")
            else:
                (folder / parent / name).mkdir(exist_ok=True)
            path = parent


def load_with_windows_paths(monkeypatch, folder, *arguments):
    """Returns `file_source.load(*arguments)` for files of `make_windows_files`."""
    from alexnet_tf.data import file_source

    with monkeypatch.context() as patches:
        patches.chdir(folder)
        patches.setattr(os, "path", ntpath)
        patches.setattr(os, "sep", "\\")
        return file_source.load(*arguments)


def names_and_labels(source):
    """Returns [(name, label)] of the examples of a `Source`."""
    return [
        (element["name"].decode(), int(element["label"]))
        for element in source.read(None).as_numpy_iterator()
    ]


LINES = "a\\1.jpg 0\r\nb b\\2.jpg\t1\r\nD:\\more\\3.jpg 0\r\n\r\né.jpg 1\r\n"


@pytest.mark.parametrize(
    "content",
    [
        LINES.encode(),
        codecs.BOM_UTF8 + LINES.encode(),
        codecs.BOM_UTF16_LE + LINES.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + LINES.encode("utf-16-be"),
    ],
    ids=["utf-8", "utf-8 with mark", "utf-16-le", "utf-16-be"],
)
def test_a_list_that_was_written_on_windows_is_read(tmp_path, monkeypatch, content):
    list_file = r"C:\data\train.txt"
    images = [
        r"C:\data\a\1.jpg", r"C:\data\b b\2.jpg", r"C:\data\é.jpg", r"D:\more\3.jpg",
    ]  # fmt: skip
    files = dict.fromkeys(images, b"") | {list_file: content}
    make_windows_files(tmp_path, files)
    source = load_with_windows_paths(
        monkeypatch, tmp_path, f"list:{list_file}", "train"
    )
    assert source.classes == ("0", "1")
    assert source.folder == r"C:\data"
    assert sorted(names_and_labels(source)) == [
        ("C:/data/a/1.jpg", 0), ("C:/data/b b/2.jpg", 1), ("C:/data/é.jpg", 1),
        ("D:/more/3.jpg", 0),
    ]  # fmt: skip


def test_a_list_in_a_damaged_encoding_is_rejected(tmp_path):
    from alexnet_tf.data import file_source

    path = tmp_path / "train.txt"
    path.write_bytes(codecs.BOM_UTF16_LE + b"a\0.")
    with pytest.raises(ValueError, match="train.txt cannot be read as text in UTF-8"):
        file_source.load(f"list:{path}", "train")


def test_lists_that_macos_writes_beside_others_are_ignored(tmp_path):
    from alexnet_tf.data import file_source

    (tmp_path / "1.jpg").write_bytes(b"")
    (tmp_path / "train.txt").write_text("1.jpg 0\n")
    (tmp_path / "._train.txt").write_bytes(b"\0\5\x16\7")
    assert file_source.split_names(f"list:{tmp_path}") == ["train"]


IMAGES = [f"train/{label}/{index}.jpg" for label in "ab" for index in range(5)]


def test_class_folders_have_the_same_parts_and_names_on_windows(tmp_path, monkeypatch):
    """A split is cut at a position that depends on the paths of the images."""
    from alexnet_tf.data import file_source

    for folder in ("windows", "linux/train/a", "linux/train/b"):
        (tmp_path / folder).mkdir(parents=True)
    for image in IMAGES:
        (tmp_path / "linux" / image).write_bytes(b"")
    windows_images = [ntpath.join(r"C:\images", *image.split("/")) for image in IMAGES]
    make_windows_files(tmp_path / "windows", dict.fromkeys(windows_images, b""))
    for split in ("train", "train[:40%]", "train[40%:]"):
        expected = file_source.load(f"folder:{tmp_path / 'linux'}", split)
        source = load_with_windows_paths(
            monkeypatch, tmp_path / "windows", r"folder:C:\images", split
        )
        assert source.classes == expected.classes == ("a", "b")
        assert names_and_labels(source) == [
            (name.replace(f"{tmp_path}/linux", "C:/images"), label)
            for name, label in names_and_labels(expected)
        ]


# Locks, and other calls that differ between systems.


@pytest.fixture
def windows_locks(monkeypatch):
    """Replaces `fcntl` by `msvcrt` for modules that are imported in functions."""
    import fcntl

    monkeypatch.setitem(sys.modules, "msvcrt", make_msvcrt(fcntl))
    monkeypatch.setitem(sys.modules, "fcntl", None)


def test_a_folder_is_locked_once_on_windows(tmp_path, windows_locks):
    with lock_folder(str(tmp_path)) as is_locked:
        assert is_locked
        assert os.listdir(tmp_path) == [".alexnet_tf.lock"]
        with pytest.raises(BlockingIOError):
            with lock_folder(str(tmp_path)):
                pass
        # The lock file is that of the first lock.
        assert os.listdir(tmp_path) == [".alexnet_tf.lock"]
    assert os.listdir(tmp_path) == []
    with pytest.raises(RuntimeError), lock_folder(str(tmp_path)):
        raise RuntimeError
    with lock_folder(str(tmp_path)) as is_locked:
        assert is_locked


def test_a_lock_is_waited_for_on_windows(tmp_path, windows_locks, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "open in another process", path)

    # The lock file cannot be removed, because the process that waits has it open.
    monkeypatch.setattr(os, "remove", refuse)
    with contextlib.ExitStack() as first:
        first.enter_context(lock_folder(str(tmp_path)))
        with lock_folder(str(tmp_path), on_wait=first.close) as is_locked:
            assert is_locked
            with pytest.raises(BlockingIOError):
                with lock_folder(str(tmp_path)):
                    pass


def test_a_lock_file_of_a_killed_process_does_not_matter(tmp_path, windows_locks):
    (tmp_path / ".alexnet_tf.lock").write_bytes(b"")
    with lock_folder(str(tmp_path)) as is_locked:
        assert is_locked
    assert os.listdir(tmp_path) == []


def test_without_locks_nothing_is_locked_on_windows(
    tmp_path, windows_locks, monkeypatch
):
    def refuse(descriptor, mode, count):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(sys.modules["msvcrt"], "locking", refuse)
    with lock_folder(str(tmp_path)) as is_locked:
        assert not is_locked


def test_a_work_directory_is_locked_by_one_run_on_windows(tmp_path, windows_locks):
    with locked(str(tmp_path / "run")):
        with pytest.raises(WorkDirectoryInUse, match="in which a run is in progress"):
            with locked(str(tmp_path / "run")):
                pass
    assert os.listdir(tmp_path / "run") == []
    (tmp_path / "file").write_text("")
    with pytest.raises(PermissionError, match="directory .*file/run cannot be written"):
        with locked(str(tmp_path / "file" / "run")):
            pass


def test_the_table_of_epochs_may_have_empty_lines(tmp_path):
    """On Windows, Keras writes lines that end in two carriage returns."""
    lines = b"epoch,loss\r\r\n0,3\r\r\n1,2\r\r\n2,1\r\r\n"
    (tmp_path / "metrics.csv").write_bytes(lines)
    truncate_metrics(str(tmp_path), 20, [0.5, 0.4])
    assert (tmp_path / "metrics.csv").read_text() == "epoch,loss\n0,3\n1,2\n"


def test_damaged_checkpoints_of_the_same_step_are_renamed_twice(tmp_path, monkeypatch):
    from alexnet_tf.training import checkpoints

    def rename(source, target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)

    monkeypatch.setattr(os, "rename", rename)
    for content in ("first", "second"):
        (tmp_path / "ckpt-7.index").write_text(content)
        checkpoints._rename_damaged([str(tmp_path / "ckpt-7")])
    assert os.listdir(tmp_path) == ["damaged-ckpt-7.index"]
    assert (tmp_path / "damaged-ckpt-7.index").read_text() == "second"


def test_the_peak_memory_is_in_bytes_on_each_system(monkeypatch):
    import resource

    from alexnet_tf.training import throughput

    monkeypatch.setattr(
        resource, "getrusage", lambda who: types.SimpleNamespace(ru_maxrss=5)
    )
    monkeypatch.setattr(throughput.sys, "platform", "linux")
    assert throughput.peak_memory() == 5 * 1024
    monkeypatch.setattr(throughput.sys, "platform", "darwin")
    assert throughput.peak_memory() == 5
    memory = types.SimpleNamespace(peak_wset=7)
    process = types.SimpleNamespace(memory_info=lambda: memory)
    psutil = types.SimpleNamespace(Process=lambda: process)
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setitem(sys.modules, "psutil", psutil)
    assert throughput.peak_memory() == 7


def test_a_closed_pipe_needs_no_signal_number_of_posix():
    code = (
        "import signal; del signal.SIGPIPE\n"
        "from alexnet_tf import cli\n"
        "with cli.one_line_errors('command'): raise BrokenPipeError"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert (process.returncode, process.stderr) == (141, b"")


@pytest.mark.parametrize(
    "encoding, expected",
    [("cp1252", b"\\u82b1 \\udcff \xe9"), ("utf8", b"\xe8\x8a\xb1 \xff \xc3\xa9")],
)
def test_output_may_have_an_encoding_that_lacks_characters(encoding, expected):
    code = (
        "from alexnet_tf import cli; cli.silence_libraries(False)\n"
        "print('\\u82b1 \\udcff \\xe9', end='')"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": encoding},
    )  # fmt: skip
    assert process.stdout == expected


# A whole run.


def hide_what_windows_lacks():
    """Removes modules and attributes of POSIX from this process, and adds `msvcrt`.

    The libraries are imported before, because those that are built for Linux need these
    modules.
    """
    import fcntl

    import keras
    import matplotlib.pyplot
    import tensorboard.plugins.histogram.metadata
    import tensorflow_datasets

    del keras, matplotlib, tensorboard, tensorflow_datasets
    sys.modules["msvcrt"] = make_msvcrt(fcntl)
    for name in POSIX_MODULES:
        sys.modules[name] = None  # Importing the module raises ModuleNotFoundError.
    for name, attributes in POSIX_ATTRIBUTES.items():
        module = importlib.import_module(name)
        for attribute in attributes:
            if hasattr(module, attribute):
                delattr(module, attribute)


def make_msvcrt(fcntl):
    """Returns a module with the locks of Windows, made of locks of Linux."""
    module = types.ModuleType("msvcrt")
    module.LK_NBLCK = 2

    def locking(descriptor, mode, count):
        assert (mode, count) == (module.LK_NBLCK, 1)
        assert os.path.isfile(f"/proc/self/fd/{descriptor}")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None

    module.locking = locking
    return module


def list_open_files():
    """Returns the paths of the files that this process has open or mapped."""
    paths = set()
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            paths.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        except FileNotFoundError:
            pass  # The descriptor with which the folder was listed.
    with open("/proc/self/maps", encoding="utf-8") as lines:
        paths |= {line.rstrip("\n").split(maxsplit=5)[-1] for line in lines}
    return {path for path in paths if os.path.isfile(path)}


def refuse_what_windows_refuses():
    """Makes Python's file operations fail where they would fail on Windows.

    A file that is open can be neither replaced, renamed nor removed, and neither can
    its folder. `os.rename` replaces nothing, and a folder cannot be opened.
    """
    rename, open_descriptor = os.rename, os.open

    def refuse_open_files(function):
        def checked(*paths, **kwargs):
            for path in map(os.path.realpath, paths):
                for open_path in list_open_files():
                    if open_path == path or open_path.startswith(path + os.sep):
                        error = PermissionError(errno.EACCES, "open", open_path)
                        error.winerror = 32
                        raise error
            return function(*paths, **kwargs)

        return checked

    def rename_to_new_path(source, target):
        if os.path.exists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
        rename(source, target)

    def open_file(path, *args, **kwargs):
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return open_descriptor(path, *args, **kwargs)

    os.rename = rename_to_new_path
    for name in ("replace", "rename", "remove", "unlink", "rmdir"):
        setattr(os, name, refuse_open_files(getattr(os, name)))
    os.open = open_file
    # Otherwise, `shutil.rmtree` would open folders.
    shutil._use_fd_functions = False
    # On Linux, `TemporaryFile` removes its file while it is open.
    tempfile.TemporaryFile = tempfile.NamedTemporaryFile


def decode_fewer_formats():
    """Leaves out slow decoders and the compiled augmentation, as conftest.py does."""
    from alexnet_tf.data import decode
    from alexnet_tf.data import preprocess

    decode._decode_other = decode._decode_image
    preprocess._compiled = preprocess._uncompiled


def import_all_modules():
    for path in MODULES:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        importlib.import_module(name.removesuffix(".__init__"))


def train_and_use():
    """Trains, is interrupted, resumes, and uses the network."""
    from helpers.runs import CallAtStep

    from alexnet_tf import evaluate
    from alexnet_tf import extract
    from alexnet_tf import predict
    from alexnet_tf import train
    from alexnet_tf import training
    from alexnet_tf.training.loop import TrainingInterrupted

    def interrupt():
        assert os.path.isfile(f"{RUN}/.alexnet_tf.lock")
        signal.raise_signal(signal.SIGINT)

    arguments = dict(
        preset="tiny", epochs=1, batch_size=10, eval_split="train",
        ablate="norm,conv2,conv3,conv4,conv5",
    )
    # While the error is kept, nothing that the run has opened is closed automatically.
    with pytest.raises(TrainingInterrupted) as _:
        training.train_dataset(
            "folder:images", callbacks=[CallAtStep(1, interrupt)],
            **arguments | {"ablate": arguments["ablate"].split(",")},
        )
    flags = [f"--{name}={value}" for name, value in arguments.items()]
    train.main(["train", "--dataset=folder:images", *flags])
    assert not os.path.exists(f"{RUN}/.alexnet_tf.lock")
    predict.main(["predict", f"--weights={RUN}", "images/1/*.jpg"])
    evaluate.main(
        ["evaluate", f"--weights={RUN}", "--protocol=center", "--per_class=classes.csv"]
    )
    extract.main(["extract", f"--weights={RUN}", "--output=features.npz", "images/1"])


def use_more():
    """Runs the other commands, some of them twice, so that they replace files."""
    from alexnet_tf import export
    from alexnet_tf.inference.classifier import load_classifier
    from alexnet_tf.models.weights import save_weights
    from alexnet_tf import prepare
    from alexnet_tf import report
    from alexnet_tf import visualize

    classifier = load_classifier(RUN)
    for extension in ("npy", "npz", "safetensors", "weights.h5", "keras"):
        path = f"copy.{extension}"
        for _ in range(2):
            save_weights(classifier.model, path)
            load_classifier(path, classifier.preset)
    for name in ("saved_model", "tflite"):
        export.main(
            ["export", f"--weights={RUN}", f"--format={name}", f"--output=as_{name}"]
        )
    for _ in range(2):
        report.main(["report", RUN, "--output=report.html"])
        prepare.main(
            ["prepare", "--dataset=folder:images", "--output_dir=prepared",
             "--image_size=64"]
        )  # fmt: skip
    visualize.main(
        ["visualize", f"--weights={RUN}", "--figure=neighbors",
         "--output=neighbors.png"]
    )  # fmt: skip


def run_as_on_windows(folder, *functions):
    """Calls functions of this file in a new process that resembles one on Windows.

    Returns (stdout, stderr).

    Args:
        folder: the current folder of the process.
        *functions: functions without arguments.
    """
    process = subprocess.run(
        [sys.executable, __file__, *(function.__name__ for function in functions)],
        capture_output=True, text=True, cwd=folder,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    return process.stdout, process.stderr


on_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="uses /proc to find the files that are open"
)


@on_linux
@pytest.mark.large
def test_a_run_needs_nothing_that_windows_lacks(tmp_path, image_folder):
    out, err = run_as_on_windows(
        tmp_path, import_all_modules, decode_fewer_formats, train_and_use
    )
    run = tmp_path / RUN
    assert f"Resuming from {RUN}/checkpoints/ckpt-1." in err
    assert len((run / "metrics.csv").read_text().splitlines()) == 2
    assert out.count(".jpg\n") == 2 and "features of 2 images" in out
    assert len((tmp_path / "classes.csv").read_text().splitlines()) == 11
    names = {path.name for path in tmp_path.rglob("*")}
    assert names > {"metrics.jsonl", "checkpoint", "curves.png", "features.npz"}
    assert not [name for name in names if RESERVED_NAME.fullmatch(name)]


@on_linux
@pytest.mark.large
def test_the_other_commands_need_nothing_that_windows_lacks(tmp_path, image_folder):
    run_as_on_windows(tmp_path, train_and_use, use_more)
    names = {path.name for path in tmp_path.iterdir()}
    assert names > {"report.html", "neighbors.png", "prepared", "as_tflite"}


if __name__ == "__main__":
    hide_what_windows_lacks()
    refuse_what_windows_refuses()
    for function_name in sys.argv[1:]:
        globals()[function_name]()
