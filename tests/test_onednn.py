"""oneDNN is switched on where it is faster, unless the user has chosen otherwise."""

import platform

import pytest

from alexnet_tf import onednn

VARIABLE = "TF_ENABLE_ONEDNN_OPTS"
WITH_AVX2 = "model name\t: A\nflags\t\t: fpu sse4_2 avx avx2 fma\nbugs\t: none\n"
WITHOUT_AVX2 = WITH_AVX2.replace(" avx2", "")


@pytest.fixture
def processor(tmp_path, monkeypatch):
    """A function that replaces the processor's description and architecture."""

    def replace(description, machine="x86_64"):
        path = tmp_path / "cpuinfo"
        if description is not None:
            path.write_text(description)
        monkeypatch.setattr(onednn, "_PROCESSOR_FILE", str(path))
        monkeypatch.setattr(platform, "machine", lambda: machine)

    # Setting the variable first makes monkeypatch remove what the test sets.
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.delenv(VARIABLE)
    return replace


@pytest.mark.parametrize(
    "description, machine, expected",
    [
        (WITH_AVX2, "x86_64", "on"),
        (WITHOUT_AVX2, "x86_64", "TensorFlow's default"),
        (WITH_AVX2, "aarch64", "TensorFlow's default"),
        ("", "x86_64", "TensorFlow's default"),
        (None, "x86_64", "TensorFlow's default"),
    ],
)
def test_onednn_is_on_for_processors_with_avx2(
    processor, description, machine, expected
):
    processor(description, machine)
    onednn.enable_if_faster()
    assert onednn.setting() == expected


@pytest.mark.parametrize("value, expected", [("0", "off"), ("1", "on")])
def test_the_choice_of_the_user_is_kept(processor, monkeypatch, value, expected):
    processor(WITH_AVX2)
    monkeypatch.setenv(VARIABLE, value)
    onednn.enable_if_faster()
    assert onednn.setting() == expected
