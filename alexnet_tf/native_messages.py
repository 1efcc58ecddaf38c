"""A filter for the messages that TensorFlow's C++ code writes on its own.

TensorFlow writes some lines to the file descriptor 2 while it is loaded, before any of
its settings takes effect. On a machine without a GPU they look like errors, although
nothing is wrong (github.com/tensorflow/tensorflow/issues/100442).
"""

import atexit
import contextlib
import os
import re
import select
import signal
import sys
import time

from absl import logging

# Notices that ask for no action on any machine.
_NOTICES = (
    rb"All log messages before absl::InitializeLog\(\) is called are written to STDERR",
    rb"oneDNN custom operations are on\. You may see slightly different numerical",
    rb"oneDNN supports DT_\w+ only on platforms with AVX-512\. Falling back to",
)
# Notices that are not errors if the machine has no GPU.
_NOTICES_WITHOUT_GPU = (
    rb"Could not find cuda drivers on your machine, GPU will not be used\.",
    rb"failed call to cuInit: ",
)
# Notices of LiteRT, without date and place, when `export` converts and runs files.
_NOTICES_OF_LITERT = (
    rb"fully_quantize: \d+, inference_type: \d+, input_inference_type: \w+, ",
    rb"INFO: Created TensorFlow Lite XNNPACK delegate for CPU\.",
)
# These files exist if the driver of an NVIDIA GPU is installed; the last one is that of
# the Windows Subsystem for Linux.
_GPU_FILES = ("/dev/nvidiactl", "/proc/driver/nvidia", "/dev/dxg")

# How long the end of an unfinished line may take to arrive, and how long a command
# waits at its end for lines that are on their way, in seconds.
_LINE_SECONDS = 0.1
_EXIT_SECONDS = 2.0


def leave_out_notices():
    """Leaves out the known notices of TensorFlow's C++ code until the process ends.

    A process of its own reads what is written to the file descriptor 2, and writes
    everything but the notices to where the descriptor led before. It outlives this
    process, so that the messages of a crash are not lost. Python's `sys.stderr` still
    writes to where the descriptor led, and therefore remains a terminal if it was one.

    Nothing changes if TensorFlow is already loaded, or on Windows.
    """
    if "tensorflow" in sys.modules or os.name == "nt":
        return
    if sys.__stderr__ is None:  # The descriptor is closed.
        return
    original = os.dup(2)
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        os.close(write_end)
        _run_filter(read_end, original)
    os.close(read_end)
    os.dup2(write_end, 2)
    os.close(write_end)
    _redirect_python(original)
    atexit.register(_end_filter, child, original)


def is_notice(line, has_gpu):
    """Returns whether a line is one of the known notices.

    Args:
        line: the line, bytes.
        has_gpu: whether the machine has a GPU. The messages about CUDA are then not
            notices, because they report a fault.
    """
    patterns = _NOTICES if has_gpu else _NOTICES + _NOTICES_WITHOUT_GPU
    prefix = rb"(WARNING: |[IWE]\d{4} [\d:.]+ +\d+ [\w.]+:\d+\] )"
    pattern = prefix + rb"(" + rb"|".join(patterns) + rb")"
    return re.match(rb"|".join([pattern, *_NOTICES_OF_LITERT]), line) is not None


def _run_filter(read_end, original):
    """Copies all lines but the notices until the other end is closed, and exits."""
    try:
        # Ctrl-C also reaches this process, which ends after the other one.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        # Otherwise, this process would keep the other one's files and pipes open.
        for descriptor in {0, 1, 2} - {read_end, original}:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        _copy_lines(read_end, original, any(map(os.path.exists, _GPU_FILES)))
    finally:
        os._exit(0)


def _copy_lines(read_end, original, has_gpu):
    pending = b""
    while True:
        # Nothing may follow an unfinished line, such as that of a progress bar.
        if pending and not select.select([read_end], [], [], _LINE_SECONDS)[0]:
            _write_all(original, pending)
            pending = b""
        data = os.read(read_end, 65536)
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            if not is_notice(line, has_gpu):
                _write_all(original, line + b"\n")
        if not data:
            _write_all(original, pending)
            return


def _write_all(descriptor, data):
    while data:
        data = data[os.write(descriptor, data) :]


def _redirect_python(original):
    """Makes `sys.stderr` and absl's logging write to a descriptor directly."""
    previous = sys.stderr
    if previous is not sys.__stderr__:
        return
    sys.stderr = open(
        original, "w", buffering=1, encoding=previous.encoding,
        errors=previous.errors, closefd=False,
    )  # fmt: skip
    handler = logging.get_absl_handler().python_handler
    if handler.stream is previous:
        handler.setStream(sys.stderr)


def _end_filter(child, original):
    """Waits until the filter has written the last lines."""
    os.dup2(original, 2)
    deadline = time.monotonic() + _EXIT_SECONDS
    # A process that this one has started may keep the pipe open.
    while not os.waitpid(child, os.WNOHANG)[0] and time.monotonic() < deadline:
        time.sleep(0.005)
