"""Correlation: shrinkage as the reference library computes it, the UTC grid, the fast alarm."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.intervals import Interval
from hydra_core.domain.market import CANDLES, Floats, Panel
from hydra_core.domain.pairs import DEFAULT_PAIRS, Pair
from hydra_core.statistics import correlation as co
from hydra_core.statistics.rolling import newest_products


def panel_of(returns: Floats, start_ms: int = 1_717_200_000_000) -> Panel:
    close = 100 * np.exp(np.cumsum(returns, axis=0))
    none = np.full(close.shape, np.nan)
    ts = start_ms + 300_000 * np.arange(close.shape[0], dtype=np.int64)
    pairs = (*DEFAULT_PAIRS, *(Pair(f"A{n}USDT") for n in range(close.shape[1])))[: close.shape[1]]
    return Panel(pairs, Interval.M5, ts, close, close, close, close, close, *[none] * 5, frozenset({CANDLES}))


def test_shrinkage_is_that_of_the_reference_library() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 8)) @ rng.normal(size=(8, 8))
    covariance, shrinkage = co.ledoit_wolf(x)
    reference = LedoitWolf().fit(x)
    np.testing.assert_allclose(covariance, reference.covariance_, rtol=1e-10)
    assert shrinkage == pytest.approx(reference.shrinkage_, rel=1e-10)


def test_what_cannot_be_measured_gets_no_credit_for_diversification() -> None:
    """A pair without data, a pair that stands still and a short history count as moving with everything."""
    r = np.random.default_rng(2).normal(size=(288, 4))
    r[:, 1], r[:, 2] = np.nan, 0.0
    out = co.shrunk_correlation(r)
    assert (out[1] == 1).all()
    assert (out[2] == 1).all()
    assert abs(out[0, 3]) < 0.2
    assert (co.shrunk_correlation(r[:10]) == 1).all()
    assert (co.shrunk_correlation(np.zeros((288, 4))) == 1).all()
    assert np.linalg.eigvalsh(co.shrunk_correlation(r[:, [0, 3]])).min() >= 0


def test_a_matrix_is_renewed_on_the_utc_grid_only() -> None:
    """Live and backtest agree because both wait for the same bar: one that closes at 00, 04, 08, … UTC."""
    rng = np.random.default_rng(3)
    together = rng.normal(0, 0.001, (500, 1)) + rng.normal(0, 0.001, (500, 3))
    panel = panel_of(together, start_ms=1_717_200_000_000 + 7 * 300_000)
    rows = np.arange(400, 500)
    matrices = co.correlations(panel, rows)
    changed = rows[1:][np.array([not np.array_equal(a, b) for a, b in itertools.pairwise(matrices)])]
    assert changed.size in (2, 3)
    assert all(int(panel.close_ms[row]) % (4 * 3_600_000) == 0 for row in changed)
    tail = panel.last(co.MATRIX_LOOKBACK)
    np.testing.assert_array_equal(co.correlations(tail, np.array([len(tail) - 1]))[0], matrices[-1])
    with pytest.raises(InputMissing, match="empty"):
        co.correlations(panel.last(0), np.array([0]))


def test_the_alarm_rises_within_an_hour_when_everything_moves_as_one() -> None:
    """Correlation goes from .2 to .95: the fast mean passes .8 within 12 bars, though a shrunk day would not."""
    rng = np.random.default_rng(4)

    def market(n: int, rho: float, scale: float) -> Floats:
        return scale * (np.sqrt(rho) * rng.normal(size=(n, 1)) + np.sqrt(1 - rho) * rng.normal(size=(n, 8)))

    panel = panel_of(np.vstack([market(600, 0.2, 0.001), market(12, 0.95, 0.004)]))
    fast = co.mean_correlation(panel)
    assert fast[599] == pytest.approx(0.2, abs=0.15)
    assert fast[-1] > 0.8
    assert co.mean_correlation(panel_of(rng.normal(size=(400, 1)) * 0.001))[-1] == 0


def test_what_is_believed_beforehand_counts_for_the_weight_of_the_noise() -> None:
    """Independent returns: little is measured, so the prior carries the matrix; many bars of one factor: hardly at all."""
    prior = co.prior_correlation(co.PRIOR_PAIRS)
    assert np.linalg.eigvalsh(prior).min() > 0.1
    np.testing.assert_array_equal(prior, prior.T)
    rng = np.random.default_rng(5)
    noise = rng.normal(size=(288, 8))
    _, weight = co.ledoit_wolf(noise / noise.std(axis=0))
    believed, measured = co.shrunk_correlation(noise, prior), co.shrunk_correlation(noise)
    np.testing.assert_allclose(believed - measured, weight * (prior - np.eye(8)), atol=1e-12)
    assert weight > 0.5
    factor = 0.9 * rng.normal(size=(288, 1)) + np.sqrt(1 - 0.81) * noise
    assert np.abs(co.shrunk_correlation(factor, prior) - np.corrcoef(factor.T)).max() < 0.02
    assert np.linalg.eigvalsh(believed).min() > 0


def test_a_pair_outside_the_table_is_believed_to_move_with_the_others() -> None:
    prior = co.prior_correlation(["BTCUSDT", "WIFUSDT", "ETHUSDT"])
    assert prior.tolist() == [[1.0, 0.65, 0.85], [0.65, 1.0, 0.65], [0.85, 0.65, 1.0]]


def test_many_pairs_are_taken_one_by_one_to_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(9)
    returns = 0.001 * (rng.normal(size=(310, 7)) + rng.normal(size=(310, 1)))
    returns[40, 3] = np.nan
    panel = panel_of(returns)
    at_once = co.mean_correlation(panel)
    monkeypatch.setattr(co, "_AT_ONCE", 2)
    np.testing.assert_array_equal(co.mean_correlation(panel), at_once)
    assert np.isfinite(at_once[-1])


@pytest.mark.parametrize("pairs", [2, 8, 70])
def test_the_newest_rows_alone_give_the_bits_of_the_whole(pairs: int) -> None:
    rng = np.random.default_rng(pairs)
    panel = panel_of(0.001 * (rng.standard_t(4, size=(320, pairs)) + rng.normal(size=(320, 1))))
    whole = co.mean_correlation(panel)
    for rows in (1, 2, 4):
        assert newest_products(np.diff(np.log(panel.close), axis=0)[-co.FAST_BARS :], 24.0, co.FAST_BARS) is not None
        np.testing.assert_array_equal(co.mean_correlation(panel, rows), whole[-rows:])
    assert newest_products(np.full((co.FAST_BARS, pairs), np.nan), 24.0, co.FAST_BARS) is None
