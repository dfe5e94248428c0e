"""The study of a panel: every part of every pair, one after the other.

Not here: where the panel comes from (``sources``), how the study is shown (``tables``, ``plots``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.intervals import FORECAST_INTERVAL
from hydra_core.domain.market import Panel
from hydra_core.domain.pairs import Pair
from hydra_core.research.outofsample import Progress, quiet
from hydra_core.research.study import one_pair
from hydra_core.research.study.events import ForcedOrders, cross_of, liquidations_of, moves_of
from hydra_core.research.study.levels import changes_of, course_of, regimes_of
from hydra_core.research.study.market import forecasts_of, spikes_of
from hydra_core.research.study.one_pair import PairBars
from hydra_core.research.study.records import MarketStudy, PairStudy, Unknown, attempt
from hydra_core.research.study.regime_gain import regime_gains_of

NEWEST: Final = 30_000
"""Bars of a pair that are read by default, the newest: 104 days."""
NO_TICKS: Final = "the trades of a bar were not recorded: no finite-tick correction"


def study_market(
    panel: Panel,
    forced: Mapping[Pair, ForcedOrders] | None = None,
    ticks: Mapping[Pair, float] | None = None,
    rows: int = NEWEST,
    progress: Progress = quiet,
) -> MarketStudy:
    """What the estimators of layer 2 say about the newest bars.

    A pure function: the same input gives the same study. About three seconds a pair of 30,000 bars and some for all together.

    Parameters
    ----------
    panel : Panel of 5m bars
    forced : pair -> recorded forced orders of the span
    ticks : pair -> trades a bar, for the finite-tick correction
    rows : newest bars that are read, at most
    progress : called with (part, done, total)

    Raises
    ------
    InputMissing : an empty panel, or one of another interval
    """
    if panel.interval is not FORECAST_INTERVAL or not len(panel):
        raise InputMissing(
            f"a panel of {len(panel)} bars of {panel.interval}", f"The study reads bars of {FORECAST_INTERVAL}"
        )
    panel = panel.last(rows)
    total = len(panel.pairs) + 4
    refused: dict[Pair, str] = {}
    known: dict[Pair, PairBars] = {}
    for column, pair in enumerate(panel.pairs):
        bars = PairBars.of(panel, column)
        try:
            bars.refuse(pair)
        except InputMissing as error:
            refused[pair] = str(error)
        else:
            known[pair] = bars
    pairs = []
    for place, pair in enumerate(panel.pairs):
        progress(f"study {pair}", place, total)
        orders = (forced or {}).get(pair)
        if pair in refused:
            pairs.append(_nothing(pair, refused[pair]))
        else:
            pairs.append(study_pair(pair, known[pair], orders, (ticks or {}).get(pair)))
    progress("study what regimes gain", total - 4, total)
    gains = attempt(lambda: regime_gains_of(known))
    progress("study forecasts", total - 3, total)
    forecasts = attempt(lambda: forecasts_of(panel, refused))
    progress("study whose moves cause whose", total - 2, total)
    cross = attempt(lambda: cross_of(known))
    progress("study correlation spikes", total - 1, total)
    spikes = attempt(lambda: spikes_of(panel, refused))
    progress("study", total, total)
    span = int(panel.ts[0]), int(panel.close_ms[-1])
    return MarketStudy(*span, len(panel), tuple(pairs), gains, forecasts, cross, spikes)


def study_pair(pair: Pair, bars: PairBars, forced: ForcedOrders | None, ticks: float | None) -> PairStudy:
    """Every part of one pair.

    On one thread of linear algebra: the fits' matrices have a few rows, and handing them between cores takes longer than
    they do, ten times so on busy ones.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        return _parts(pair, bars, forced, ticks)


def _parts(pair: Pair, bars: PairBars, forced: ForcedOrders | None, ticks: float | None) -> PairStudy:
    note = NO_TICKS if ticks is None else "median of the bars whose trades were captured"
    regimes = attempt(lambda: regimes_of(bars))
    model = None if isinstance(regimes, Unknown) else regimes[1]
    return PairStudy(
        pair=pair,
        rows=bars.ts.size,
        volatility=attempt(lambda: one_pair.volatility_of(bars, ticks, note)),
        diurnal=attempt(lambda: one_pair.diurnal_of(bars)),
        jumps=attempt(lambda: one_pair.jumps_of(bars)),
        diffusion=attempt(lambda: one_pair.diffusion_of(bars)),
        garch=attempt(lambda: one_pair.garch_of(bars)),
        regimes=regimes if isinstance(regimes, Unknown) else regimes[0],
        changes=attempt(lambda: changes_of(bars)),
        moves=attempt(lambda: moves_of(bars)),
        liquidations=attempt(lambda: liquidations_of(pair, forced)),
        course=attempt(lambda: course_of(bars, model)),
    )


def _nothing(pair: Pair, why: str) -> PairStudy:
    none = Unknown(why)
    return PairStudy(pair, 0, none, none, none, none, none, none, none, none, none, none)
