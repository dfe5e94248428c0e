"""GARCH, comparisons of forecasts, the time of day, correlation spikes: each against a known truth."""

from __future__ import annotations

import numpy as np
import pytest

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.intervals import Interval
from hydra_core.domain.market import CANDLES, Floats, Panel
from hydra_core.domain.pairs import DEFAULT_PAIRS
from hydra_core.statistics import correlation_spike as cs
from hydra_core.statistics import diurnal, jumps
from hydra_core.statistics.comparison import confidence_set, diebold_mariano
from hydra_core.statistics.garch import GarchStream, fit_garch
from hydra_core.statistics.regimes import BASE_BARS


def garch_returns(seed: int, n: int, omega: float = 0.02, alpha: float = 0.08, beta: float = 0.90) -> Floats:
    noise, v, out = np.random.default_rng(seed).standard_normal(n), omega / (1 - alpha - beta), np.empty(n)
    for t in range(n):
        out[t] = np.sqrt(v) * noise[t]
        v = omega + alpha * out[t] ** 2 + beta * v
    return out


def test_garch_tells_its_errors_and_the_density_of_what_comes_next() -> None:
    """The errors of forty histories cover their spread; predictive densities add up to the fit's own likelihood."""
    r = 1e-3 * garch_returns(1, 20_000)
    fits = [fit_garch(1e-3 * garch_returns(seed, 4_000), fat_tails=False, errors=True) for seed in range(40)]
    for place, name in ((2, "alpha"), (4, "beta")):
        told = np.mean([fit.errors[place] for fit in fits if fit.errors is not None])
        assert np.std([getattr(fit, name) for fit in fits]) == pytest.approx(told, rel=0.4), name
    assert fits[0].errors is not None
    assert np.isnan(fits[0].errors[3])
    fat = fit_garch(r, errors=True)
    assert fit_garch(r).errors is None
    for fit in (fat, fit_garch(r, fat_tails=False)):
        told = fit.predictive_log_likelihood(r, float(r.var()))
        assert told.sum() == pytest.approx(fit.log_likelihood, abs=10.0)


def test_garch_comes_back_and_moves_on_as_in_batch() -> None:
    """20,000 returns a thousandth the library's size: parameters within .006, .010 and .012."""
    r = 1e-3 * garch_returns(1, 20_000)
    fit = fit_garch(r, fat_tails=False)
    assert fit.omega * 1e6 == pytest.approx(0.02, abs=0.006)
    assert fit.alpha == pytest.approx(0.08, abs=0.010)
    assert fit.beta == pytest.approx(0.90, abs=0.012)
    ahead = fit.next_variance(r)
    stream = GarchStream(fit)
    np.testing.assert_allclose([stream.update(float(v)) for v in r[:500]], ahead[:500], rtol=1e-12)
    far = fit.horizon_mean(ahead, 5_000)
    assert far == pytest.approx(np.full(r.size, fit.long_run), rel=0.3)
    np.testing.assert_allclose(fit.horizon_mean(ahead, 1), ahead, rtol=1e-9)
    gap = fit.next_variance(np.array([np.nan] * 3000), start=10 * fit.long_run)
    assert gap[-1] == pytest.approx(fit.long_run, rel=1e-3)


def test_falls_that_count_more_are_seen() -> None:
    rng, v, r = np.random.default_rng(2), 1.0, np.empty(8_000)
    for t in range(r.size):
        r[t] = np.sqrt(v) * rng.standard_t(6) / np.sqrt(1.5)
        v = 0.03 + (0.02 + 0.12 * (r[t] < 0)) * r[t] ** 2 + 0.88 * v
    fit = fit_garch(r, asymmetric=True)
    assert fit.gamma > 0.06
    assert fit.degrees == pytest.approx(6.0, abs=1.2)
    with pytest.raises(InputMissing, match="never move"):
        fit_garch(np.zeros(300))
    with pytest.raises(InputMissing, match="at least 250"):
        fit_garch(np.ones(10))


def test_a_comparison_has_its_size_and_its_power() -> None:
    """Equal forecasts are told apart in about 5 % of samples though their losses overlap; a better one is found."""
    rng = np.random.default_rng(3)
    p_values = []
    for _ in range(300):
        noise = np.convolve(rng.normal(size=407), np.ones(8), "valid")
        p_values.append(diebold_mariano(np.zeros(400), noise, 8).p_value)
    assert 0.02 <= np.mean(np.array(p_values) < 0.05) <= 0.11
    base = rng.normal(size=400) ** 2
    assert diebold_mariano(base, base + 0.2 + 0.5 * rng.normal(size=400)).p_value < 1e-6
    assert diebold_mariano(base, base).p_value == 0.5
    with pytest.raises(InputMissing, match="same rows"):
        diebold_mariano(base, base[:10])


