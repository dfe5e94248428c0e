"""L1 and L10: replace the future by noise and see whether the past moves; list a pair later and see whether the others do.

Not here: leaks between sources and panel (``sources``), leaks that show as too much skill (``learning``, ``canary``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any, Final

import numpy as np

from hydra_core.alpha.features import FeatureSet
from hydra_core.alpha.models import CrowdModel, ForecasterModel, PolicyModel, PolicyObservation
from hydra_core.alpha.policy.observation import LOOKBACK, policy_inputs
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import (
    CANDLES,
    FIELD_NAMES,
    FUNDING,
    INPUTS,
    LIQUIDATIONS,
    LONG_SHORT,
    OPEN_INTEREST,
    Bools,
    Floats,
    Panel,
    noise_after,
)
from hydra_core.research.audit.lines import AuditLine
from hydra_core.statistics.registry import statistics

AFTER: Final = 48
"""Rows of noise that follow the judged one: a four-hour bar that is under way there closes within them, so that one joined
before its close shows."""
SEEN: Final = tuple(each.name for each in fields(PolicyObservation) if each.name != "position")
"""What a policy observes of the market."""
_NEAR: Final = 1e-5
"""Features of listed pairs may differ by so much (float32) when a silent column is left out of the sums."""


def with_drawn_inputs(panel: Panel, seed: int = 7) -> tuple[Panel, frozenset[str]]:
    """The panel with every input that it lacks drawn at random, so that every registered feature can be audited.

    Returns
    -------
    (panel, drawn) : drawn names the inputs that are not history; causality does not depend on them, skill does
    """
    drawn = frozenset(INPUTS) - panel.inputs - {CANDLES}
    if not drawn:
        return panel, drawn
    rng = np.random.default_rng(seed)
    shape = panel.close.shape
    walk = np.cumsum(rng.normal(0, 0.003, shape), axis=0)
    bars_of_settlement = max(1, 8 * 3_600_000 // panel.interval.ms)
    held = rng.normal(0, 1e-4, (-(-shape[0] // bars_of_settlement), shape[1]))
    values: dict[str, dict[str, Floats]] = {
        OPEN_INTEREST: {"open_interest": 1e6 * np.exp(walk)},
        LONG_SHORT: {"long_short": np.exp(0.5 * walk + 0.3)},
        FUNDING: {"funding_rate": np.repeat(held, bars_of_settlement, axis=0)[: shape[0]]},
        LIQUIDATIONS: {
            name: np.where(rng.random(shape) < 0.05, rng.lognormal(10, 1, shape), 0.0)
            for name in ("liquidated_long", "liquidated_short")
        },
    }
    changed: dict[str, Any] = {field: array for name in drawn for field, array in values[name].items()}
    return replace(panel, **changed, inputs=panel.inputs | drawn), drawn


def audit_features(panel: Panel, chosen: FeatureSet | None = None, *, rows: int = 20, seed: int = 7) -> list[AuditLine]:
    """Whether each feature's past stays bit for bit when what follows becomes noise.

    Parameters
    ----------
    panel : Panel; features whose inputs it lacks are left out
    chosen : features to judge; every registered one by default
    rows : random rows after which the future is replaced

    Raises
    ------
    InputMissing : the panel is not longer than the longest look-back
    """
    chosen = (chosen or FeatureSet.every()).available(panel.inputs)

    def columns(part: Panel) -> Mapping[str, Any]:
        values = chosen.compute(part)
        return {name: values[:, :, column] for column, name in enumerate(chosen.names)}

    return prefix_invariant(columns, panel, chosen.lookback, rows=rows, seed=seed)


def audit_statistics(panel: Panel, *, rows: int = 20, seed: int = 7) -> list[AuditLine]:
    """The same of every registered statistic, the regime filter among them."""
    chosen = [member for member in statistics() if member.inputs <= panel.inputs]

    def columns(part: Panel) -> Mapping[str, Any]:
        return {member.name: member(part) for member in chosen}

    return prefix_invariant(columns, panel, max(member.lookback for member in chosen), rows=rows, seed=seed)


def prefix_invariant(
    compute: Callable[[Panel], Mapping[str, Any]], panel: Panel, lookback: int, *, rows: int, seed: int
) -> list[AuditLine]:
    """Whether named arrays of a panel (time first) stay bit for bit when every later row becomes noise."""
    worst: dict[str, str] = {}
    for row, part in _cuts(panel, lookback, rows, seed):
        before = compute(part)
        after = compute(noise_after(part, len(part) - AFTER, np.random.default_rng((seed, row))))
        for name, values in before.items():
            moved = ~_same(values[:-AFTER], after[name][:-AFTER])
            worst.setdefault(name, "")
            if moved.any() and not worst[name]:
                worst[name] = f"{int(moved.sum())} values before row {row} changed with what came after it"
    return [AuditLine(name, not detail, detail) for name, detail in worst.items()]


def forecast_ignores_the_future(model: ForecasterModel, panel: Panel, *, rows: int = 6, seed: int = 7) -> AuditLine:
    """Whether a forecaster's word on a row stays bit for bit when every later row becomes noise."""
    names = ("expected_return", "confidence", "adverse_excursion", "volatility")
    return _newest_word("forecast", names, model.forecast, model.lookback, panel, rows, seed)


