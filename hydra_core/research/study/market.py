"""All pairs together: the volatility league out of sample with its intervals, and the times when the pairs move as one.

Not here: the models (``statistics.league``), whose moves cause whose (``events``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.intervals import DAY_MS, FORECAST_INTERVAL, HOUR_MS
from hydra_core.domain.market import FIELD_NAMES, Panel
from hydra_core.domain.pairs import Pair
from hydra_core.research.hac import mean_test
from hydra_core.research.study.records import Duel, Estimate, Forecasts, Held, Spike, Spikes
from hydra_core.statistics import pooled
from hydra_core.statistics.comparison import confidence_set, diebold_mariano
from hydra_core.statistics.correlation_spike import ALARM, RECENT_BARS, correlation_spike
from hydra_core.statistics.league import OURS, League, volatility_league

HORIZON: Final = HOUR_MS // FORECAST_INTERVAL.ms
"""Bars ahead that the league forecasts: an hour; so that outcomes of one hour after the other do not overlap."""
TRAINED: Final = 0.7
DEPENDENT: Final = 24
"""Hours over which losses hang together."""
LEAST_KNOWN: Final = 0.98
"""Share of its bars that a pair in the league must have: a row is scored only where all of them are known."""
LEAST_ROWS: Final = pooled.LOOKBACK + 20 * 288
SHOWN: Final = 5


def part_of(panel: Panel, columns: Sequence[int]) -> Panel:
    """The panel of some of its pairs."""
    keep = list(columns)
    taken = {name: np.ascontiguousarray(getattr(panel, name)[:, keep]) for name in FIELD_NAMES}
    return replace(panel, pairs=tuple(panel.pairs[k] for k in keep), memory=None, **taken)  # type: ignore[arg-type]


def forecasts_of(panel: Panel, refused: dict[Pair, str]) -> Forecasts:
    """Every model of the league on the last third of the rows, fitted once on those before.

    Parameters
    ----------
    panel : Panel of 5m bars
    refused : pairs that nothing can be estimated of, and why

    Raises
    ------
    InputMissing : no pair is left, or the history is too short for the pooled model
    """
    known = np.isfinite(panel.close).mean(axis=0)
    left_out = dict(refused)
    for column, pair in enumerate(panel.pairs):
        if pair not in left_out and known[column] < LEAST_KNOWN:
            left_out[pair] = f"{known[column]:.1%} of its bars are known, {LEAST_KNOWN:.0%} are needed"
    columns = [column for column, pair in enumerate(panel.pairs) if pair not in left_out]
    if not columns:
        raise InputMissing("no pair has the bars that a comparison of forecasts needs", "Run `hydra backfill`")
    if len(panel) < LEAST_ROWS:
        raise InputMissing(
            f"{len(panel)} bars are too few to compare forecasts out of sample",
            f"At least {LEAST_ROWS}: the pooled model looks back {pooled.LOOKBACK}",
        )
    part = part_of(panel, columns)
    cut = int(part.close_ms[int(TRAINED * len(part))]) // HOUR_MS * HOUR_MS
    league = volatility_league(part, HORIZON, [cut], int(part.close_ms[-1]), HORIZON)
    table = league.table()
    by_name = {name: league.losses(name) for name in table}
    pairs = {
        str(pair): {name: float(losses[:, k].mean()) for name, losses in by_name.items()}
        for k, pair in enumerate(part.pairs)
    }
    means = {name: losses.mean(axis=1) for name, losses in by_name.items()}
    return Forecasts(
        rows=int(league.rows.size),
        losses=dict(sorted(table.items(), key=lambda item: item[1])),
        best_set=confidence_set(means, block=DEPENDENT),
        intervals={name: _held(league, name, slice(None)) for name in table},
        pairs=pairs,
        pair_intervals={str(pair): _held(league, OURS, slice(k, k + 1)) for k, pair in enumerate(part.pairs)},
        logs_over_levels=_duels(league, part, "log-HAR", "HAR in levels"),
        pooled_over_logs=_duels(league, part, "pooled log-HAR", "log-HAR"),
        left_out={str(pair): why for pair, why in left_out.items()},
    )


def _held(league: League, name: str, columns: slice) -> Held:
    """What the intervals of a model held on some of the pairs."""
    said = league.intervals(name).of(columns)
    outcome, forecast = league.outcome[:, columns], league.forecasts[name][:, columns]
    told, held = said.told(outcome, forecast), said.held(outcome)
    hours = held[np.isfinite(held).any(axis=1)]
    by_hour = np.nanmean(hours, axis=1)
    return Held(
        share=Estimate.of(told.share, mean_test(by_hour, DEPENDENT).error),
        wild=told.wild,
        low=told.low,
        high=told.high,
        outcomes=told.count,
    )


def _duels(league: League, panel: Panel, first: str, second: str) -> dict[str, Duel]:
    ours, theirs = league.losses(first), league.losses(second)
    made = {}
    for k, pair in enumerate(panel.pairs):
        found = diebold_mariano(ours[:, k], theirs[:, k], DEPENDENT)
        made[str(pair)] = Duel(found.gain, found.p_value)
    return made


def spikes_of(panel: Panel, refused: dict[Pair, str]) -> Spikes:
    """Stretches in which the evidence for a raised correlation was above the alarm.

    Raises
    ------
    InputMissing : fewer than two pairs, or fewer bars than the usual correlation takes
    """
    columns = [column for column, pair in enumerate(panel.pairs) if pair not in refused]
    if len(columns) < 2:
        raise InputMissing(f"{len(columns)} pairs", "A correlation needs two")
    evidence = correlation_spike(part_of(panel, columns))
    known = np.isfinite(evidence)
    if not known.any():
        raise InputMissing(
            f"{len(panel)} bars are too few to know the usual correlation", f"At least {correlation_spike.lookback}"
        )
    alarmed = np.flatnonzero(known & (evidence > ALARM))
    # A sum over the last hours falls below the alarm and comes back within one spike.
    apart = np.flatnonzero(np.diff(alarmed) > RECENT_BARS)
    begins = alarmed[np.concatenate([[0], apart + 1])] if alarmed.size else alarmed
    ends = alarmed[np.append(apart, alarmed.size - 1)] + 1 if alarmed.size else alarmed
    close = panel.close_ms
    newest = tuple(
        Spike(int(close[b]), int(close[e - 1]), float(evidence[b:e].max()))
        for b, e in zip(begins[::-1][:SHOWN], ends[::-1][:SHOWN], strict=True)
    )
    days = float(known.sum()) * FORECAST_INTERVAL.ms / DAY_MS
    return Spikes(int(begins.size), begins.size / days * 30.0, newest)
