"""The arithmetic of money: what a fill or a funding settlement does to a position and to cash. Pure, Decimal only.

Entry prices are volume-weighted averages kept to 18 decimals; everything else is exact. No clock, no I/O, no rounding
to an exchange's filters (that happens where orders are made).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from decimal import Context, Decimal, localcontext
from typing import Final

from hydra_core.domain.errors import HydraError
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Fill, Position

_WIDE: Final = Context(prec=60)
_ENTRY_STEP: Final = Decimal("1e-18")


def exact() -> AbstractContextManager[Context]:
    """A block in which sums and products of money are exact: the usual 28 digits are too few for a large account."""
    return localcontext(_WIDE)


@dataclass(frozen=True, slots=True)
class Booked:
    """What a fill did.

    Parameters
    ----------
    position : Position or None, None when the fill left the account flat in the pair
    realised : Decimal, profit of the part it closed, USDT, before its fee
    cash_change : Decimal, realised minus fee, USDT
    """

    position: Position | None
    realised: Decimal
    cash_change: Decimal


def apply_fill(position: Position | None, fill: Fill, stated: Decimal | None = None) -> Booked:
    """Book one fill on a position: enlarge at the average price, reduce at a profit or loss, or turn it round.

    Parameters
    ----------
    position : Position or None, the one held in the fill's pair
    fill : Fill, positive quantity and price
    stated : Decimal, optional
        Profit (USDT) that the exchange itself states for what the fill closed: its rounding is what the wallet shows.

    Raises
    ------
    HydraError : quantity or price is not positive, or the pair is another one
    """
    if fill.quantity <= 0 or fill.price <= 0:
        raise HydraError(f"fill {fill.trade_id} of {fill.pair} has quantity {fill.quantity} at {fill.price}")
    if position is not None and position.pair != fill.pair:
        raise HydraError(f"fill {fill.trade_id} is of {fill.pair}, the position of {position.pair}")
    with exact():
        signed = fill.quantity * fill.side
        if position is None or position.quantity == 0:
            return Booked(Position(fill.pair, signed, fill.price, fill.event_ms), Decimal(0), -fill.fee)
        held = position.quantity
        if (held > 0) == (signed > 0):
            total = held + signed
            entry = ((position.entry_price * held + fill.price * signed) / total).quantize(_ENTRY_STEP).normalize()
            return Booked(replace(position, quantity=total, entry_price=entry), Decimal(0), -fill.fee)
        closed = min(abs(held), fill.quantity)
        realised = (fill.price - position.entry_price) * (closed if held > 0 else -closed)
        if stated is not None:
            realised = stated
        left = held + signed
        after: Position | None
        if left == 0:
            after = None
        elif (left > 0) == (held > 0):
            after = replace(position, quantity=left, realised=position.realised + realised)
        else:
            after = Position(fill.pair, left, fill.price, fill.event_ms)
        return Booked(after, realised, realised - fill.fee)


def funding_amount(quantity: Decimal, mark_price: Decimal, rate: Decimal) -> Decimal:
    """USDT received (negative: paid) at a settlement: longs pay shorts while the rate is positive."""
    with exact():
        return -quantity * mark_price * rate


def unrealised(position: Position, mark_price: Decimal) -> Decimal:
    """Profit of an open position at a mark price, USDT."""
    with exact():
        return _gain(position, mark_price)


def total_unrealised(positions: Iterable[Position], marks: Mapping[Pair, Decimal]) -> Decimal:
    """Profit of all positions; one without a mark counts at its entry price, so the caller must flag it."""
    total = Decimal(0)
    with exact():
        for held in positions:
            mark = marks.get(held.pair)
            if mark is not None:
                total += _gain(held, mark)
    return total


def _gain(position: Position, mark_price: Decimal) -> Decimal:
    """Profit of an open position at a mark price; call it in an exact block."""
    return (mark_price - position.entry_price) * position.quantity