def hazard_ignores_the_future(model: CrowdModel, panel: Panel, *, rows: int = 6, seed: int = 7) -> AuditLine:
    """The same of a crowd model's hazard."""
    return _newest_word("hazard", ("long", "short"), model.hazard, model.lookback, panel, rows, seed)


def decisions_ignore_the_future(
    policy: PolicyModel,
    forecaster: ForecasterModel,
    panel: Panel,
    round_trip_bp: float,
    *,
    rows: int = 4,
    seed: int = 7,
) -> AuditLine:
    """Whether what a policy sees of a row, and what it then wants to hold, stay the same when every later row becomes noise.

    All rows are asked for at once, noise included: whoever looks over the rows of a batch gives himself away.

    Parameters
    ----------
    forecaster : whose word it times
    round_trip_bp : cost of entering and leaving, basis points of notional
    """
    last = AFTER + 2

    def decided(part: Panel) -> dict[str, Any]:
        seen = policy_inputs(part, forecaster.forecast(part, last), round_trip_bp, last)
        told = {name: getattr(seen, name) for name in SEEN}
        for held in (-1.0, 0.0, 1.0):
            told[f"decision holding {held:+.0f}"] = policy.target(
                replace(seen, position=np.full_like(seen.confidence, held))
            )
        return told

    for row, part in _cuts(panel, max(forecaster.lookback, LOOKBACK), rows, seed):
        before, after = (
            decided(part),
            decided(noise_after(part, len(part) - AFTER, np.random.default_rng((seed, row)))),
        )
        for name, values in before.items():
            if not _same(values[:2], after[name][:2]).all():
                return AuditLine("decision", False, f"{name} at row {row} changed with what came after it")
    return AuditLine("decision", True, f"{rows} rows bit for bit the same, whatever is held")


def late_listing(panel: Panel, chosen: FeatureSet | None = None, *, rows: int = 3, seed: int = 7) -> list[AuditLine]:
    """L10: whether a pair that is not listed yet leaves the other pairs' features as they are without it.

    Parameters
    ----------
    panel : Panel; with a single pair there is nothing to audit
    chosen : features to judge; every registered one by default
    rows : stretches audited, another pair silent in each
    """
    if len(panel.pairs) < 2:
        return [AuditLine("late listing", True, "a single pair", "L10")]
    chosen = (chosen or FeatureSet.every()).available(panel.inputs)
    found: dict[str, str] = {}
    for number, (row, part) in enumerate(_cuts(panel, chosen.lookback, rows, seed)):
        silent = number % len(panel.pairs)
        others = [column for column in range(len(panel.pairs)) if column != silent]
        with_silence = chosen.compute(_silenced(part, silent), 2)[:, others]
        without = chosen.compute(_columns(part, others), 2)
        for column, name in enumerate(chosen.names):
            a, b = with_silence[:, :, column], without[:, :, column]
            if not (np.isclose(a, b, rtol=_NEAR, atol=_NEAR) | (np.isnan(a) & np.isnan(b))).all():
                found.setdefault(name, f"differs at row {row} although {panel.pairs[silent]} has no history yet")
    if not found:
        return [AuditLine("late listing", True, f"{len(chosen)} features unmoved by a pair without history", "L10")]
    return [AuditLine(name, False, detail, "L10") for name, detail in found.items()]


def _newest_word(
    what: str,
    names: tuple[str, ...],
    say: Callable[[Panel, int], Any],
    lookback: int,
    panel: Panel,
    rows: int,
    seed: int,
) -> AuditLine:
    for row, part in _cuts(panel, lookback, rows, seed):
        noisy = noise_after(part, len(part) - AFTER, np.random.default_rng((seed, row)))
        before, after = (say(each, AFTER + 2).rows(slice(0, 2)) for each in (part, noisy))
        for name in names:
            if not _same(getattr(before, name), getattr(after, name)).all():
                return AuditLine(what, False, f"{name} at row {row} changed with what came after it")
    return AuditLine(what, True, f"{rows} rows bit for bit the same")


def _silenced(panel: Panel, column: int) -> Panel:
    changed: dict[str, Any] = {}
    for name in FIELD_NAMES:
        values = getattr(panel, name).copy()
        values[:, column] = np.nan
        changed[name] = values
    return replace(panel, **changed)


def _columns(panel: Panel, columns: list[int]) -> Panel:
    changed: dict[str, Any] = {name: getattr(panel, name)[:, columns] for name in FIELD_NAMES}
    return replace(panel, pairs=tuple(panel.pairs[column] for column in columns), **changed)


def _cuts(panel: Panel, lookback: int, rows: int, seed: int) -> list[tuple[int, Panel]]:
    """Random rows, each with the stretch that ends :data:`AFTER` rows after it."""
    need = lookback + AFTER + 2
    if len(panel) < need:
        raise InputMissing(f"an audit of {len(panel)} rows", f"Needs {need} at least")
    chosen = np.sort(np.random.default_rng(seed).integers(need, len(panel) + 1, rows))
    return [(int(end) - AFTER, panel.rows(slice(int(end) - need, int(end)))) for end in chosen]


def _same(a: Any, b: Any) -> Bools:
    return np.asarray((a == b) | (np.isnan(a) & np.isnan(b)))
