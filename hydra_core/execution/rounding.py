"""From a wanted position to orders that the exchange's filters can express. Money and sizes are Decimal from here on.

An order never carries the position beyond its target, cut toward zero to whole steps; one that only makes a position
smaller is reduce-only, and is exempt from the smallest notional (the exchange's own rule), so that a remainder can
always be closed.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Decimal
from typing import Final

from hydra_core.domain.market import MarketRules
from hydra_core.domain.trading import Side

ZERO: Final = Decimal(0)
_STEP_TOLERANCE: Final = Decimal("1e-9")
"""Share of a step that a float may miss a multiple by; without it 0.3/0.1 floors to 2."""


@dataclass(frozen=True, slots=True)
class Order:
    """A child order to be sent: unsigned size in base units."""

    side: Side
    quantity: Decimal
    reduce_only: bool


def decimal(value: float | Decimal) -> Decimal:
    """Decimal of a float by its shortest spelling (0.1 is ``Decimal("0.1")``)."""
    return value if isinstance(value, Decimal) else Decimal(repr(value))


def floor_quantity(quantity: float | Decimal, rules: MarketRules) -> Decimal:
    """A signed size cut toward zero to whole steps."""
    steps = (decimal(quantity) / rules.step_size).copy_abs() + _STEP_TOLERANCE
    whole = steps.to_integral_value(ROUND_DOWN) * rules.step_size
    return whole.copy_sign(decimal(quantity)) if whole else ZERO


def round_stop(price: float | Decimal, side: Side, rules: MarketRules) -> Decimal:
    """A protective stop's trigger on the tick grid, never farther from the market than asked.

    Parameters
    ----------
    side : Side of the position that the stop protects: a long's stop rounds up, a short's down
    """
    ticks = decimal(price) / rules.tick_size
    toward = ROUND_CEILING if side is Side.LONG else ROUND_FLOOR
    return ticks.to_integral_value(toward) * rules.tick_size


def orders_to_reach(target: float | Decimal, current: Decimal, price: Decimal, rules: MarketRules) -> tuple[Order, ...]:
    """Orders that carry a position from ``current`` toward ``target`` without passing it.

    Parameters
    ----------
    target, current : signed sizes in base units
    price : Decimal, USDT, for the smallest notional

    Returns
    -------
    tuple of at most two orders: crossing zero is a reduce-only close, then an entry. Empty where the filters cannot
    express the change; a close to flat takes the whole position, remainders off the grid included.
    """
    goal = floor_quantity(target, rules)
    if goal == ZERO or (current != ZERO and (goal > 0) != (current > 0)):
        closing = _reduction(current, current.copy_abs())
        return closing + _increase(goal, goal.copy_abs(), price, rules)
    change = goal.copy_abs() - current.copy_abs()
    if change < 0:
        return _reduction(current, floor_quantity(-change, rules))
    return _increase(goal, floor_quantity(change, rules), price, rules)


def refusal(
    quantity: Decimal,
    price: Decimal,
    rules: MarketRules,
    *,
    reduce_only: bool,
    held: Decimal,
    cap: Decimal | None = None,
) -> str:
    """Why an order must not be sent, by the exchange's own filters; empty where nothing speaks against it.

    Parameters
    ----------
    quantity : unsigned base units
    price : Decimal, USDT, that its notional is measured at
    held : signed position before it
    cap : Decimal, optional, largest notional (USDT) that the pair's leverage allows a position
    """
    if quantity <= ZERO:
        return f"quantity {quantity} is not positive"
    if quantity % rules.step_size:
        return f"quantity {quantity} is no multiple of {rules.step_size}"
    if reduce_only:
        return f"it would close {quantity} of {abs(held)}" if quantity > abs(held) else ""
    if quantity < rules.min_quantity:
        return f"quantity {quantity} is below {rules.min_quantity}"
    if quantity * price < rules.min_notional:
        return f"notional {quantity * price:.2f} is below {rules.min_notional}"
    if cap is not None and (abs(held) + quantity) * price > cap:
        return f"a position of {(abs(held) + quantity) * price:.2f} is over the bracket's {cap}"
    return ""


def _reduction(current: Decimal, quantity: Decimal) -> tuple[Order, ...]:
    if quantity <= 0:
        return ()
    return (Order(Side.SHORT if current > 0 else Side.LONG, quantity, reduce_only=True),)


def _increase(goal: Decimal, quantity: Decimal, price: Decimal, rules: MarketRules) -> tuple[Order, ...]:
    if quantity < rules.min_quantity or quantity <= 0 or quantity * price < rules.min_notional:
        return ()
    return (Order(Side.LONG if goal > 0 else Side.SHORT, quantity, reduce_only=False),)
