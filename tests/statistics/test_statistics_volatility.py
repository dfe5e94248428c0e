"""Volatility against simulated bars of known sigma; reference figures are of the published estimators."""

from __future__ import annotations

import numpy as np
import pytest

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats
from hydra_core.statistics import volatility as vol

SIGMA = 0.001


def bars(
    seed: int, n: int, ticks: int, sigma: float = SIGMA, drift: float = 0.0, gap: float = 0.0
) -> tuple[Floats, ...]:
    """Open, high, low, close of n bars, each a Gaussian walk of so many ticks; drift and gap in log return per bar."""
    rng = np.random.default_rng(seed)
    out = np.empty((4, n))
    for first in range(0, n, 2000):
        count = min(2000, n - first)
        steps = rng.normal(drift / ticks, sigma / np.sqrt(ticks), (count, ticks)).astype(np.float32)
        path = np.cumsum(steps, axis=1, dtype=np.float64)
        out[:, first : first + count] = (
            np.zeros(count),
            np.maximum(path.max(axis=1), 0),
            np.minimum(path.min(axis=1), 0),
            path[:, -1],
        )
    between = rng.normal(0, gap, n) if gap else np.zeros(n)
    start = np.concatenate([[0.0], np.cumsum(out[3] + between)[:-1]]) + between
    return tuple(100.0 * np.exp(part + start) for part in out)


def test_range_estimators_are_unbiased_once_the_ticks_are_counted() -> None:
    """A thousand ticks a bar hide 2 to 3 % of sigma; the correction restores it within 1 %."""
    open_, high, low, close = bars(1, 20_000, 1000)
    raw = {
        "parkinson": np.sqrt(vol.parkinson(high, low).mean()) / SIGMA - 1,
        "garman_klass": np.sqrt(vol.garman_klass(open_, high, low, close).mean()) / SIGMA - 1,
        "rogers_satchell": np.sqrt(vol.rogers_satchell(open_, high, low, close).mean()) / SIGMA - 1,
    }
    expected = {"parkinson": -0.021, "garman_klass": -0.029, "rogers_satchell": -0.029}
    for name, bias in raw.items():
        assert bias == pytest.approx(expected[name], abs=0.007), name
    high, low = vol.finite_ticks(high, low, 1000, SIGMA)
    for values in (
        vol.parkinson(high, low),
        vol.garman_klass(open_, high, low, close),
        vol.rogers_satchell(open_, high, low, close),
    ):
        assert np.sqrt(values.mean()) / SIGMA == pytest.approx(1.0, abs=0.01)


def test_range_estimators_need_fewer_bars_than_closes() -> None:
    """Efficiency against the squared return: Parkinson about 5, Garman-Klass about 7.4, Rogers-Satchell about 6."""
    open_, high, low, close = bars(2, 20_000, 1000)
    plain = (np.log(close / open_) ** 2).var() / SIGMA**4

    def efficiency(values: Floats) -> float:
        return plain / (values.var() / values.mean() ** 2)

    assert 4.6 <= efficiency(vol.parkinson(high, low)) <= 5.6
    assert 6.8 <= efficiency(vol.garman_klass(open_, high, low, close)) <= 8.6
    assert 5.4 <= efficiency(vol.rogers_satchell(open_, high, low, close)) <= 7.2


def test_rogers_satchell_does_not_take_drift_for_volatility() -> None:
    """Half a sigma of drift a bar inflates the squared return by a quarter and leaves Rogers-Satchell alone."""
    open_, high, low, close = bars(3, 20_000, 1000, drift=0.5 * SIGMA)
    high, low = vol.finite_ticks(high, low, 1000, SIGMA)
    assert (np.log(close / open_) ** 2).mean() / SIGMA**2 == pytest.approx(1.25, abs=0.03)
    assert np.sqrt(vol.rogers_satchell(open_, high, low, close).mean()) / SIGMA == pytest.approx(1.0, abs=0.015)


