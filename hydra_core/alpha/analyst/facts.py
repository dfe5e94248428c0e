"""What an analyst is shown of one pair: no name, no date, prices rescaled so that the last close is 100.

A language model has read the past: a symbol and a date would let it remember instead of reason. Not here: the words
around the facts (groq_client).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from hydra_core.alpha.analyst.readings import NAMES, readings_from
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Panel
from hydra_core.domain.pairs import Pair
from hydra_core.domain.text import cleaned

RESCALED: Final = 100.0
RANGE_BARS: Final = 864
"""Bars over which the observed range is taken: three days at 5m."""
AVERAGE_RANGE_BARS: Final = 48
_HOURS: Final = 24
_MEANING: Final[Mapping[str, str]] = {
    "funding_excess": "settled funding beyond the usual, basis points per settlement; above 0 longs pay shorts",
    "long_short_deviation": "log ratio of accounts long to short, less its mean over a week",
    "oi_growth_day": "change of log open interest over a day",
    "oi_growth_3_days": "change of log open interest over three days",
    "move_4_hours": "log return of four hours in expected standard deviations",
    "variance_ratio": "variance of the last two hours over that of five days",
}
_STEP: Final[Mapping[str, float]] = {
    "funding_excess": 0.5,
    "long_short_deviation": 0.05,
    "oi_growth_day": 0.01,
    "oi_growth_3_days": 0.02,
    "move_4_hours": 0.5,
    "variance_ratio": 1.0,
}
"""A reading that moves by less than this is the same state: no new call."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One fact that an answer may cite: its id, what it is, its value and what that means."""

    identifier: str
    name: str
    value: float
    meaning: str


@dataclass(frozen=True)
class AnalystFacts:
    """Facts of one pair at one bar close; prices are rescaled to a last close of 100.

    Parameters
    ----------
    pair, close_ms, close : whose facts, when (epoch ms) and at what price (USDT); never shown
    ttl_ms : market milliseconds that an analysis of them stays valid
    evidence : what may be cited
    lowest, highest : observed range of the last three days
    average_range : mean range of four hours over the last three days
    hourly_closes : of the last day, oldest first
    news : untrusted text, cleaned; data, never instructions
    """

    pair: Pair
    close_ms: int
    close: float
    ttl_ms: int
    evidence: tuple[Evidence, ...]
    lowest: float
    highest: float
    average_range: float
    hourly_closes: tuple[float, ...]
    news: tuple[str, ...] = ()

    def reading(self, name: str) -> float:
        """A reading's value; NaN where it is not known."""
        return next((item.value for item in self.evidence if item.name == name), math.nan)

    def to_price(self, rescaled: float) -> float:
        """A rescaled price in USDT."""
        return rescaled * self.close / RESCALED

    @cached_property
    def state_hash(self) -> str:
        """SHA-256 of the state in coarse steps: equal states need no second opinion."""
        coarse: dict[str, Any] = {item.name: round(item.value / _STEP[item.name]) for item in self.evidence}
        coarse["news"] = list(self.news)
        return hashlib.sha256(json.dumps(coarse, sort_keys=True).encode()).hexdigest()

    def shown(self) -> dict[str, Any]:
        """What a language model gets to see, as plain values."""
        return {
            "evidence": [
                {"id": item.identifier, "name": item.name, "value": item.value, "meaning": item.meaning}
                for item in self.evidence
            ],
            "price": {
                "last": RESCALED,
                "lowest_3_days": self.lowest,
                "highest_3_days": self.highest,
                "average_4_hour_range": self.average_range,
                "hourly_closes": list(self.hourly_closes),
            },
        }


def facts_from(panel: Panel, pair: Pair, *, ttl_ms: int = 900_000, news: tuple[str, ...] = ()) -> AnalystFacts:
    """Facts of a pair at the panel's last close.

    Parameters
    ----------
    panel : Panel with its look-back
    pair : Pair, one of the panel's
    ttl_ms : market milliseconds that an analysis stays valid
    news : untrusted lines, e.g. headlines; cut, stripped of control characters and of anything that looks like markup

    Raises
    ------
    InputMissing : the pair is not in the panel, or its last candle or the last three days are missing
    """
    if pair not in panel.pairs:
        raise InputMissing(f"no {pair} in the panel", f"It holds {', '.join(panel.pairs)}")
    column = panel.pairs.index(pair)
    days = panel.last(RANGE_BARS)
    close = float(days.close[-1, column]) if len(days) else math.nan
    if not math.isfinite(close) or len(days) < RANGE_BARS:
        raise InputMissing(f"{pair}: the last three days of candles are not complete", "Wait for the backfill")
    scale = RESCALED / close
    low, high, closes = days.low[:, column], days.high[:, column], days.close[:, column]
    blocks = RANGE_BARS // AVERAGE_RANGE_BARS
    ranges = np.nanmax(high.reshape(blocks, -1), axis=1) - np.nanmin(low.reshape(blocks, -1), axis=1)
    newest = readings_from(panel, 1)
    values = {name: float(getattr(newest, name)[0, column]) for name in NAMES}
    known = [(name, round(value, 5)) for name, value in values.items() if math.isfinite(value)]
    hourly = closes[::-1][: 12 * _HOURS : 12][::-1]
    return AnalystFacts(
        pair=pair,
        close_ms=int(panel.close_ms[-1]),
        close=close,
        ttl_ms=ttl_ms,
        evidence=tuple(Evidence(f"E{i}", name, value, _MEANING[name]) for i, (name, value) in enumerate(known, 1)),
        lowest=round(float(np.nanmin(low)) * scale, 3),
        highest=round(float(np.nanmax(high)) * scale, 3),
        average_range=round(float(np.nanmean(ranges)) * scale, 3),
        hourly_closes=tuple(round(float(v) * scale, 2) for v in hourly if math.isfinite(v)),
        news=tuple(filter(None, (cleaned(line) for line in news[:10]))),
    )
