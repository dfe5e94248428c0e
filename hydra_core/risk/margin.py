"""Maintenance margin, and the price at which an isolated position is liquidated.

Source: Binance, "How to Calculate Liquidation Price of USD-M Futures Contracts": for a position of q > 0 base units,
side s, entry EP and isolated wallet balance WB, LP = (WB + cum - s q EP) / (q (MMR - s)), where the maintenance margin
of a notional N in tier k is N MMR_k - cum_k and cum_k = cum_(k-1) + floor_k (MMR_k - MMR_(k-1)).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from hydra_core.domain.errors import UsageError
from hydra_core.domain.market import Floats, MarketRules


@dataclass(frozen=True, slots=True)
class Tier:
    """One step of an exchange's margin table.

    Parameters
    ----------
    floor : float, notional in USDT from which the rate applies
    rate : float, maintenance margin as a fraction of notional
    cum : float, USDT, what is taken off so that the requirement is continuous over tiers
    """

    floor: float
    rate: float
    cum: float = 0.0


def tiers(steps: Sequence[tuple[float, float]]) -> tuple[Tier, ...]:
    """Tiers from (floor, rate) steps, the cumulative amounts filled in; raises UsageError unless both ascend from 0."""
    ascending = all(b[0] > a[0] and b[1] >= a[1] for a, b in pairwise(steps))
    if not steps or steps[0][0] != 0 or not ascending or not all(0 <= rate < 1 for _, rate in steps):
        raise UsageError(f"margin tiers must start at 0 and ascend, with rates below 1: {list(steps)}")
    made = [Tier(0.0, steps[0][1])]
    for (_, before), (floor, rate) in pairwise(steps):
        made.append(Tier(floor, rate, made[-1].cum + floor * (rate - before)))
    return tuple(made)


def table_of(rules: MarketRules) -> tuple[Tier, ...]:
    """A pair's margin table: the exchange's own where it is known, else of the one rate that it publishes."""
    return tiers(rules.margin_steps or ((0.0, float(rules.maintenance_margin)),))


def rate_at(steps: Sequence[tuple[float, float]], notional: float) -> float:
    """Maintenance rate of the step that a notional (USDT) falls into: the highest of any notional up to it."""
    return max(rate for floor, rate in steps if floor <= notional)


def maintenance(notional: float, table: Sequence[Tier]) -> float:
    """Maintenance margin of a notional, USDT: convex in it, so the tier in force is the one that asks most."""
    if len(table) == 1:
        return notional * table[0].rate - table[0].cum
    return max(notional * tier.rate - tier.cum for tier in table)


def liquidation_price(quantity: float, entry: float, wallet: float, table: Sequence[Tier]) -> float | None:
    """Price at which wallet plus unrealised profit meets the maintenance margin.

    Parameters
    ----------
    quantity : float, signed base units, not zero
    entry : float, USDT
    wallet : float, isolated margin, USDT
    table : tiers, each checked at the liquidation price itself

    Returns
    -------
    float or None, USDT; None when no positive price liquidates (a long with margin beyond its notional)

    Notes
    -----
    The requirement is the largest over tiers, so the first tier to be met on the way decides: the highest price for a
    long, the lowest for a short.
    """
    size, side = abs(quantity), 1.0 if quantity > 0 else -1.0
    price = forced_price(side, size, entry, wallet, [tier.rate for tier in table], [tier.cum for tier in table])
    return price if price > 0 else None


def forced_price(side: float, size: float, entry: float, wallet: float, rates: Any, cums: Any) -> float:
    """:func:`liquidation_price` in plain numbers; not above 0 where no positive price liquidates.

    Parameters
    ----------
    rates, cums : of the tiers, sequences or arrays of one length
    """
    price = -math.inf if side > 0 else math.inf
    for tier in range(len(rates)):
        met = (wallet + cums[tier] - side * size * entry) / (size * (rates[tier] - side))
        price = max(price, met) if side > 0 else min(price, met)
    return price


def isolated_liquidation(side: int, entry: float, leverage: float, rate: float) -> float:
    """Liquidation price of a position at a leverage with one maintenance rate, USDT; 0 for a long that cannot be."""
    return max(0.0, forced_price(float(side), 1.0, entry, entry / leverage, (rate,), (0.0,)))


def tier_arrays(tables: Sequence[Sequence[Tier]]) -> tuple[Floats, Floats]:
    """Rates and cumulative amounts of several margin tables, shape (P, K); shorter tables repeat their last tier."""
    longest = max(len(table) for table in tables)
    full = [list(table) + [table[-1]] * (longest - len(table)) for table in tables]
    rates = np.array([[tier.rate for tier in table] for table in full])
    return rates, np.array([[tier.cum for tier in table] for table in full])
