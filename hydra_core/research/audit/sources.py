"""L8 and L10: whether a panel's row could have been built when it says it was, and whether the dead are in the universe.

A row and its features are built again from nothing but what was published by its close; they must come out the same. That
catches a higher interval joined before its bar is closed, funding known before its settlement, and readings taken at their
stamp instead of their publication. Not here: how a panel is joined (``domain.panel``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from hydra_core.alpha.features import FeatureSet
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.intervals import DAY_MS, FORECAST_INTERVAL
from hydra_core.domain.market import (
    FIELD_NAMES,
    FUNDING,
    LIQUIDATIONS,
    LONG_SHORT,
    OPEN_INTEREST,
    PUBLICATION_DELAY_MS,
    Liquidation,
    Panel,
)
from hydra_core.domain.pairs import Pair
from hydra_core.domain.panel import build_panel, reading_start_ms
from hydra_core.domain.series import Bars, Series
from hydra_core.domain.tables import candle_table
from hydra_core.lake.panel import bars_of, liquidations_of, rates_of, series_of
from hydra_core.lake.store import Lake
from hydra_core.research.audit.causality import AFTER
from hydra_core.research.audit.lines import AuditLine

_REBUILT: Final = 3
"""Bars that are built again for one judged row: the row and two before it."""
_FORCED: Final = frozenset({"liquidated_long", "liquidated_short"})
_NEAR: Final = 1e-5
"""Features may differ by so much (float32): what is right to 1e-9 need not have the same bits."""


@dataclass(frozen=True, eq=False)
class Sources:
    """Everything that a panel was joined from, by pair, as it was recorded."""

    pairs: tuple[Pair, ...]
    candles: Mapping[Pair, Bars]
    funding: Mapping[Pair, Series]
    open_interest: Mapping[Pair, Series]
    long_short: Mapping[Pair, Series]
    liquidations: Mapping[Pair, Sequence[Liquidation]] | None = None

    def panel(self, start_ms: int, end_ms: int) -> Panel:
        """The panel of a span."""
        return build_panel(
            self.pairs,
            FORECAST_INTERVAL,
            start_ms,
            end_ms,
            self.candles,
            self.funding,
            self.open_interest,
            self.long_short,
            self.liquidations,
        )

    def published_by(self, now_ms: int) -> Sources:
        """What was known at a moment: bars that were closed, readings that were published, settlements that were made."""
        return Sources(
            self.pairs,
            {pair: _closed(bars, now_ms) for pair, bars in self.candles.items()},
            {pair: _stamped(series, now_ms) for pair, series in self.funding.items()},
            {p: _stamped(s, now_ms - PUBLICATION_DELAY_MS[OPEN_INTEREST]) for p, s in self.open_interest.items()},
            {p: _stamped(s, now_ms - PUBLICATION_DELAY_MS[LONG_SHORT]) for p, s in self.long_short.items()},
            None
            if self.liquidations is None
            else {p: [one for one in events if one.event_ms < now_ms] for p, events in self.liquidations.items()},
        )


def buildable_then(panel: Panel, sources: Sources, *, rows: int = 50, seed: int = 7) -> list[AuditLine]:
    """L8: whether random rows of a panel come out the same from what was published by their close.

    Parameters
    ----------
    panel : Panel as it is learnt from
    sources : what was recorded; a field whose source is not given here is not judged
    rows : rows judged

    Returns
    -------
    list of AuditLine : one for each field of the panel
    """
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(len(panel), min(rows, len(panel)), replace=False))
    wrong: dict[str, str] = {}
    for row in chosen:
        close = int(panel.close_ms[row])
        then = sources.published_by(close).panel(close - _REBUILT * panel.interval.ms, close)
        for name in FIELD_NAMES:
            seen, possible = getattr(panel, name)[row], getattr(then, name)[-1]
            if name in _FORCED and sources.liquidations is not None:
                possible = np.nan_to_num(possible)  # three quiet bars show no capture, and nothing was forced in them
            early = np.isfinite(seen) & ~((seen == possible) | np.isclose(seen, possible, rtol=1e-12, atol=0.0))
            if early.any():
                pair = panel.pairs[int(np.flatnonzero(early)[0])]
                wrong.setdefault(name, f"row {int(row)}, {pair}: not what was published by the bar's close")
    judged = [name for name in FIELD_NAMES if np.isfinite(getattr(panel, name)).any()]
    return [AuditLine(name, name not in wrong, wrong.get(name, f"{chosen.size} rows rebuilt"), "L8") for name in judged]


def features_then(
    panel: Panel, sources: Sources, chosen: FeatureSet, *, rows: int = 6, seed: int = 7
) -> list[AuditLine]:
    """L8: whether features of random rows come out the same on panels joined from what was published by their close.

    Parameters
    ----------
    panel : Panel as it is learnt from; the rows after a judged one are at hand where its features are computed
    sources : what was recorded
    chosen : features to judge; those whose inputs were not recorded by then are left out

    Returns
    -------
    list of AuditLine : one for all, or one for each feature that knew more

    Raises
    ------
    InputMissing : the panel is not longer than the longest look-back
    """
    chosen = chosen.available(panel.inputs)
    need = chosen.lookback
    if len(panel) < need + AFTER:
        raise InputMissing(f"an audit of {len(panel)} rows", f"Needs {need + AFTER} at least")
    wrong: dict[str, str] = {}
    for row in np.sort(np.random.default_rng(seed).integers(need - 1, len(panel) - AFTER, rows)):
        close = int(panel.close_ms[row])
        then = sources.published_by(close).panel(close - need * panel.interval.ms, close)
        held, part = chosen.available(then.inputs), panel.rows(slice(int(row) - need + 1, int(row) + 1 + AFTER))
        seen, possible = held.compute(part, AFTER + 1)[0], held.compute(_as_known(then, part), 1)[0]
        early = np.isfinite(seen) & ~np.isclose(seen, possible, rtol=_NEAR, atol=_NEAR)
        for column in np.flatnonzero(early.any(axis=0)):
            pair = panel.pairs[int(np.flatnonzero(early[:, column])[0])]
            wrong.setdefault(held.names[column], f"row {row}, {pair}: not what was published by the bar's close tells")
    if not wrong:
        return [AuditLine("features", True, f"{len(chosen)} features, {rows} rows rebuilt", "L8")]
    return [AuditLine(name, False, detail, "L8") for name, detail in wrong.items()]


def _as_known(then: Panel, panel: Panel) -> Panel:
    """A rebuilt panel without what the first rows of the other do not know, as before a capture began: that is no leak."""
    fields: dict[str, Any] = {}
    for name in FIELD_NAMES:
        fields[name] = np.where(np.isnan(getattr(panel, name)[: len(then)]), np.nan, getattr(then, name))
    return replace(then, **fields)


def universe_as_of(panel: Panel, traded: Mapping[Pair, tuple[int, int]]) -> AuditLine:
    """L10: whether every pair that traded within a panel's span is in the panel, the delisted ones too.

    Parameters
    ----------
    traded : pair -> first and last known candle, epoch ms, of everything that was ever collected
    """
    start, end = int(panel.ts[0]), int(panel.close_ms[-1])
    lacking = [
        pair for pair, (first, last) in traded.items() if first < end and last >= start and pair not in panel.pairs
    ]
    ended = [pair for pair in panel.pairs if pair in traded and traded[pair][1] < end - DAY_MS]
    if lacking:
        return AuditLine(
            "universe", False, f"{', '.join(lacking)} traded then and are left out: only survivors are judged", "L10"
        )
    kept = f", {', '.join(ended)} of them delisted" if ended else ""
    return AuditLine("universe", True, f"{len(panel.pairs)} pairs{kept}", "L10")


def sources_of_lake(lake: Lake, pairs: tuple[Pair, ...], start_ms: int, end_ms: int) -> Sources:
    """Everything that the lake holds of some pairs in a span, with the readings that its first row can use."""
    early, table = reading_start_ms(start_ms), candle_table(FORECAST_INTERVAL)
    captured = any(lake.months(LIQUIDATIONS, pair) for pair in pairs)
    return Sources(
        pairs,
        {pair: bars_of(lake.read(table, pair, start_ms, end_ms)) for pair in pairs},
        {pair: rates_of(lake.read(FUNDING, pair, early, end_ms)) for pair in pairs},
        {pair: series_of(lake.read(OPEN_INTEREST, pair, early, end_ms), "open_interest") for pair in pairs},
        {pair: series_of(lake.read(LONG_SHORT, pair, early, end_ms), "long_short_ratio") for pair in pairs},
        {pair: liquidations_of(lake.read(LIQUIDATIONS, pair, start_ms, end_ms), pair) for pair in pairs}
        if captured
        else None,
    )


def traded_in(lake: Lake) -> dict[Pair, tuple[int, int]]:
    """First and last candle of every pair that the lake holds, epoch ms."""
    table = candle_table(FORECAST_INTERVAL)
    found: dict[Pair, tuple[int, int]] = {}
    entries: Mapping[Pair, Mapping[str, Any]] = lake.entries(table)
    for pair, months in entries.items():
        held = [entry for entry in months.values() if entry.rows]
        if held:
            found[pair] = (min(entry.first_ms for entry in held), max(entry.last_ms for entry in held))
    return found


def _closed(bars: Bars, now_ms: int) -> Bars:
    known = bars.ts + FORECAST_INTERVAL.ms <= now_ms
    return Bars(*(getattr(bars, name)[known] for name in ("ts", "open", "high", "low", "close", "volume")))


def _stamped(series: Series, by_ms: int) -> Series:
    known = series.ts <= by_ms
    return Series(series.ts[known], series.value[known])