def test_the_confidence_set_keeps_the_best_and_drops_the_worst() -> None:
    rng = np.random.default_rng(4)
    common = rng.normal(size=600) ** 2
    losses = {
        name: common + shift + 0.3 * rng.normal(size=600) for name, shift in (("a", 0.0), ("b", 0.01), ("c", 0.5))
    }
    kept = confidence_set(losses)
    assert "a" in kept
    assert "c" not in kept


def test_the_time_of_day_comes_back_and_its_jumps_are_gone() -> None:
    """Sixty days of a U-shaped cycle of half the volatility: within 3 % by slot when smoothed; with the cycle divided out
    there are fewer flags than with it."""
    rng = np.random.default_rng(5)
    clock = np.arange(60 * 288)
    shape = 1 + 0.5 * np.cos(2 * np.pi * np.arange(288) / 288)
    shape /= np.sqrt((shape**2).mean())
    slot = diurnal.slots(300_000 * clock.astype(np.int64), 288)
    r = 1e-3 * shape[slot] * rng.standard_normal(clock.size)
    factor = diurnal.periodicity(r, slot, 288, smooth=25)
    assert np.sqrt(((factor / shape - 1) ** 2).mean()) <= 0.03
    flagged = [(np.abs(jumps.local_shock(x)) > 0.85 * jumps.THRESHOLD).sum() for x in (r, r / factor[slot])]
    assert flagged[1] < flagged[0]
    with pytest.raises(InputMissing, match="at least 5 days"):
        diurnal.periodicity(r[:600], slot[:600], 288)


def spike_panel(
    seed: int, pairs: int, quiet: int, spike: int, rho: float = 0.2, to: float = 0.8, burst: float = 1.0
) -> Panel:
    rng = np.random.default_rng(seed)

    def part(n: int, level: float, scale: float) -> Floats:
        tail = np.sqrt(4 / rng.chisquare(4, (n, 1)))
        together = np.sqrt(level) * rng.normal(size=(n, 1)) + np.sqrt(1 - level) * rng.normal(size=(n, pairs))
        return scale * tail * together

    close = 100 * np.exp(np.cumsum(np.vstack([part(quiet, rho, 1e-3), part(spike, to, 1e-3 * burst)]), axis=0))
    reach = np.exp(5e-4 * np.abs(rng.normal(size=(2, *close.shape))))
    none = np.full(close.shape, np.nan)
    ts = 1_717_200_000_000 + 300_000 * np.arange(close.shape[0], dtype=np.int64)
    names = DEFAULT_PAIRS[:pairs]
    return Panel(
        names,
        Interval.M5,
        ts,
        close,
        close * reach[0],
        close / reach[1],
        close,
        none,
        *[none] * 5,
        frozenset({CANDLES}),
    )


def test_a_correlation_spike_is_told_within_an_hour() -> None:
    """Eight pairs go from .2 to .8 under t(4) shocks: the median delay of twelve markets is at most twelve bars."""
    delays = []
    for seed in range(12):
        evidence = cs.correlation_spike(spike_panel(seed, 8, 2_400, 48))[2_400:]
        found = np.flatnonzero(evidence > cs.ALARM)
        delays.append(found[0] + 1 if found.size else 99)
    assert np.median(delays) <= 12
    assert max(delays) <= 30


def test_a_burst_of_volatility_alone_is_no_spike_and_quiet_markets_raise_no_alarm() -> None:
    """Twenty times the volatility at the same correlation: no alarm. Thirty days without a spike: at most one."""
    evidence = cs.correlation_spike(spike_panel(20, 8, 2_400, 40, to=0.2, burst=20.0))
    assert np.nanmax(evidence[2_400:]) < cs.ALARM
    quiet = cs.correlation_spike(spike_panel(21, 8, BASE_BARS + 800 + 30 * 288, 1, rho=0.7, to=0.7))
    over = (quiet[BASE_BARS + 800 :] > cs.ALARM).astype(int)
    assert (np.diff(over) > 0).sum() <= 1


def test_the_first_component_s_share_is_known_for_equal_correlation() -> None:
    assert cs.first_share(np.full((8, 8), 0.5) + 0.5 * np.eye(8)) == pytest.approx((1 + 7 * 0.5) / 8)
