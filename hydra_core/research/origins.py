"""Where a judged forecaster's profit came from, and what other days and other costs would have made of it.

Here: one span taken apart (``engine.attribution``) and resampled (``engine.montecarlo``), as plain data for reports. Not here:
the gates; nothing of this decides anything. Drawing is in ``plots`` and the report.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from hydra_core.alpha.models import Forecast
from hydra_core.domain.intervals import DAY_MS
from hydra_core.domain.market import Panel
from hydra_core.research.books import CAPITAL, OTHER_SEATS, prepared_forecast
from hydra_core.research.conditions import ASSUMED, Conditions
from hydra_core.research.engine.attribution import attribute, regimes_of
from hydra_core.research.engine.montecarlo import CostDraws, cost_stress, simulate_paths
from hydra_core.research.fills import FillRules
from hydra_core.research.folds import Span
from hydra_core.risk.limits import Limits

STRESSES: Final = {
    "as assumed": FillRules(),
    "fees x1.5": FillRules(fee_factor=1.5),
    "slippage x2": FillRules(slippage_factor=2.0),
    "one bar later": FillRules(delay_bars=1),
}
"""Ways of filling that a judged span is traded by once more; decisions expect the assumed costs in all of them."""
PATHS: Final = 200
BLOCK_DAYS: Final = 5
SEED: Final = 11
_LEAST_DAYS: Final = 2 * BLOCK_DAYS
"""Whole days under which resampling would repeat one stretch again and again."""


def origins(
    panel: Panel,
    forecast: Forecast,
    limits: Limits,
    span: Span,
    *,
    paths: int = PATHS,
    conditions: Conditions = ASSUMED,
) -> dict[str, Any]:
    """A span's profit by layer, pair and regime, under dearer costs, and its Monte-Carlo, as plain data.

    Parameters
    ----------
    forecast : (T, P), traded with the other seats approving from the span's first bar on
    paths : resampled histories, each under its own draw of costs

    Returns
    -------
    dict : ``attribution`` as :meth:`Attribution.to_json`, USDT of ``capital``; ``stress``: name of each of :data:`STRESSES`
        -> net return of the span, a fraction; ``conditions``: as :meth:`Conditions.told`; ``paths``: ``net_return`` and
        ``drawdown`` (sorted, fractions), ``summary``, ``block_days``, the bounds of ``cost_factor`` and the ``delays`` drawn.
        ``paths`` is empty where the span has too few days
    """
    prepared, limits, assessment = prepared_forecast(panel, forecast, limits, span, conditions)
    regimes = regimes_of(prepared, assessment.state.regimes, prepared.panel)
    taken_apart = attribute(prepared, limits, regimes, CAPITAL, assume_approvals=OTHER_SEATS)
    told: dict[str, Any] = {
        "capital": CAPITAL,
        "attribution": taken_apart.to_json(),
        "stress": cost_stress(prepared, limits, STRESSES, CAPITAL, assume_approvals=OTHER_SEATS),
        "conditions": conditions.told(limits),
        "paths": {},
    }
    if (span.end - span.start) * panel.interval.ms < _LEAST_DAYS * DAY_MS:
        return told
    draws = CostDraws()
    seen = simulate_paths(
        prepared,
        limits,
        paths,
        np.random.default_rng(SEED),
        block_days=BLOCK_DAYS,
        draws=draws,
        initial_equity=CAPITAL,
        assume_approvals=OTHER_SEATS,
    )
    told["paths"] = {
        "net_return": sorted(seen.net_return.tolist()),
        "drawdown": sorted(seen.drawdown.tolist()),
        "summary": seen.summary(),
        "block_days": BLOCK_DAYS,
        "cost_factor": [draws.least, draws.most],
        "delays": sorted(set(draws.delays)),
    }
    return told
