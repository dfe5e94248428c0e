"""Volatility against simulated bars of known sigma; reference figures are of the published estimators."""

from __future__ import annotations

import numpy as np
import pytest

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats
from hydra_core.statistics import har
from hydra_core.statistics import volatility as vol
from hydra_core.statistics.processes import volatile_returns, walked_bars

SIGMA = 0.001


Bars = tuple[Floats, Floats, Floats, Floats]


@pytest.fixture(scope="module")
def walked() -> Bars:
    return walked_bars(1, 20_000, 1000, SIGMA)


def test_range_estimators_are_unbiased_once_the_ticks_are_counted(walked: Bars) -> None:
    """A thousand ticks a bar hide 2 to 3 % of sigma; the correction restores it within 1 %."""
    open_, high, low, close = walked
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


def efficiencies(bars: Bars) -> tuple[float, float, float]:
    """Of Parkinson, Garman-Klass and Rogers-Satchell against the squared return, each relative to its own mean."""
    open_, high, low, close = bars
    plain = np.log(close / open_) ** 2

    def against(values: Floats) -> float:
        return float(plain.var() / SIGMA**4 / (values.var() / values.mean() ** 2))

    return (
        against(vol.parkinson(high, low)),
        against(vol.garman_klass(open_, high, low, close)),
        against(vol.rogers_satchell(open_, high, low, close)),
    )


EFFICIENCIES = ((4.6, 5.6), (6.8, 8.6), (5.4, 7.2))


def test_range_estimators_need_fewer_bars_than_closes(walked: Bars) -> None:
    """Parkinson about 5 times fewer, Garman-Klass about 7.4, Rogers-Satchell about 6."""
    for found, (low, high) in zip(efficiencies(walked), EFFICIENCIES, strict=True):
        assert low <= found <= high


@pytest.mark.parametrize(("drift", "inflated"), [(0.5, 1.25), (1.0, 2.0)])
def test_rogers_satchell_does_not_take_drift_for_volatility(drift: float, inflated: float) -> None:
    """Half a sigma of drift a bar inflates the squared return by a quarter, a whole one doubles it; Rogers-Satchell is left
    alone. The squared return of 20,000 bars errs by sqrt(2 + 4 d^2) / 141, three times which is allowed."""
    open_, high, low, close = walked_bars(3, 20_000, 1000, SIGMA, drift=drift * SIGMA)
    high, low = vol.finite_ticks(high, low, 1000, SIGMA)
    error = np.sqrt((2 + 4 * drift**2) / 20_000)
    assert (np.log(close / open_) ** 2).mean() / SIGMA**2 == pytest.approx(inflated, abs=3 * error)
    assert np.sqrt(vol.rogers_satchell(open_, high, low, close).mean()) / SIGMA == pytest.approx(1.0, abs=0.01)


def test_yang_zhang_counts_the_gaps() -> None:
    """A quarter of the variance falls between the bars; ranges alone would miss it. Over ten bars it needs 7.6 times fewer of
    them than closes do: 2,000 windows tell that within 4.5 %, three times which are allowed."""
    gap = SIGMA / np.sqrt(3)
    open_, high, low, close = walked_bars(4, 20_000, 500, SIGMA, gap=gap)
    high, low = vol.finite_ticks(high, low, 500, SIGMA)
    variance = vol.yang_zhang(open_, high, low, close, 10)
    assert np.sqrt(np.nanmean(variance)) / SIGMA == pytest.approx(np.sqrt(4 / 3), rel=0.015)
    assert np.sqrt(np.nanmean(vol.close_to_close(close))) / SIGMA == pytest.approx(np.sqrt(4 / 3), rel=0.015)
    apart = variance[10::10]
    assert 0.2 / (apart.var() / apart.mean() ** 2) == pytest.approx(7.63, rel=0.135)
    with pytest.raises(InputMissing, match="at least 2"):
        vol.yang_zhang(open_, high, low, close, 1)


def test_semivariances_add_up_and_bipower_forgets_a_jump() -> None:
    """The parts sum to the whole; one jump of 20 sigma is in the realised variance and hardly in bipower."""
    r = np.random.default_rng(5).normal(0, SIGMA, (600, 2))
    falling, rising = vol.falling_variance(r, 288), vol.falling_variance(-r, 288)
    np.testing.assert_allclose(falling + rising, vol.realised(r**2, 288), rtol=1e-12)
    r[500, 0] += 20 * SIGMA
    after, calm = vol.bipower(r, 288)[-1], vol.realised(r**2, 288)[-1]
    assert calm[0] / calm[1] > 2
    assert after[0] / after[1] < 1.35


