"""The rules analyst: who is crowded, who is trapped, from positioning alone; pure, over arrays.

It sits in the analyst's seat when no language model does, and it is what every failure of one falls back to. Its
thresholds are choices, not fits, and it needs no gate: it can only veto.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from hydra_core.alpha.analyst.facts import AnalystFacts
from hydra_core.alpha.analyst.readings import NAMES, Readings, readings_from
from hydra_core.domain.market import Floats, Panel
from hydra_core.domain.trading import Analysis

SOURCE: Final = "rules"
FUNDING_SCALE: Final = 4.0
"""Basis points beyond the usual at which funding says most of what it can say."""
LONG_SHORT_SCALE: Final = 0.35
OI_SCALE: Final = 0.05
TRAP_CROWDING: Final = 0.6
BIAS_CROWDING: Final = 0.8
AGAINST: Final = 0.5
"""Standard deviations that the price must have moved against a crowd for it to be trapped."""
FUNDING_EXTREME: Final = 5.0
OI_SURGE: Final = 0.05
VARIANCE_SPIKE: Final = 4.0
SIDES: Final = {1: "long", -1: "short"}


@dataclass(frozen=True, eq=False)
class Judgement:
    """What the rules say; arrays of the readings' shape, NaN where no positioning is known.

    Parameters
    ----------
    crowding : in [0, 1]
    crowded : +1 longs, -1 shorts, 0 nobody in particular
    bias : +1 long, -1 short, 0 neutral: against a very crowded side
    trap : +1 longs, -1 shorts, 0 none: the side likely to be trapped
    confidence : in [0, 1]
    """

    crowding: Floats
    crowded: Floats
    bias: Floats
    trap: Floats
    confidence: Floats


def judge(readings: Readings) -> Judgement:
    """Apply the rules.

    The tilt is the mean of funding and long/short deviation, each through tanh, over those that are known; growing
    open interest is fuel. A side is trapped when it is crowded and the price runs against it, or when it is very
    crowded; the bias turns against a very crowded side.
    """
    parts = np.stack(
        [
            np.tanh(readings.funding_excess / FUNDING_SCALE),
            np.tanh(readings.long_short_deviation / LONG_SHORT_SCALE),
        ]
    )
    known = np.isfinite(parts)
    count = known.sum(axis=0)
    tilt = np.where(count > 0, np.where(known, parts, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)
    growth = np.where(np.isfinite(readings.oi_growth_3_days), readings.oi_growth_3_days, 0.0)
    fuel = 0.5 + 0.5 * np.tanh(growth / OI_SCALE)
    crowding = np.minimum(np.abs(tilt) * (0.75 + 0.5 * fuel), 1.0)
    side = np.sign(tilt)
    running_against = readings.move_4_hours * side < -AGAINST
    trapped = (crowding >= BIAS_CROWDING) | ((crowding >= TRAP_CROWDING) & running_against)
    silent = np.isnan(tilt)

    def word(values: Floats) -> Floats:
        return np.where(silent, np.nan, values)

    return Judgement(
        crowding=crowding,
        crowded=word(np.where(crowding >= TRAP_CROWDING, side, 0.0)),
        bias=word(np.where(crowding >= BIAS_CROWDING, -side, 0.0)),
        trap=word(np.where(trapped, side, 0.0)),
        confidence=word(np.where(count > 1, 1.0, 0.6) * crowding),
    )


def rules_judgement(panel: Panel, last: int | None = None) -> Judgement:
    """The rules' word on every row, or on the newest ``last`` rows, arrays (n, P)."""
    return judge(readings_from(panel, last))


def rules_analysis(facts: AnalystFacts, why: str = "") -> Analysis:
    """The rules' reading of one pair in the analyst's own words.

    Parameters
    ----------
    facts : AnalystFacts
    why : str, reason that the rules speak in a language model's place; kept in ``extra``
    """
    values = {name: np.array([[facts.reading(name)]]) for name in NAMES}
    verdict = judge(Readings(**values))

    def one(array: Floats) -> float:
        value = float(array[0, 0])
        return 0.0 if np.isnan(value) else value

    crowded, trap, bias = (int(one(array)) for array in (verdict.crowded, verdict.trap, verdict.bias))
    return Analysis(
        pair=facts.pair,
        crowding=one(verdict.crowding),
        trap=SIDES.get(trap, "none"),
        bias=SIDES.get(bias, "neutral"),
        confidence=one(verdict.confidence),
        risk_flags=_flags(facts, crowded, trap),
        forced_exit_zones=_zones(facts, crowded),
        evidence=tuple(item.identifier for item in facts.evidence),
        source=SOURCE,
        made_ms=facts.close_ms,
        expires_ms=facts.close_ms + facts.ttl_ms,
        state_hash=facts.state_hash,
        extra={"why": why} if why else {},
    )


def _flags(facts: AnalystFacts, crowded: int, trap: int) -> tuple[str, ...]:
    rough = facts.reading("variance_ratio") > VARIANCE_SPIKE
    raised = {
        "crowded_longs": crowded > 0,
        "crowded_shorts": crowded < 0,
        "funding_extreme": abs(facts.reading("funding_excess")) > FUNDING_EXTREME,
        "open_interest_surge": facts.reading("oi_growth_day") > OI_SURGE,
        "volatility_spike": rough,
        "cascade_risk": bool(trap) and rough,
        "thin_data": len(facts.evidence) < len(NAMES),
    }
    return tuple(flag for flag, up in raised.items() if up)


def _zones(facts: AnalystFacts, crowded: int) -> tuple[tuple[float, float], ...]:
    """Beyond the extreme of the last days on the crowded side's losing end, one average range deep, in USDT."""
    if not crowded:
        return ()
    low, high = (
        (facts.lowest - facts.average_range, facts.lowest)
        if crowded > 0
        else (facts.highest, facts.highest + facts.average_range)
    )
    return ((facts.to_price(low), facts.to_price(high)),)
