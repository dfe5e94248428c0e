"""Layers 2 and 3 over many bars at once: state of the market, forecasts, hazards, the rules analyst, and what they
permit.

Here: running the organs and laying their arrays side by side, and :class:`Row`, one instant of them as plain lists. Not
here: anything that depends on what is held (``step``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from hydra_core.alpha.analyst import rules
from hydra_core.alpha.models import Forecast, Hazard, Models, PolicyObservation
from hydra_core.alpha.policy.observation import policy_inputs
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Floats, Ints, Panel
from hydra_core.domain.pairs import Pair
from hydra_core.execution.committee import ANALYST, CROWD, FORECASTER, POLICY
from hydra_core.risk.limits import Limits
from hydra_core.risk.sizing import MAINTENANCE_RATE, Sizing, leverage_cap, size
from hydra_core.risk.switches import Stress
from hydra_core.statistics.correlation import correlations, matrix_anchors
from hydra_core.statistics.state import MarketState, layer2


@dataclass(slots=True)
class Row:
    """One instant of an :class:`Assessment`; lists of length P in the panel's order, NaN where unknown.

    The lists are shared with the assessment: whoever changes a row puts new lists in it.
    """

    bar_close_ms: int
    expected_return: list[float]
    confidence: list[float]
    volatility: list[float]
    side: list[float]
    edge: list[float]
    risk_share: list[float]
    stop_distance: list[float]
    leverage: list[float]
    multiplier: list[float]
    hazard_long: list[float]
    hazard_short: list[float]
    bias: list[float]
    trap: list[float]
    source: list[str]
    correlation: list[list[float]]
    stress: Stress
    observation: PolicyObservation | None
    absent: Mapping[str, str]

    @classmethod
    def unknown(cls, pairs: int, bar_close_ms: int = 0) -> Row:
        """Nothing is known of any pair."""
        none = [math.nan] * pairs
        return cls(
            bar_close_ms=bar_close_ms,
            expected_return=none,
            confidence=none,
            volatility=none,
            side=[0.0] * pairs,
            edge=none,
            risk_share=none,
            stop_distance=none,
            leverage=none,
            multiplier=none,
            hazard_long=none,
            hazard_short=none,
            bias=none,
            trap=none,
            source=[rules.SOURCE] * pairs,
            correlation=[none] * pairs,
            stress=Stress(math.nan, math.nan, math.nan),
            observation=None,
            absent={},
        )

    def without_signals(self) -> Row:
        """The same instant with every signal unknown and the market's stress kept."""
        return replace(Row.unknown(len(self.side), self.bar_close_ms), stress=self.stress, absent=self.absent)


