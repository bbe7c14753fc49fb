"""A workload's last seven days."""

import numpy as np

from spillover.forecast.history import MINUTE, POINTS, History

DAY = 86_400
NOW = 1_700_006_400


def test_samples_are_where_their_times_are() -> None:
    history = History.empty(NOW + 30)
    assert history.end == NOW
    assert history.share == 0
    history = history.extended(NOW + 60, {NOW: 1.0, NOW + 60: 2.0, NOW - 60: 3.0}, {NOW: 4.0})
    assert list(history.load[-3:]) == [3.0, 1.0, 2.0]
    assert history.pods[-2] == 4.0
    assert np.isnan(history.pods[-1])
    assert history.share == 3 / POINTS


def test_what_is_older_than_seven_days_goes() -> None:
    history = History.empty(NOW).extended(NOW, {NOW: 1.0}, {})
    assert history.extended(NOW + 7 * DAY - MINUTE, {}, {}).load[0] == 1.0
    assert history.extended(NOW + 7 * DAY, {}, {}).share == 0
    assert history.extended(NOW + 700 * DAY, {}, {}).share == 0


def test_times_that_are_outside_are_ignored() -> None:
    times = [NOW + 60, NOW - 7 * DAY, NOW - 30, -5]
    assert History.empty(NOW).extended(NOW, dict.fromkeys(times, 1.0), {}).share == 0


def test_a_clock_that_goes_back_moves_nothing() -> None:
    history = History.empty(NOW).extended(NOW, {NOW: 1.0}, {})
    back = history.extended(NOW - 600, {NOW - 600: 2.0}, {})
    assert back.end == NOW
    assert (back.load[-1], back.load[-11]) == (1.0, 2.0)
    assert np.isnan(history.load[-11]), "the history before is not changed"
