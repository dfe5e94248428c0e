"""Windows: equal to the plain definition, bit-identical wherever the array begins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_core.domain.errors import InputMissing
from hydra_core.statistics import rolling


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 70), rows=st.integers(1, 120), cut=st.integers(0, 60), seed=st.integers(0, 99))
def test_windows_equal_their_definition_from_any_start(n: int, rows: int, cut: int, seed: int) -> None:
    """Sum, extremes and exponential mean of each window, recomputed by hand; a later start changes no bit."""
    values = np.random.default_rng(seed).normal(size=(rows, 2)) * 1e3
    weights = 0.5 ** (np.arange(n)[::-1] / 7.0)
    kinds = {
        "sum": (lambda x: rolling.rolling_sum(x, n), lambda w: w.sum(axis=0)),
        "max": (lambda x: rolling.rolling_max(x, n), lambda w: w.max(axis=0)),
        "min": (lambda x: rolling.rolling_min(x, n), lambda w: w.min(axis=0)),
        "mean": (lambda x: rolling.rolling_mean(x, n), lambda w: w.mean(axis=0)),
        "exponential": (
            lambda x: rolling.exponential_mean(x, 7.0, n),
            lambda w: (w * weights[:, None]).sum(axis=0) / weights.sum(),
        ),
    }
    for name, (fast, slow) in kinds.items():
        got = fast(values)
        assert np.isnan(got[: n - 1]).all(), name
        for row in range(n - 1, rows):
            np.testing.assert_allclose(got[row], slow(values[row - n + 1 : row + 1]), rtol=1e-10, atol=1e-9)
        later = fast(values[cut:])
        if rows - cut >= n:
            np.testing.assert_array_equal(later[n - 1 :], got[cut + n - 1 :])


def test_a_mean_bridges_few_gaps_and_refuses_many() -> None:
    """One gap in twenty is left out of the mean; three are too many."""
    values = np.arange(20.0)[:, None]
    values[4] = np.nan
    assert rolling.rolling_mean(values, 20)[-1] == pytest.approx(np.nanmean(values))
    values[5:7] = np.nan
    assert np.isnan(rolling.rolling_mean(values, 20)[-1])
    assert np.isnan(rolling.exponential_mean(np.full((9, 1), np.nan), 3, 5)).all()


def test_a_window_without_rows_is_an_error() -> None:
    with pytest.raises(InputMissing, match="window of 0 rows"):
        rolling.rolling_sum(np.zeros(3), 0)
