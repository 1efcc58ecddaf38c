"""The warning of data types that are slower than float32."""

import pytest

from alexnet_tf.training import precision


@pytest.mark.parametrize(
    "policy, rate, warnings",
    [
        ("mixed_bfloat16", 2e9, ["take 3.5 times as long in bfloat16 as in float32"]),
        ("mixed_float16", 1e9, ["take 7.0 times as long in float16 as in float32"]),
        ("mixed_bfloat16", 8e9, []),
        ("float32", 2e9, []),
    ],
)
def test_warns_of_a_slower_data_type(monkeypatch, caplog, policy, rate, warnings):
    rates = {"float32": 7e9, policy: 7e9 if policy == "float32" else rate}
    monkeypatch.setattr(precision, "matrix_rate", lambda name, **_: rates[name])
    precision.warn_if_slower(policy)
    assert len(caplog.messages) == len(warnings)
    for expected, message in zip(warnings, caplog.messages):
        assert expected in message


def test_measures_products_of_both_data_types(monkeypatch):
    measure, rates = precision.matrix_rate, {}

    def measure_small(name, repeats, size):
        assert size == 1024
        rates[name] = measure(name, repeats, size=32)
        return rates[name]

    monkeypatch.setattr(precision, "matrix_rate", measure_small)
    precision.warn_if_slower("mixed_float16")
    assert {*rates} == {"float32", "mixed_float16"}
    assert all(rate > 0 for rate in rates.values())