def test_the_forecast_is_of_the_right_size_and_scales_with_the_market() -> None:
    """On bars of constant sigma it is within its own level correction; twice the sigma is twice the forecast."""
    open_, high, low, close = walked_bars(6, 2000, 60, SIGMA)
    del open_
    square, ranges = vol.close_to_close(close)[:, None], vol.parkinson(high, low)[:, None]
    sigma = vol.forecast_sigma(square, ranges)[-200:]
    assert np.median(sigma) / SIGMA == pytest.approx(np.exp(vol.FORECAST_LEVEL / 2), rel=0.06)
    np.testing.assert_allclose(vol.forecast_sigma(4 * square, 4 * ranges)[-200:], 2 * sigma, rtol=1e-9)
    still = np.zeros((1500, 1))
    assert np.isfinite(vol.forecast_sigma(still, still)[-1]).all()


def test_a_log_har_forecasts_better_than_the_last_value_and_than_an_ewma() -> None:
    """QLIKE of the next day's variance on unseen days: at most 0.85 of the random walk's, and below the EWMA's."""
    square = volatile_returns(7, 1400, 96)[0][:, None] ** 2
    day, cut = 96, 900 * 96
    fitted = har.fit_log_har(square[:cut], (day, 7 * day, 30 * day), day)
    rows = np.arange(cut + day, square.shape[0] - day, day)
    future = vol.realised(square, day)[rows + day, 0] / day
    loss = vol.qlike(future, fitted.predict(square)[rows, 0]).mean()
    walk = vol.qlike(future, vol.realised(square, day)[rows, 0] / day).mean()
    ewma = vol.qlike(future, vol.ewma_sigma(square, 2.0 * day, 12 * day)[rows, 0] ** 2).mean()
    assert loss < 0.85 * walk
    assert loss < ewma
    with pytest.raises(InputMissing, match="complete rows"):
        har.fit_log_har(square[:100], (day,), day)


def test_models_in_levels_forecast_too_and_never_below_zero() -> None:
    """HAR and HARQ on the same days beat the last value, and stay above the least variance they saw."""
    square = volatile_returns(8, 1400, 48)[0][:, None] ** 2
    day, cut = 48, 900 * 48
    rows = np.arange(cut + day, square.shape[0] - day, day)
    future = vol.realised(square, day)[rows + day, 0] / day
    walk = vol.qlike(future, vol.realised(square, day)[rows, 0] / day).mean()
    for quarticity in (False, True):
        fitted = har.fit_har(square[:cut], (day, 7 * day, 30 * day), day, quarticity)
        forecast = fitted.predict(square)[rows, 0]
        assert vol.qlike(future, forecast).mean() < walk
        assert (forecast >= fitted.least).all()
    assert np.isnan(har.future_variance(square, day)[-1, 0])


@pytest.mark.parametrize(
    ("ticks", "expected"),
    [(20, (-0.136, -0.196, -0.202)), (60, (-0.083, -0.116, -0.117)), (300, (-0.040, -0.054, -0.054))],
)
def test_the_bias_of_few_ticks_is_the_known_one(ticks: int, expected: tuple[float, float, float]) -> None:
    """Parkinson, Garman-Klass, Rogers-Satchell read sigma too low by so much when a bar has only so many ticks."""
    open_, high, low, close = walked_bars(9, 20_000, ticks, SIGMA)
    for values, bias in zip(
        (
            vol.parkinson(high, low),
            vol.garman_klass(open_, high, low, close),
            vol.rogers_satchell(open_, high, low, close),
        ),
        expected,
        strict=True,
    ):
        assert np.sqrt(values.mean()) / SIGMA - 1 == pytest.approx(bias, abs=0.007)


TICK_BIASES = [
    (20, (-0.136, -0.196, -0.202)),
    (60, (-0.083, -0.116, -0.117)),
    (300, (-0.040, -0.054, -0.054)),
    (1000, (-0.021, -0.029, -0.029)),
    (10_000, (-0.0065, -0.011, -0.012)),
]


