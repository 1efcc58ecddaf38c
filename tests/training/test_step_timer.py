"""Tests of the number of steps per call, and of the measured times."""

from alexnet_tf.training import step_timer
from alexnet_tf.training.step_timer import median_seconds
from alexnet_tf.training.step_timer import StepTimer


def run_calls(monkeypatch, seconds_per_step, calls, **kwargs):
    """Times calls on a fake clock; returns the `StepTimer` and the counts of steps."""
    clock = [0.0]
    monkeypatch.setattr(step_timer.time, "perf_counter", lambda: clock[0])
    timer, counts = StepTimer(**kwargs), []
    for _ in range(calls):
        counts.append(timer.count)
        with timer.measure(timer.count):
            clock[0] += seconds_per_step * timer.count
    return timer, counts


def test_counts_double_until_a_call_takes_a_second(monkeypatch):
    timer, counts = run_calls(monkeypatch, 0.1, 7)
    assert counts[:5] == [1, 1, 2, 4, 8]
    assert 9 <= timer.count <= 10


def test_each_call_runs_only_one_slow_step(monkeypatch):
    assert run_calls(monkeypatch, 3.0, 4)[1] == [1, 1, 1, 1]


def test_counts_do_not_exceed_the_limit(monkeypatch):
    assert run_calls(monkeypatch, 1e-6, 20, limit=50)[1][-1] == 50


def test_lap_ignores_the_first_call(monkeypatch):
    timer, _ = run_calls(monkeypatch, 0.25, 1)
    assert timer.lap() is None
    timer, _ = run_calls(monkeypatch, 0.25, 5)
    assert round(timer.lap(), 6) == 4.0
    assert timer.lap() is None


def test_median_seconds_ignores_two_warm_up_calls(monkeypatch):
    clock, durations = [0.0], iter([9, 9, 3, 1, 2])

    def run():
        clock[0] += next(durations)

    monkeypatch.setattr(step_timer.time, "perf_counter", lambda: clock[0])
    assert median_seconds(run, repeats=3) == 2


def test_all_workers_run_the_mean_of_their_counts(monkeypatch):
    """The other worker is slower and always proposes 2 steps."""
    proposed = []

    def mean_over_workers(count):
        proposed.append(count)
        return (count + 2) / 2

    _, counts = run_calls(monkeypatch, 0.1, 6, mean_over_workers=mean_over_workers)
    assert counts == [1, 1, 2, 3, 4, 5] and proposed == [2, 4, 6, 8, 10]