def test_yang_zhang_counts_the_gaps() -> None:
    """With gaps of half a sigma the total variance is 1.25; ranges alone would miss a fifth of it."""
    open_, high, low, close = bars(4, 20_000, 500, gap=0.5 * SIGMA)
    high, low = vol.finite_ticks(high, low, 500, SIGMA)
    total = np.sqrt(np.nanmean(vol.yang_zhang(open_, high, low, close, 10))) / SIGMA
    assert total == pytest.approx(np.sqrt(1.25), rel=0.015)
    assert np.sqrt(np.nanmean(vol.close_to_close(close))) / SIGMA == pytest.approx(np.sqrt(1.25), rel=0.02)
    with pytest.raises(InputMissing, match="at least 2"):
        vol.yang_zhang(open_, high, low, close, 1)


def test_semivariances_add_up_and_bipower_forgets_a_jump() -> None:
    """The parts sum to the whole; one jump of 20 sigma is in the realised variance and hardly in bipower."""
    r = np.random.default_rng(5).normal(0, SIGMA, (600, 2))
    falling, rising = vol.semivariances(r, 288)
    np.testing.assert_allclose(falling + rising, vol.realised(r**2, 288), rtol=1e-12)
    r[500, 0] += 20 * SIGMA
    after, calm = vol.bipower(r, 288)[-1], vol.realised(r**2, 288)[-1]
    assert calm[0] / calm[1] > 2
    assert after[0] / after[1] < 1.35


def test_the_forecast_is_of_the_right_size_and_scales_with_the_market() -> None:
    """On bars of constant sigma it is within its own level correction; twice the sigma is twice the forecast."""
    open_, high, low, close = bars(6, 2000, 60)
    del open_
    square, ranges = vol.close_to_close(close)[:, None], vol.parkinson(high, low)[:, None]
    sigma = vol.forecast_sigma(square, ranges)[-200:]
    assert np.median(sigma) / SIGMA == pytest.approx(np.exp(vol.FORECAST_LEVEL / 2), rel=0.06)
    np.testing.assert_allclose(vol.forecast_sigma(4 * square, 4 * ranges)[-200:], 2 * sigma, rtol=1e-9)
    still = np.zeros((1500, 1))
    assert np.isfinite(vol.forecast_sigma(still, still)[-1]).all()


def _stochastic(seed: int, days: int, per_day: int = 96) -> Floats:
    """Returns with a slow and a fast log-volatility factor."""
    rng = np.random.default_rng(seed)
    n = days * per_day
    log_sigma = np.zeros(n)
    for dwell, spread in ((25.0, 0.45), (1.0, 0.35)):
        keep = np.exp(-1.0 / (dwell * per_day))
        noise = rng.normal(0, spread * np.sqrt(1 - keep**2), n)
        level = rng.normal(0, spread)
        for i in range(n):
            level = keep * level + noise[i]
            log_sigma[i] += level
    return np.asarray(0.02 / np.sqrt(per_day) * np.exp(log_sigma) * rng.standard_normal(n))


def test_a_log_har_forecasts_better_than_the_last_value_and_than_an_ewma() -> None:
    """QLIKE of the next day's variance on unseen days: at most 0.85 of the random walk's, and below the EWMA's."""
    square = _stochastic(7, 1400)[:, None] ** 2
    day, cut = 96, 900 * 96
    fitted = vol.fit_log_har(square[:cut], (day, 7 * day, 30 * day), day)
    rows = np.arange(cut + day, square.shape[0] - day, day)
    future = vol.realised(square, day)[rows + day, 0] / day
    har = vol.qlike(future, fitted.predict(square)[rows, 0]).mean()
    walk = vol.qlike(future, vol.realised(square, day)[rows, 0] / day).mean()
    ewma = vol.qlike(future, vol.ewma_sigma(square, 2.0 * day, 12 * day)[rows, 0] ** 2).mean()
    assert har < 0.85 * walk
    assert har < ewma
    with pytest.raises(InputMissing, match="complete rows"):
        vol.fit_log_har(square[:100], (day,), day)
