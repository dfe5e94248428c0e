"""What regimes gain over one regime on real history. Skipped where that history is absent."""

from __future__ import annotations

from functools import cache

import polars as pl
import pytest
from real_history import FOLDER, needs

from hydra_core.domain.pairs import DEFAULT_PAIRS, Pair
from hydra_core.research.study.contests import LIVE, RAW, STANDARDISED, Contest, RegimeGains
from hydra_core.research.study.one_pair import PairBars
from hydra_core.research.study.records import Estimate
from hydra_core.research.study.regime_gain import regime_gains_of

MARKET = FOLDER / "candles" / "5m"
pytestmark = [pytest.mark.long, pytest.mark.timeout(1_200), needs(MARKET)]


@cache
def gains() -> RegimeGains:
    """January to October 2025, the last three months of it judged; the crash of 2025-10-10 is among them."""
    pairs: dict[Pair, PairBars] = {}
    for pair in DEFAULT_PAIRS:
        frame = pl.read_parquet(MARKET / f"{pair}.parquet").sort("ts")
        columns = [frame[name].to_numpy() for name in ("open", "high", "low", "close")]
        pairs[pair] = PairBars(frame["ts"].dt.epoch("ms").to_numpy(), *columns)
    return regime_gains_of(pairs)


def gain(contest: Contest, name: str) -> Estimate:
    return contest.contenders[name].over_garch


def test_regimes_of_standardised_returns_are_better_than_those_of_raw_ones_in_every_pair() -> None:
    found = gains()
    assert len(found.pairs) == len(DEFAULT_PAIRS)
    for contests in found.pairs.values():
        for one in contests:
            assert gain(one, STANDARDISED).value > gain(one, RAW).value
    for every in found.together:
        raw, standardised = gain(every, RAW), gain(every, STANDARDISED)
        assert raw.high is not None
        assert raw.high < 0.0
        assert standardised.value > raw.value + 0.01
        assert every.contenders[STANDARDISED].hour.p_value < 0.05


def test_the_gain_is_the_averages_and_not_the_regimes_own() -> None:
    """A t-GARCH of the same standardised returns is as good: nothing is claimed for regimes that this does not allow."""
    for every in gains().together:
        assert every.regimes_own.low is not None
        assert every.regimes_own.low < 0.0
        assert abs(every.regimes_own.value) < 0.003
    live = gain(gains().together[0], LIVE)
    assert live.high is not None
    assert live.high < 0.0
