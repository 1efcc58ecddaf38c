"""Calls come to take about a second, and times are medians."""

from alexnet_tf.training import step_timer
from alexnet_tf.training.step_timer import median_seconds
from alexnet_tf.training.step_timer import StepTimer


def run(monkeypatch, seconds_per_step, calls, **kwargs):
    """The counts that a `Pace` asks for."""
    clock = [0.0]
    monkeypatch.setattr(step_timer.time, "perf_counter", lambda: clock[0])
    measured, counts = StepTimer(**kwargs), []
    for _ in range(calls):
        counts.append(measured.count)
        with measured.measure(measured.count):
            clock[0] += seconds_per_step * measured.count
    return measured, counts


def test_counts_double_up_to_a_second(monkeypatch):
    measured, counts = run(monkeypatch, 0.1, 7)
    assert counts[:5] == [1, 1, 2, 4, 8]
    assert 9 <= measured.count <= 10


def test_slow_steps_come_one_by_one(monkeypatch):
    assert run(monkeypatch, 3.0, 4)[1] == [1, 1, 1, 1]


def test_counts_have_a_limit(monkeypatch):
    assert run(monkeypatch, 1e-6, 20, limit=50)[1][-1] == 50


def test_a_lap_leaves_the_first_call_out(monkeypatch):
    measured, _ = run(monkeypatch, 0.25, 1)
    assert measured.lap() is None
    measured, _ = run(monkeypatch, 0.25, 5)
    assert round(measured.lap(), 6) == 4.0
    assert measured.lap() is None


def test_seconds_are_the_median(monkeypatch):
    clock, steps = [0.0], iter([9, 9, 3, 1, 2])

    def run():
        clock[0] += next(steps)

    monkeypatch.setattr(step_timer.time, "perf_counter", lambda: clock[0])
    assert median_seconds(run, repeats=3) == 2


def test_workers_take_one_count(monkeypatch):
    """A slower worker holds back the others, each of which has its say."""
    asked = []

    def mean_over_workers(count):
        asked.append(count)
        return (count + 2) / 2

    _, counts = run(monkeypatch, 0.1, 6, mean_over_workers=mean_over_workers)
    assert counts == [1, 1, 2, 3, 4, 5] and asked == [2, 4, 6, 8, 10]