@pytest.mark.long
@pytest.mark.parametrize(("ticks", "expected"), TICK_BIASES)
def test_the_whole_table_of_biases(ticks: int, expected: tuple[float, float, float]) -> None:
    """Fifty thousand bars: the bias of the table within .7 points, and from 1,000 ticks on none beyond 1 % once corrected."""
    open_, high, low, close = walked_bars(10, 50_000, ticks, SIGMA)

    def biases(high: Floats, low: Floats) -> list[float]:
        ranges = (
            vol.parkinson(high, low),
            vol.garman_klass(open_, high, low, close),
            vol.rogers_satchell(open_, high, low, close),
        )
        return [float(np.sqrt(values.mean()) / SIGMA - 1) for values in ranges]

    assert biases(high, low) == pytest.approx(expected, abs=0.007)
    if ticks >= 1_000:
        assert biases(*vol.finite_ticks(high, low, ticks, SIGMA)) == pytest.approx((0.0, 0.0, 0.0), abs=0.01)
    if ticks == 10_000:
        for found, (least, most) in zip(efficiencies((open_, high, low, close)), EFFICIENCIES, strict=True):
            assert least <= found <= most


@pytest.mark.parametrize("ticks", [300, pytest.param(1_000, marks=pytest.mark.long)])
def test_the_error_of_a_window_of_a_day_is_the_known_one(ticks: int) -> None:
    """As below over 288 bars; 420 windows tell an error within 3.5 %, three times which and the table's own are allowed.
    At so few ticks the last one errs a tenth less than with continuous bars (.020)."""
    for error, known in zip(window_errors(13, 120_960, ticks, 288), (0.042, 0.0205, 0.017, 0.018), strict=True):
        assert error == pytest.approx(known, rel=0.14)


def window_errors(seed: int, bars: int, ticks: int, n: int) -> list[float]:
    """Relative root mean square error of sigma over n bars by closes and the three range estimators, ticks corrected."""
    open_, high, low, close = walked_bars(seed, bars, ticks, SIGMA)
    high, low = vol.finite_ticks(high, low, ticks, SIGMA)
    estimates = (
        np.log(close / open_) ** 2,
        vol.parkinson(high, low),
        vol.garman_klass(open_, high, low, close),
        vol.rogers_satchell(open_, high, low, close),
    )
    over = [np.sqrt(values.reshape(-1, n).mean(axis=1)) / SIGMA - 1 for values in estimates]
    return [float(np.sqrt((each**2).mean())) for each in over]


@pytest.mark.parametrize(("n", "expected"), [(12, (0.203, 0.100, 0.083, 0.090)), (48, (0.099, 0.050, 0.043, 0.046))])
def test_the_error_of_a_window_is_the_known_one(n: int, expected: tuple[float, ...]) -> None:
    """Relative error of sigma over n bars by closes, Parkinson, Garman-Klass, Rogers-Satchell, ticks corrected.

    At 300 ticks the last one errs a tenth less than with continuous bars (.098 and .050)."""
    for error, known in zip(window_errors(11, 24_000, 300, n), expected, strict=True):
        assert error == pytest.approx(known, rel=0.12)


def test_the_loss_is_nought_for_a_perfect_forecast_and_dear_for_one_too_low() -> None:
    """RV/f - ln(RV/f) - 1 at twice and at half the truth: .1931 and .3069, and unmoved by the scale of both."""
    found = vol.qlike(np.array([1.0, 1.0, 1.0]), np.array([1.0, 2.0, 0.5]))
    np.testing.assert_allclose(found, [0.0, np.log(2) - 0.5, 1 - np.log(2)], atol=1e-15)
    np.testing.assert_allclose(vol.qlike(np.full(3, 1e-8), 1e-8 * np.array([1.0, 2.0, 0.5])), found, atol=1e-12)


def test_sigma_is_corrected_for_ticks_without_being_told_it() -> None:
    """Sixty ticks a bar hide 12 % of sigma from Garman-Klass; the estimate that corrects itself misses 2 % at most."""
    open_, high, low, close = walked_bars(12, 4_000, 60, SIGMA)
    sigma = vol.continuous_sigma(open_, high, low, close, 60, 2_000)
    assert np.isnan(sigma[:1_999]).all()
    assert sigma[-1] / SIGMA == pytest.approx(1.0, abs=0.02)
    assert np.sqrt(vol.garman_klass(open_, high, low, close).mean()) / SIGMA < 0.90
