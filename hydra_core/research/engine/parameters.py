"""The parameter axis: every number of limits, costs and fill rules that a run obeys, one row of a matrix a set.

Here: from frozen settings to numbers, and what a pair's contract asks. Not here: data (``inputs``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from hydra_core.decision.rules import Assumed, Terms
from hydra_core.domain.errors import UsageError
from hydra_core.domain.market import Floats, Ints, MarketRules
from hydra_core.domain.pairs import Pair
from hydra_core.execution.committee import SEATS
from hydra_core.research.fills import FillRules
from hydra_core.risk.limits import Limits
from hydra_core.risk.margin import Tier, table_of, tier_arrays
from hydra_core.risk.sizing import MAINTENANCE_RATE


class Sizes(NamedTuple):
    """What signals alone are bounded by; sets that agree in it share the work."""

    round_trip: float
    risk_per_trade: float
    stop_sigmas: float
    max_leverage: float


class Guards(NamedTuple):
    """Limits of the kill switches, as in ``settings.RiskSettings``."""

    day_loss_limit: float
    drawdown_limit: float
    position_loss_limit: float
    correlation_spike: float
    variance_ratio_spike: float
    extreme_regime_probability: float


class Costs(NamedTuple):
    """What fills cost; shares of notional unless said.

    Parameters
    ----------
    crossing : half the spread and slippage; ``coefficient`` : Y of the square-root law
    factor : multiplies all of it; the fees of the tiers contain it already
    delay : extra bars between a decision and its fill
    """

    crossing: float
    coefficient: float
    factor: float
    gap_share: float
    delay: float


@dataclass(frozen=True)
class Variant:
    """One parameter set: limits, and how its orders fill."""

    limits: Limits
    fills: FillRules = field(default_factory=FillRules)


@dataclass(frozen=True, eq=False)
class Parameters:
    """K parameter sets as numbers, ordered so that sets of equal sizing stand together.

    Parameters
    ----------
    numbers : (K, 29), the fields of ``Terms``, :class:`Sizes`, :class:`Guards` and :class:`Costs` in this order
    group : int64 (G + 1,), first set of each sizing group, and K at the end
    fee_floors, fees : (K, F), USDT and fractions of notional
    place : int64 (K,), where each of the ordered sets stood in the order handed in
    """

    numbers: Floats
    group: Ints
    fee_floors: Floats
    fees: Floats
    place: Ints

    @classmethod
    def of(cls, variants: Sequence[Variant]) -> Parameters:
        """The numbers of parameter sets.

        Raises
        ------
        UsageError : there is no set
        """
        if not variants:
            raise UsageError("a backtest needs at least one parameter set")
        sized = [_sizes(variant.limits) for variant in variants]
        place = sorted(range(len(variants)), key=sized.__getitem__)
        ordered = [variants[at] for at in place]
        sizes = np.array([sized[at] for at in place])
        starts = np.flatnonzero(np.append(True, (sizes[1:] != sizes[:-1]).any(axis=1)))
        tiers = [variant.fills.fees(variant.limits.costs) for variant in ordered]
        width = max(len(floors) for floors, _ in tiers)
        rows = [
            (*Terms.of(variant.limits), *_sizes(variant.limits), *_guards(variant.limits), *_costs(variant))
            for variant in ordered
        ]
        return cls(
            numbers=np.array(rows, np.float64),
            group=np.append(starts, len(ordered)).astype(np.int64),
            fee_floors=np.array([[*floors, *[np.inf] * (width - len(floors))] for floors, _ in tiers]),
            fees=np.array([[*fees, *[fees[-1]] * (width - len(fees))] for _, fees in tiers]),
            place=np.array(place, np.int64),
        )


def terms_of(row: Any) -> Terms:
    """Named numbers of one row of the parameters."""
    return Terms(
        row[0],
        row[1],
        row[2],
        row[3],
        row[4],
        row[5],
        row[6],
        row[7],
        row[8],
        row[9],
        row[10],
        row[11],
        row[12],
        row[13],
    )


def sizes_of(row: Any) -> Sizes:
    """Named numbers of one row of the parameters."""
    return Sizes(row[14], row[15], row[16], row[17])


def guards_of(row: Any) -> Guards:
    """Named numbers of one row of the parameters."""
    return Guards(row[18], row[19], row[20], row[21], row[22], row[23])


def costs_of(row: Any) -> Costs:
    """Named numbers of one row of the parameters."""
    return Costs(row[24], row[25], row[26], row[27], row[28])


class Contracts(NamedTuple):
    """What each pair's contract asks.

    Parameters
    ----------
    filters : (3, P), the exchange's step, smallest quantity (base units) and smallest notional (USDT); 0 for none
    rates, cums : (P, K), the tiers of maintenance margin
    """

    filters: Floats
    rates: Floats
    cums: Floats


def contracts(pairs: Sequence[Pair], fills: FillRules, rules: Mapping[Pair, MarketRules]) -> Contracts:
    """The contracts' numbers."""
    known = [rules.get(pair) for pair in pairs]
    rates, cums = tier_arrays(margin_tables(pairs, fills, rules))
    filters = [
        (float(rule.step_size), float(rule.min_quantity), float(rule.min_notional)) if rule else (0.0, 0.0, 0.0)
        for rule in known
    ]
    return Contracts(np.ascontiguousarray(np.array(filters).T), rates, cums)


def margin_tables(pairs: Sequence[Pair], fills: FillRules, rules: Mapping[Pair, MarketRules]) -> list[tuple[Tier, ...]]:
    """Each pair's maintenance margin: its own tiers, those or the one rate of its rules, or the rate that sizing assumes."""
    assumed_table = (Tier(0.0, MAINTENANCE_RATE),)
    public = {pair: table_of(rules[pair]) if pair in rules else assumed_table for pair in pairs}
    return [tuple(fills.margin_tiers.get(pair, public[pair])) for pair in pairs]


def assumed(seats: frozenset[str] | set[str]) -> Assumed:
    """Seats taken as approving, by name."""
    return Assumed(*(seat in seats for seat in SEATS))


def _sizes(limits: Limits) -> Sizes:
    risk = limits.risk
    return Sizes(limits.round_trip, risk.risk_per_trade, risk.stop_sigmas, risk.max_leverage)


def _guards(limits: Limits) -> Guards:
    return Guards(*(getattr(limits.risk, name) for name in Guards._fields))


def _costs(variant: Variant) -> Costs:
    fills = variant.fills
    crossing, coefficient = fills.crossing(variant.limits.costs)
    return Costs(crossing, coefficient, fills.cost_factor, fills.gap_share, float(fills.delay_bars))
