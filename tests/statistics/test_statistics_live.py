"""Layer 2 bar by bar: every value equals the batch one to 1e-10, through gaps, restarts of rings and standstills."""

from __future__ import annotations

import numpy as np
import pytest

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.intervals import Interval
from hydra_core.domain.market import CANDLES, Floats, Panel
from hydra_core.domain.pairs import DEFAULT_PAIRS
from hydra_core.statistics.live import LiveLayer2
from hydra_core.statistics.sliding import exponential, mean, push, sliding, total
from hydra_core.statistics.state import MEMBERS, layer2


def market(seed: int, rows: int, gaps: float = 0.0, still: slice | None = None) -> Panel:
    """Fat-tailed returns of three pairs with a crash, missing bars, and a stretch in which nothing moves."""
    rng = np.random.default_rng(seed)
    r = 0.001 * rng.standard_t(3, (rows, 3)) + 0.0008 * rng.standard_t(3, (rows, 1))
    r[rows // 2] -= 0.4
    if still is not None:
        r[still] = 0.0
    close = 100.0 * np.exp(np.cumsum(r, axis=0))
    reach = 0.0005 * np.abs(rng.normal(size=(2, rows, 3))) * (r != 0)
    high, low = close * np.exp(reach[0]), close * np.exp(-reach[1])
    lost = rng.random((rows, 3)) < gaps
    for values in (close, high, low):
        values[lost] = np.nan
    none = np.full(close.shape, np.nan)
    ts = 1_717_200_000_000 + 300_000 * np.arange(rows, dtype=np.int64)
    return Panel(DEFAULT_PAIRS[:3], Interval.M5, ts, close, high, low, close, none, *[none] * 5, frozenset({CANDLES}))


@pytest.mark.parametrize(
    "panel", [market(1, 4100), market(2, 3200, gaps=0.001), market(3, 2600, still=slice(600, 2500))]
)
def test_every_statistic_moves_on_to_the_same_values_as_the_batch(panel: Panel) -> None:
    live, batch = LiveLayer2(panel.pairs, panel.interval), layer2(panel)
    found: dict[str, list[Floats]] = {name: [] for name in MEMBERS}
    out: dict[str, Floats] = {}
    for t in range(len(panel)):
        out = live.update(int(panel.close_ms[t]), panel.high[t], panel.low[t], panel.close[t])
        for name in MEMBERS:
            found[name].append(out[name][0] if name == "mean_correlation" else out[name].copy())
    for name in MEMBERS:
        np.testing.assert_allclose(np.array(found[name]), getattr(batch, name), rtol=1e-10, atol=1e-12, err_msg=name)
    np.testing.assert_allclose(out["correlation"], batch.correlation, rtol=1e-10)


def test_a_warmed_up_object_agrees_with_a_live_cycle() -> None:
    panel = market(4, 2600)
    out, cycle = LiveLayer2(panel.pairs, panel.interval).warm_up(panel), layer2(panel, 1)
    np.testing.assert_allclose(out["volatility"], cycle.volatility[0], rtol=1e-9)
    np.testing.assert_allclose(out["regimes"], cycle.regimes[0], rtol=1e-9)
    with pytest.raises(InputMissing, match="empty panel"):
        LiveLayer2(panel.pairs, panel.interval).warm_up(panel.last(0))


def test_a_bar_left_out_or_given_twice_is_an_error() -> None:
    live, price = LiveLayer2(DEFAULT_PAIRS[:1], Interval.M5), np.array([1.0])
    live.update(300_000, price, price, price)
    for close_ms in (300_000, 900_000):
        with pytest.raises(InputMissing, match="missing one as NaN"):
            live.update(close_ms, price, price, price)


def test_windows_keep_no_trace_of_what_has_left_them() -> None:
    """A value of 1e12 passes through; once it is gone, the sums of values near one are exact again to 1e-12."""
    rng = np.random.default_rng(5)
    values = rng.random((500, 2))
    values[100] = 1e12
    s = sliding(2, (50, 7), ((5.0, 60),))
    for row in values:
        push(s, row)
    assert mean(s, 0, 1) == pytest.approx(values[-50:, 1].mean(), rel=1e-12)
    assert total(s, 1, 0) == pytest.approx(values[-7:, 0].sum(), rel=1e-3)
    weights = 0.5 ** (np.arange(60)[::-1] / 5.0)
    assert exponential(s, 0, 1) == pytest.approx((values[-60:, 1] * weights).sum() / weights.sum(), rel=1e-9)
