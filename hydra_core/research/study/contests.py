"""What regimes gain over one regime: records of the contenders and their names.

Not here: how the gains are measured (``regime_gain``), the other records of a study (``records``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from hydra_core.research.study.records import Duel, Estimate

RAW: Final = "regimes, raw returns"
STANDARDISED: Final = "regimes, standardised returns"
SAME: Final = "t-GARCH, standardised returns"
"""One regime that is told as much as the standardised ones: what these gain over it is the regimes' own."""
LIVE: Final = "live filter"
"""The frozen chain of decisions, on returns over the five-day base, of 5m bars alone."""
NAMES: Final = (RAW, STANDARDISED, SAME, LIVE)


@dataclass(frozen=True)
class Contender:
    """A density and a forecast of variance held against a t-GARCH of the same bars, on rows that neither was fitted on.

    Parameters
    ----------
    over_garch : log-likelihood a bar of the raw return, nats
    hour : Diebold-Mariano of the next hour's realised variance against the t-GARCH, QLIKE
    dwell_h : mean hours in calm, turbulent and extreme; empty for what has no regimes
    """

    over_garch: Estimate
    hour: Duel
    dwell_h: tuple[float, ...]


@dataclass(frozen=True)
class Contest:
    """Contenders on one pair's bars of one length, or on those of all pairs.

    Parameters
    ----------
    minutes : length of the bars
    half_life_h : of the moving average that the returns are standardised by, chosen on the fitted rows; None of all pairs
    fitted_rows, judged_rows : bars of both stretches
    contenders : name -> record
    regimes_own : log-likelihood a bar of the standardised regimes over the t-GARCH of the same standardised returns, nats
    """

    minutes: int
    half_life_h: float | None
    fitted_rows: int
    judged_rows: int
    contenders: Mapping[str, Contender]
    regimes_own: Estimate


@dataclass(frozen=True)
class RegimeGains:
    """What regimes gain over one regime, by the returns that they are read from.

    Parameters
    ----------
    together : all pairs, a contest for each length of bars
    pairs : pair -> the same
    left_out : pair -> why
    """

    together: tuple[Contest, ...]
    pairs: Mapping[str, tuple[Contest, ...]]
    left_out: Mapping[str, str]
