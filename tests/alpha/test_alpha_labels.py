"""Labels against hand-computed futures; a label never reads the past it is joined to, nor anything beyond its horizon."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from example_panel import example_panel

from hydra_core.alpha import labels
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import FUNDING, Panel

HORIZON = 48


@pytest.fixture(scope="module")
def panel() -> Panel:
    return example_panel(7, 1900, pairs=2)


def test_a_forward_return_runs_from_the_next_open_to_the_one_after_the_horizon(panel: Panel) -> None:
    got = labels.forward_return(panel, HORIZON)
    assert got[100, 1] == pytest.approx(np.log(panel.open[149, 1] / panel.open[101, 1]), rel=1e-12)
    assert np.isnan(got[-HORIZON - 1 :]).all()
    assert np.isfinite(got[: -HORIZON - 1]).all()
    scaled = labels.scaled_return(panel, HORIZON)
    assert np.nanstd(scaled) == pytest.approx(1.0, abs=0.25)


def test_an_excursion_is_the_worst_price_inside_the_horizon(panel: Panel) -> None:
    against_long, against_short = labels.adverse_excursion(panel, HORIZON)
    entry = panel.open[201, 0]
    assert against_long[200, 0] == pytest.approx(np.log(entry / panel.low[201:249, 0].min()), rel=1e-12)
    assert against_short[200, 0] == pytest.approx(np.log(panel.high[201:249, 0].max() / entry), rel=1e-12)
    assert np.isnan(against_long[-HORIZON:]).all()


def with_cascade(panel: Panel, at: int, move: float, oi_fall: float) -> Panel:
    """The panel with a jump of price in one bar and a fall of open interest from the next reading on, pair 0."""
    factor = np.ones(len(panel))
    factor[at:] = np.exp(move)
    changed = {name: getattr(panel, name).copy() for name in ("open", "high", "low", "close", "open_interest")}
    for name in ("high", "low", "close"):
        changed[name][:, 0] *= factor
    changed["open"][:, 0] *= np.concatenate([[1.0], factor[:-1]])
    changed["high"][at, 0], changed["low"][at, 0] = (
        max(changed["open"][at, 0], changed["close"][at, 0]) * 1.0001,
        min(changed["open"][at, 0], changed["close"][at, 0]) * 0.9999,
    )
    changed["open_interest"][:] = 1000.0
    changed["open_interest"][at + 1 :, 0] *= 1 - oi_fall
    return replace(panel, **changed)


@pytest.mark.parametrize(
    ("move", "oi_fall", "longs", "shorts"),
    [(-0.08, 0.07, True, False), (0.08, 0.07, False, True), (-0.08, 0.01, False, False), (-0.0005, 0.07, False, False)],
)
def test_a_forced_exit_is_a_large_move_with_falling_open_interest(
    panel: Panel, move: float, oi_fall: float, longs: bool, shorts: bool
) -> None:
    """Both are needed; the side that loses is the one forced out; exactly the rows whose future holds it are marked."""
    at = 1700
    long, short = labels.forced_exit(with_cascade(panel, at, move, oi_fall), HORIZON)
    for got, forced in ((long, longs), (short, shorts)):
        marked = np.flatnonzero(got[:, 0] == 1.0)
        if forced:
            assert marked.min() == at - HORIZON
            assert marked.max() == at - 1
            assert marked.size == HORIZON
        else:
            assert not marked.size
        assert not (got[:, 1] == 1.0).any()


def test_labels_of_a_row_are_deaf_to_its_past_and_to_what_lies_beyond(panel: Panel) -> None:
    """Other values after the horizon leave the label as it is, and an incomplete future is unknown, not zero."""
    long, _ = labels.forced_exit(panel, HORIZON)
    row = 1750
    shorter, _ = labels.forced_exit(panel.rows(slice(0, row + HORIZON + 2)), HORIZON)
    assert shorter[row, 0] == long[row, 0]
    assert np.isnan(shorter[row + 2 :]).all()
    cut = labels.forward_return(panel.rows(slice(row, len(panel))), HORIZON)
    np.testing.assert_array_equal(cut, labels.forward_return(panel, HORIZON)[row:])


def test_without_open_interest_there_is_no_label_at_all() -> None:
    with pytest.raises(InputMissing, match="open interest"):
        labels.forced_exit(example_panel(8, 60, inputs=frozenset({FUNDING})), HORIZON)
    with pytest.raises(InputMissing, match="shorter than an event"):
        labels.forced_exit(example_panel(8, 60), 2)


def touched(panel: Panel, row: int, pair: int, horizon: int, width: float) -> tuple[float, float]:
    """The first barrier told bar by bar, from prices alone."""
    reach = width * labels.volatility_scale(panel)[row, pair] * np.sqrt(horizon)
    entry = panel.open[row + 1, pair]
    for bar in range(1, horizon + 1):
        up = np.log(panel.high[row + bar, pair] / entry) >= reach
        down = np.log(entry / panel.low[row + bar, pair]) >= reach
        if up or down:
            return float(up) - float(down), bar
    return float(np.sign(panel.open[row + 1 + horizon, pair] - entry)), horizon


@pytest.mark.parametrize("width", [0.6, 1.5])
def test_the_first_barrier_and_its_bar_are_those_of_the_prices(panel: Panel, width: float) -> None:
    side, bars = labels.triple_barrier(panel, HORIZON, width)
    known = np.argwhere(np.isfinite(side))
    for row, pair in known[:: max(1, len(known) // 150)]:
        assert (side[row, pair], bars[row, pair]) == touched(panel, row, pair, HORIZON, width)
    assert np.isnan(side[-1:]).all()
    waited = np.isfinite(side) & (bars == HORIZON)
    assert not waited[-HORIZON - 1 :].any(), "what has touched nothing yet is unknown while its time is not over"
    cut = labels.triple_barrier(panel.rows(slice(0, 1_790)), HORIZON, width)
    early = np.isfinite(cut[0])
    np.testing.assert_array_equal(cut[0][early], side[:1_790][early])


def test_a_bar_that_touches_both_barriers_says_neither(panel: Panel) -> None:
    high, low = panel.high.copy(), panel.low.copy()
    high[1_701, 0], low[1_701, 0] = 1.5 * high[1_701, 0], 0.5 * low[1_701, 0]
    side, bars = labels.triple_barrier(replace(panel, high=high, low=low), HORIZON, 1.5)
    assert (side[1_700, 0], bars[1_700, 0]) == (0.0, 1.0)


@pytest.mark.parametrize("kind", ["return", "barrier", "quintile"])
def test_every_target_means_the_same_small_expected_return(panel: Panel, kind: labels.Target) -> None:
    """A regression on any of them, on a walk with a drift of a tenth of a standard deviation, comes to that tenth."""
    rng = np.random.default_rng(5)
    steps = 0.002 * rng.normal(size=(len(panel), 200))
    wide = np.exp(np.cumsum(steps + 0.1 * 0.002 / np.sqrt(12), axis=0))
    opened = np.vstack([wide[:1], wide[:-1]])
    none = np.full(wide.shape, np.nan)
    moved = {"open": opened, "high": np.maximum(opened, wide), "low": np.minimum(opened, wide), "close": wide}
    rest = {name: none for name in ("volume", "funding_rate", "open_interest", "long_short")}
    walk = replace(
        panel, pairs=tuple(f"P{number}USDT" for number in range(200)), inputs=frozenset({"candles"}),
        liquidated_long=none, liquidated_short=none, **moved, **rest,
    )  # fmt: skip
    target, bars = labels.training_target(walk, 12, kind, 2.5)
    assert np.nanmean(target) == pytest.approx(0.1, abs=0.03)
    np.testing.assert_array_equal(np.isnan(target), np.isnan(bars))


def test_labels_that_run_together_share_their_bars_and_one_alone_is_its_own() -> None:
    bars = np.array([[4.0], [4.0], [np.nan], [2.0]])
    rows = np.array([0, 2, 3, 10])
    # Bars 1-4 and 3-6: the two share 3 and 4.
    np.testing.assert_allclose(
        labels.average_uniqueness(rows, bars)[:, 0], [(1 + 1 + 0.5 + 0.5) / 4, 0.75, np.nan, 1.0]
    )
    dense = labels.average_uniqueness(np.arange(500), np.full((500, 1), 48.0))
    assert dense[250, 0] == pytest.approx(1 / 48)
    assert dense[0, 0] > 3 / 48