@dataclass(frozen=True, eq=False)
class Assessment:
    """Layers 2 and 3 for the newest n bars of a panel: what a step reads one row of. NaN means unknown.

    Parameters
    ----------
    pairs : tuple of Pair, length P
    bar_close_ms : int64 (n,), close of each bar, epoch ms
    state : MarketState of n rows
    correlation : (K, P, P) matrices, and ``correlation_at`` (n,) which of them is in force in each row
    forecast : Forecast (n, P), all NaN without a forecaster
    sizing : Sizing (n, P)
    hazard : Hazard (n, P) or None without a crowd model
    opinions : the rules analyst's judgement (n, P)
    observation : PolicyObservation (n, P) with positions of zero, or None without a forecaster
    absent : seat -> why it is empty
    faults : declared inputs of seated models that the panel lacks; they block entries
    """

    pairs: tuple[Pair, ...]
    bar_close_ms: Ints
    state: MarketState
    correlation: Floats
    correlation_at: Ints
    forecast: Forecast
    sizing: Sizing
    hazard: Hazard | None
    opinions: rules.Judgement
    observation: PolicyObservation | None
    absent: Mapping[str, str] = field(default_factory=dict)
    faults: tuple[str, ...] = ()

    def __len__(self) -> int:
        return int(self.bar_close_ms.size)

    @cached_property
    def stress(self) -> tuple[Floats, Floats, Floats]:
        """The market's mean correlation, variance ratio and probability of the extreme regime, each of shape (n,)."""
        state = self.state
        return state.mean_correlation, _typical(state.variance_ratio), _typical(state.extreme)

    @cached_property
    def _lists(self) -> dict[str, Any]:
        """Every array as nested lists, once: reading a row is then free of conversions."""
        sizing, (mean_correlation, variance_ratio, extreme) = self.sizing, self.stress
        nothing = [[math.nan] * len(self.pairs)] * len(self)
        return {
            "close": self.bar_close_ms.tolist(),
            "expected_return": self.forecast.expected_return.tolist(),
            "confidence": self.forecast.confidence.tolist(),
            "volatility": self.forecast.volatility.tolist(),
            "side": sizing.side.tolist(),
            "edge": sizing.edge.tolist(),
            "risk_share": sizing.risk_share.tolist(),
            "stop_distance": sizing.stop_distance.tolist(),
            "leverage": sizing.leverage.tolist(),
            "multiplier": sizing.multiplier.tolist(),
            "hazard_long": self.hazard.long.tolist() if self.hazard else nothing,
            "hazard_short": self.hazard.short.tolist() if self.hazard else nothing,
            "bias": self.opinions.bias.tolist(),
            "trap": self.opinions.trap.tolist(),
            "source": [rules.SOURCE] * len(self.pairs),
            "correlation": self.correlation.tolist(),
            "correlation_at": self.correlation_at.tolist(),
            "mean_correlation": mean_correlation.tolist(),
            "variance_ratio": variance_ratio.tolist(),
            "extreme": extreme.tolist(),
        }

    def row(self, index: int) -> Row:
        """One instant; negative indices count from the newest."""
        at = self._lists
        seen = self.observation
        index = range(len(self))[index]
        return Row(
            bar_close_ms=at["close"][index],
            expected_return=at["expected_return"][index],
            confidence=at["confidence"][index],
            volatility=at["volatility"][index],
            side=at["side"][index],
            edge=at["edge"][index],
            risk_share=at["risk_share"][index],
            stop_distance=at["stop_distance"][index],
            leverage=at["leverage"][index],
            multiplier=at["multiplier"][index],
            hazard_long=at["hazard_long"][index],
            hazard_short=at["hazard_short"][index],
            bias=at["bias"][index],
            trap=at["trap"][index],
            source=at["source"],
            correlation=at["correlation"][at["correlation_at"][index]],
            stress=Stress(at["mean_correlation"][index], at["variance_ratio"][index], at["extreme"][index]),
            observation=seen if seen is None else _observation_row(seen, index),
            absent=self.absent,
        )


def assess(panel: Panel, models: Models, limits: Limits, last: int = 1) -> Assessment:
    """Layers 2 and 3 for the newest ``last`` rows of a panel.

    Pure, and the expensive part of a cycle: it changes only when a bar closes, so a window run keeps it by the panel's
    hash. A seated model whose declared inputs the panel lacks abstains, and the lack is a fault.

    Raises
    ------
    InputMissing : the panel has fewer than ``last`` rows
    """
    absent = dict(models.absent)
    faults: list[str] = []
    forecast: Forecast | None = None
    hazard: Hazard | None = None
    if models.forecaster is not None:
        try:
            forecast = models.forecaster.forecast(panel, last)
        except InputMissing as error:
            absent[FORECASTER] = str(error)
            faults.append(f"forecaster: {error}")
    if models.crowd is not None:
        try:
            hazard = models.crowd.hazard(panel, last)
        except InputMissing as error:
            absent[CROWD] = str(error)
            faults.append(f"crowd: {error}")
    return assemble(panel, limits, forecast, hazard, last=last, absent=absent, faults=tuple(faults))


