"""L9: figures too good to be true quarantine a model, whatever its gates say of its profit.

Every comparison is with the lower end of an interval, so a short lucky stretch is no finding. Not here: where the caps come
from (``research.gates``), the figures themselves (``evaluation``, ``alpha.crowd.score``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from hydra_core.alpha.crowd import CrowdMetrics
from hydra_core.alpha.models import CROWD, FORECASTER, POLICY
from hydra_core.alpha.registry import ModelRegistry
from hydra_core.domain.intervals import FORECAST_INTERVAL
from hydra_core.research.audit.lines import AuditLine
from hydra_core.research.evaluation import Skill
from hydra_core.research.gates import Caps, plausible_caps, plausible_pr_ratio, plausible_precision

FIGURES: Final = "figures"
_SURE: Final = 1.96


def plausible(seen: Skill, caps: Caps) -> AuditLine:
    """A forecaster's correlation with the scaled return and its share of right signs."""
    return _skill(seen.correlation.value, seen.correlation.low, seen.accuracy, seen.accuracy_error, caps)


def plausible_hazard(seen: CrowdMetrics, ratio_cap: float) -> AuditLine:
    """A crowd model's PR-AUC, alone and over volatility alone, which is held to a cap of its own."""
    return _hazard(seen.to_json(), ratio_cap)


def plausible_sharpe(sharpe: float, error: float, caps: Caps) -> AuditLine:
    """An annual net Sharpe ratio with its standard error."""
    if not math.isfinite(caps.sharpe):
        return AuditLine(FIGURES, True, f"net Sharpe ratio {sharpe:.1f}: none is beyond belief on this market", "L9")
    said = f"net Sharpe ratio {sharpe:.1f} (error {error:.1f}, believable {caps.sharpe:.1f})"
    return AuditLine(FIGURES, sharpe - _SURE * error <= caps.sharpe, said, "L9")


def recorded_figures(registry: ModelRegistry, market: str) -> list[AuditLine]:
    """The figures that standing champions were seated with, held against what is believable now.

    Parameters
    ----------
    market : name of the home's market, which the caps follow from

    Returns
    -------
    list of AuditLine : one for each figure of each champion, a finding where none were recorded; empty without champions

    Raises
    ------
    ArtifactInvalid : a champion's card cannot be read
    """
    made: list[AuditLine] = []
    for kind, version in registry.champions().items():
        horizon_ms = registry.card(kind, version).horizon_bars * FORECAST_INTERVAL.ms
        name = f"{kind} {version[:12]}"
        try:
            told = json.loads((registry.root / kind / version / "validation.json").read_bytes())
            lines = _recorded(kind, told, market, horizon_ms)
        except (OSError, ValueError, KeyError, TypeError) as error:
            said = f"no recorded figures that could be judged ({error!r}). Train it again"
            lines = [AuditLine(FIGURES, False, said, "L9")]
        made += [AuditLine(name, line.clean, line.detail, line.check) for line in lines]
    return made


def _recorded(kind: str, told: Mapping[str, Any], market: str, horizon_ms: int) -> list[AuditLine]:
    seen: Mapping[str, float] = told["metrics"]
    caps = plausible_caps(market, horizon_ms)
    if kind == FORECASTER:
        sharpe = plausible_sharpe(float(told["backtest"]["sharpe"]), float(seen["sharpe_error"]), caps)
        shown = _skill(seen["correlation"], seen["correlation_low"], seen["accuracy"], seen["accuracy_error"], caps)
        return [shown, sharpe]
    if kind == CROWD:
        return [_hazard(seen, plausible_pr_ratio(market))]
    if kind == POLICY:
        return [plausible_sharpe(float(seen["sharpe"]), float(seen["sharpe_error"]), caps)]
    raise KeyError(kind)


def _skill(correlation: float, low: float, accuracy: float, error: float, caps: Caps) -> AuditLine:
    clean = low <= caps.correlation and accuracy - _SURE * error <= caps.accuracy
    said = f"correlation {correlation:.3f} (believable {caps.correlation:.3f}), accuracy {accuracy:.3f}"
    return AuditLine(FIGURES, clean, said, "L9")


def _hazard(seen: Mapping[str, float], ratio_cap: float) -> AuditLine:
    cap = plausible_precision(float(seen["base_rate"]))
    clean = seen["pr_auc_low"] <= cap and seen["ratio_low"] <= ratio_cap
    said = (
        f"PR-AUC {seen['pr_auc']:.3f} (believable {cap:.3f}), {seen['ratio']:.2f} times volatility alone "
        f"(believable {ratio_cap:g})"
    )
    return AuditLine(FIGURES, bool(clean), said, "L9")
