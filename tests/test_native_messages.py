"""The filter of notices that TensorFlow's C++ code writes."""

import signal
import subprocess
import sys

import pytest

from alexnet_tf import native_messages

NOTICES = (
    "WARNING: All log messages before absl::InitializeLog() is called are written to "
    "STDERR",
    "I0000 00:00:1795655933.736439   20304 port.cc:153] oneDNN custom operations are "
    "on. You may see slightly different numerical results due to floating-point "
    "round-off errors from different computation orders.",
    "E0000 00:00:1795655946.426810   20304 util.cc:131] oneDNN supports DT_UINT8 only "
    "on platforms with AVX-512. Falling back to the default Eigen-based implementation "
    "if present.",
    "fully_quantize: 0, inference_type: 6, input_inference_type: INT8, "
    "output_inference_type: INT8",
    "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.",
)
GPU_NOTICES = (
    "I0000 00:00:1795655933.736826   20304 cudart_stub.cc:31] Could not find cuda "
    "drivers on your machine, GPU will not be used.",
    "E0000 00:00:1795655935.320908   20304 cuda_platform.cc:52] failed call to cuInit: "
    "INTERNAL: CUDA error: Failed call to cuInit: UNKNOWN ERROR (303)",
)
OTHER_LINES = (
    "E0000 00:00:1795655935.320908   20304 cuda_dnn.cc:52] Could not load library.",
    "free(): invalid pointer",
    "INFO: Initialized TensorFlow Lite runtime for another device.",
    "error: fully_quantize: 0, inference_type: 6, input_inference_type: INT8, ",
    "the word oneDNN custom operations are on. You may see slightly different",
    "",
)


def run_python(code, *args):
    """Returns the `CompletedProcess` of Python code."""
    return subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, timeout=60
    )


def test_lines_about_cuda_are_notices_only_on_a_machine_without_a_gpu():
    for line in NOTICES + GPU_NOTICES + OTHER_LINES:
        for has_gpu in (True, False):
            expected = line in NOTICES or (line in GPU_NOTICES and not has_gpu)
            assert native_messages.is_notice(line.encode(), has_gpu) == expected, line


@pytest.mark.parametrize(
    "end, returncode, last_lines",
    [
        ("pass", 0, []),
        ("raise KeyError('a')", 1, ["KeyError: 'a'"]),
        ("os.abort()", -signal.SIGABRT, []),
        ("os._exit(3)", 3, []),
    ],
)
def test_leaves_out_notices_and_nothing_else(end, returncode, last_lines):
    """All other messages arrive, even in an unfinished line before a crash."""
    lines = "\n".join([*NOTICES, *OTHER_LINES, "written by the C++ code"])
    code = (
        "import os, sys\n"
        "from alexnet_tf import native_messages\n"
        "native_messages.leave_out_notices()\n"
        f"os.write(2, {lines.encode()!r})\n"
        f"{end}\n"
    )
    done = run_python(code)
    assert done.returncode == returncode
    # Python's own lines do not pass through the filter, and may arrive before others.
    received = done.stderr.replace("written by the C++ code", "\n").splitlines()
    assert [line for line in received if line in NOTICES] == []
    for line in (*OTHER_LINES, *last_lines):
        assert line in received
    assert done.stderr.count("written by the C++ code") == 1


def test_commands_leave_out_notices_unless_a_verbosity_is_given():
    """Importing the package or calling a command from Python changes nothing."""
    code = (
        "import os, sys\n"
        "import alexnet_tf\n"
        "from alexnet_tf import cli\n"
        f"work = lambda args: os.write(2, {NOTICES[0].encode()!r} + b'\\n') and None\n"
        "cli.run('test', work, [], *([['test']] if sys.argv[1:2] == ['call'] else []))"
    )
    assert run_python(code).stderr == ""
    assert run_python(code, "--verbosity=1").stderr == NOTICES[0] + "\n"
    assert run_python(code, "call").stderr == NOTICES[0] + "\n"
