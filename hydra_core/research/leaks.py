"""The leak audit: replace the future by noise and see whether the past moves.

Not here: leaks that show as too much skill (``gates``: lag decay, plausibility).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hydra_core.alpha.features import FeatureSet
from hydra_core.alpha.models import ForecasterModel
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import Bools, Panel, noise_after

_AFTER = 24
"""Rows of noise that follow the judged one."""


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One audited thing: clean, or by how much its past moved and where."""

    name: str
    clean: bool
    detail: str


def audit_features(panel: Panel, *, rows: int = 20, seed: int = 7) -> list[AuditLine]:
    """Whether each registered feature's past stays bit for bit when what follows becomes noise.

    Parameters
    ----------
    panel : Panel; features whose inputs it lacks are left out
    rows : random rows after which the future is replaced

    Raises
    ------
    InputMissing : the panel is not longer than the longest look-back
    """
    chosen = FeatureSet().available(panel.inputs)
    worst = dict.fromkeys(chosen.names, "")
    for row, part in _cuts(panel, chosen.lookback, rows, seed):
        rng = np.random.default_rng((seed, row))
        before = chosen.compute(part)[:-_AFTER]
        after = chosen.compute(noise_after(part, len(part) - _AFTER, rng))[:-_AFTER]
        for column, name in enumerate(chosen.names):
            moved = ~_same(before[:, :, column], after[:, :, column])
            if moved.any() and not worst[name]:
                worst[name] = f"{int(moved.sum())} values before row {row} changed with what came after it"
    return [AuditLine(name, not detail, detail) for name, detail in worst.items()]


def forecast_ignores_the_future(model: ForecasterModel, panel: Panel, *, rows: int = 6, seed: int = 7) -> AuditLine:
    """Whether a forecaster's word on a row stays bit for bit when every later row becomes noise."""
    for row, part in _cuts(panel, model.lookback, rows, seed):
        noisy = noise_after(part, len(part) - _AFTER, np.random.default_rng((seed, row)))
        before = model.forecast(part, _AFTER + 2).rows(slice(0, 2))
        after = model.forecast(noisy, _AFTER + 2).rows(slice(0, 2))
        for name in ("expected_return", "confidence", "adverse_excursion", "volatility"):
            if not _same(getattr(before, name), getattr(after, name)).all():
                return AuditLine("forecast", False, f"{name} at row {row} changed with what came after it")
    return AuditLine("forecast", True, f"{rows} rows bit for bit the same")


def _cuts(panel: Panel, lookback: int, rows: int, seed: int) -> list[tuple[int, Panel]]:
    """Random rows, each with the stretch that ends :data:`_AFTER` rows after it."""
    need = lookback + _AFTER + 2
    if len(panel) < need:
        raise InputMissing(f"an audit of {len(panel)} rows", f"Needs {need} at least")
    chosen = np.sort(np.random.default_rng(seed).integers(need, len(panel) + 1, rows))
    return [(int(end) - _AFTER, panel.rows(slice(int(end) - need, int(end)))) for end in chosen]


def _same(a: Any, b: Any) -> Bools:
    return np.asarray((a == b) | (np.isnan(a) & np.isnan(b)))
