"""Volatility on real history: better than every simple model on the same rows. Skipped where that history is absent."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache

import numpy as np
import polars as pl
import pytest
from real_history import FOLDER, needs

from hydra_core.domain.intervals import Interval
from hydra_core.domain.market import CANDLES, Panel
from hydra_core.domain.pairs import DEFAULT_PAIRS
from hydra_core.statistics.comparison import confidence_set, diebold_mariano
from hydra_core.statistics.league import DAY_BARS, OURS, League, volatility_league

MARKET = FOLDER / "candles" / "5m"
pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(1_800),
    needs(MARKET),
]


SPANS = [(12, 3), (288, 12)]
"""Bars ahead and bars between forecasts: an hour and a day."""


@cache
def real_panel() -> Panel:
    """The eight pairs' 5m candles."""
    frames = [pl.read_parquet(MARKET / f"{pair}.parquet").sort("ts") for pair in DEFAULT_PAIRS]
    fields = [
        np.stack([frame[name].to_numpy() for frame in frames], axis=1)
        for name in ("open", "high", "low", "close", "volume")
    ]
    none = np.full(fields[0].shape, np.nan)
    ts = frames[0]["ts"].dt.epoch("ms").to_numpy()
    return Panel(DEFAULT_PAIRS, Interval.M5, ts, *fields, *[none] * 5, frozenset({CANDLES}))


def utc_ms(month: int, day: int = 1) -> int:
    return int(datetime(2025, month, day, tzinfo=UTC).timestamp() * 1000)


@cache
def real_league(horizon: int, every: int) -> League:
    """May to October 2025, refitted monthly."""
    return volatility_league(real_panel(), horizon, [utc_ms(m) for m in range(5, 11)], utc_ms(11), every)


@pytest.mark.parametrize(("horizon", "every"), SPANS)
def test_the_pooled_model_beats_every_simple_one_on_real_history(horizon: int, every: int) -> None:
    """May to October 2025, refitted monthly; losses drawn in at 10, because one bar of 2025-10-10 (QLIKE in the
    thousands) would else decide alone, and once more without that crash's two days."""
    panel, league = real_panel(), real_league(horizon, every)
    drawn_in = league.table(10.0)
    when = panel.close_ms[league.rows]
    quiet = (when + horizon * 300_000 < utc_ms(10, 10)) | (when > utc_ms(10, 12))
    calm = {name: float(league.losses(name)[quiet].mean()) for name in league.forecasts}
    print(f"{horizon} bars, drawn in at 10: {drawn_in}\n  without the crash: {calm}\n  all: {league.table()}")
    for name in drawn_in:
        if name != OURS:
            assert drawn_in[OURS] < drawn_in[name], name
            assert calm[OURS] < calm[name], name
    ours = league.losses(OURS, 10.0).mean(axis=1)
    for name in ("EWMA", "t-GARCH", "log-HAR"):
        assert diebold_mariano(ours, league.losses(name, 10.0).mean(axis=1), horizon // every).p_value < 0.01, name


@pytest.mark.parametrize(("horizon", "every"), SPANS)
def test_the_pooled_model_is_among_those_that_may_be_the_best(horizon: int, every: int) -> None:
    """The model confidence set at 10 % of all models, and of those that are HARs, holds it; the random walk, EWMA and GARCH
    it does not hold. Losses drawn in at 10; blocks of a day, the longer of the horizon and what losses remember."""
    league = real_league(horizon, every)
    losses = {name: league.losses(name, 10.0).mean(axis=1) for name in league.forecasts}
    hars = {name: loss for name, loss in losses.items() if "HAR" in name}
    block = max(horizon, DAY_BARS) // every
    kept, kept_hars = confidence_set(losses, 0.10, block), confidence_set(hars, 0.10, block)
    print(f"{horizon} bars: {kept} of all, {kept_hars} of the HARs")
    assert OURS in kept
    assert OURS in kept_hars
    assert not {"random walk", "EWMA", "t-GARCH"} & set(kept)