def assemble(
    panel: Panel,
    limits: Limits,
    forecast: Forecast | None,
    hazard: Hazard | None = None,
    *,
    last: int | None = None,
    state: MarketState | None = None,
    absent: Mapping[str, str] | None = None,
    faults: tuple[str, ...] = (),
) -> Assessment:
    """An assessment from forecasts that are there already, e.g. out-of-fold ones; the rest is computed here.

    Parameters
    ----------
    panel : Panel
    forecast : Forecast (n, P) for the newest n rows, or None without a forecaster
    hazard : Hazard (n, P) or None
    last : int, n where neither forecast nor hazard tells it; default: all rows
    state : MarketState of the newest n rows, where it has been computed already
    absent : seat -> why it is empty
    """
    n = _rows(panel, forecast, hazard, last)
    state = layer2(panel, n) if state is None else state
    rows = np.arange(len(panel) - n, len(panel))
    anchors, at = np.unique(matrix_anchors(panel, rows), return_inverse=True)
    first_use = rows[np.searchsorted(at, np.arange(anchors.size))]
    words = forecast or Forecast.unknown(n, len(panel.pairs))
    empty = {FORECASTER: "no forecaster champion", CROWD: "no crowd champion", POLICY: "no policy champion"}
    return Assessment(
        pairs=panel.pairs,
        bar_close_ms=panel.close_ms[rows],
        state=state,
        correlation=correlations(panel, first_use),
        correlation_at=at,
        forecast=words,
        sizing=size(
            words.expected_return,
            words.confidence,
            words.adverse_excursion,
            words.volatility,
            multipliers(panel.pairs, limits),
            leverage_cap(state.regimes, limits),
            maintenance_rates(panel.pairs, limits),
            limits,
        ),
        hazard=hazard,
        opinions=rules.rules_judgement(panel, n),
        observation=None if forecast is None else policy_inputs(panel, forecast, limits.round_trip * 1e4, n),
        absent={**empty, ANALYST: "no positioning is known of the pair", **(absent or {})},
        faults=faults,
    )


def multipliers(pairs: tuple[Pair, ...], limits: Limits) -> Floats:
    """Size multiplier of each pair; one that is not named gets the smallest that is."""
    named = limits.risk.pair_multipliers
    return np.array([named.get(pair, min(named.values(), default=1.0)) for pair in pairs])


def maintenance_rates(pairs: tuple[Pair, ...], limits: Limits) -> Floats:
    """Maintenance rate of each pair's largest position; the assumed one where its margin table is not known."""
    return np.array([limits.maintenance.get(pair, MAINTENANCE_RATE) for pair in pairs])


def _rows(panel: Panel, forecast: Forecast | None, hazard: Hazard | None, last: int | None) -> int:
    lengths = {last} if last is not None else set()
    if forecast is not None:
        lengths.add(int(forecast.confidence.shape[0]))
    if hazard is not None:
        lengths.add(int(hazard.long.shape[0]))
    n = lengths.pop() if lengths else len(panel)
    if lengths or not 1 <= n <= len(panel):
        raise InputMissing(f"asked for {n} rows ({sorted(lengths)} elsewhere) of a panel of {len(panel)}")
    return n


def _typical(values: Floats) -> Floats:
    """Median over pairs, shape (n,); NaN where fewer than half of the pairs are known."""
    known = np.isfinite(values)
    count, rows = known.sum(axis=1), np.arange(values.shape[0])
    ordered = np.sort(np.where(known, values, np.nan), axis=1)  # what is not known comes last
    middle = ordered[rows, np.maximum(count - 1, 0) // 2] + ordered[rows, count // 2]
    return np.where(count >= 0.5 * values.shape[1], middle / 2, np.nan)


def _observation_row(seen: PolicyObservation, index: int) -> PolicyObservation:
    return PolicyObservation(
        forecast_z=seen.forecast_z[index],
        confidence=seen.confidence[index],
        position=seen.position[index],
        displacement_z=seen.displacement_z[index],
        volatility_ratio=seen.volatility_ratio[index],
        cost_bp_over_sigma=seen.cost_bp_over_sigma[index],
    )
