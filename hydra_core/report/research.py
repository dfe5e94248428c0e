"""What the newest research run found, from the model registry: candidates and gate verdicts, champions, the lock-box."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra_core.alpha.models import FORECASTER, KINDS
from hydra_core.alpha.registry import ModelRegistry
from hydra_core.home import Home
from hydra_core.research.drift import newest
from hydra_core.research.information import FURTHER


@dataclass(frozen=True)
class Research:
    """A research run in plain data.

    Parameters
    ----------
    candidates : newest candidate of each kind: kind, version, passed, gates (name, passed, value, limit, note), further (name
        -> rows of a table that informs and decides nothing)
    champions : kind -> version
    backtest : trades, net_return, sharpe, max_drawdown of the forecaster on the lock-box; empty where nothing was judged
    curves : name -> ts (epoch ms) and value
    calibration : said and came, by bin; empty where there is none
    origins : profit of the forecaster on the lock-box by layer, pair and regime, and its Monte-Carlo, as
        ``research.origins`` tells them; empty where nothing was judged
    drift : the newest look at the forecaster champion's drift, as ``research.drift`` tells it; empty where there was none
    why_flat : one sentence when the forecaster's seat is empty, so that nothing can be traded
    """

    candidates: list[dict[str, Any]] = field(default_factory=list)
    champions: Mapping[str, str] = field(default_factory=dict)
    backtest: dict[str, Any] = field(default_factory=dict)
    curves: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    calibration: Mapping[str, Sequence[float]] = field(default_factory=dict)
    origins: Mapping[str, Any] = field(default_factory=dict)
    drift: Mapping[str, Any] = field(default_factory=dict)
    why_flat: str = ""


def latest_research(home: Home) -> Research:
    """Read it; an empty one where nothing was trained yet."""
    registry = ModelRegistry(home.models)
    candidates: list[dict[str, Any]] = []
    judged: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        cards = registry.list(kind)
        if not cards:
            continue
        version = cards[-1].version
        file = home.models / kind / version / "validation.json"
        found = json.loads(file.read_text()) if file.exists() else {}
        judged[kind] = found
        gates = list(found.get("gates", []))
        candidates.append(
            {
                "kind": kind,
                "version": version,
                "passed": bool(found.get("passed", False)),
                "gates": gates,
                "further": {name: found["tables"][name] for name in FURTHER if found.get("tables", {}).get(name)},
            }
        )
    champions = registry.champions()
    forecaster = judged.get(FORECASTER, {})
    return Research(
        candidates=candidates,
        champions=champions,
        backtest=dict(forecaster.get("backtest", {})),
        curves=forecaster.get("curves", {}),
        calibration=forecaster.get("calibration", {}),
        origins=forecaster.get("origins", {}),
        drift=newest(home.studies, champions.get(FORECASTER, "")) or {},
        why_flat=_why(candidates, champions),
    )


def _why(candidates: Sequence[Mapping[str, Any]], champions: Mapping[str, str]) -> str:
    """Why nothing can be traded; empty when the forecaster's seat is filled."""
    if FORECASTER in champions:
        return ""
    judged = next((one for one in candidates if one["kind"] == FORECASTER), None)
    if judged is None:
        return "No forecaster was trained, so nobody may propose a trade."
    failed = [gate for gate in judged["gates"] if not gate["passed"]]
    if not failed:
        return "The forecaster passed its own gates, but the seats together did not (see validation/committee in the web UI)."
    said = "; ".join(f"{gate['name']}: {gate.get('note') or 'failed'}" for gate in failed[:4])
    return f"The forecaster did not pass {len(failed)} of {len(judged['gates'])} gates ({said}), so nobody may propose a trade."
