"""What a booking changes, apart from where it is kept: the account as seen, an equity point, a move or a fill of an order.

One statement of these rules for the database (``accounts``, ``orders``) and for books in memory (``memory``). Not here: the
arithmetic of positions and cash (``accounting``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

from hydra_core.domain.intervals import DAY_MS
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Fill, OrderState, Portfolio, Position
from hydra_core.ledger.accounting import total_unrealised
from hydra_core.ledger.records import ENDED, Account, Latch, OrderRecord

WORTH_STEP: Final = Decimal("1e-8")


def portfolio_of(
    account: Account,
    held: Mapping[Pair, Position],
    latched: Mapping[str, Latch],
    barred: Iterable[Pair],
    marks: Mapping[Pair, float],
    now_ms: int,
) -> Portfolio:
    """The account as a decision sees it at market time ``now_ms``, marked to ``marks`` (USDT).

    A position without a mark counts at its entry price; whoever asks must treat the missing mark as a fault.
    """
    exact = {pair: Decimal(repr(float(marks[pair]))) for pair in held if pair in marks}
    equity = account.cash + total_unrealised(held.values(), exact)
    same_day = now_ms - now_ms % DAY_MS <= account.day_ms
    return Portfolio(
        account=account.name,
        cash=float(account.cash),
        equity=float(equity),
        peak_equity=float(max(account.peak_equity, equity)),
        day_start_equity=float(account.day_start_equity if same_day else account.equity),
        positions=held,
        barred=frozenset(barred),
        latched={name: latch.reason for name, latch in latched.items()},
    )


def worth_after(account: Account, ts_ms: int, equity: Decimal) -> dict[str, Any]:
    """What an equity point changes of its account: peak, and the day's start with the first point of a UTC day."""
    changes: dict[str, Any] = {"equity": equity, "peak_equity": max(account.peak_equity, equity)}
    today = ts_ms - ts_ms % DAY_MS
    if today > account.day_ms:
        changes |= {"day_ms": today, "day_start_equity": account.equity}
    return changes


def worth_moved(account: Account, amount: Decimal) -> dict[str, Any]:
    """What money that a person brought or took (USDT, signed) changes of what losses are counted from.

    Peak and start of day move in proportion to the worth, so that a loss is the same share before and after: a withdrawal trips
    no switch and a deposit hides no loss. Of an account that is or becomes worth nothing they stay.
    """
    after = account.equity + amount
    changes: dict[str, Any] = {"equity": after}
    if account.equity > 0 and after > 0:
        for name in ("peak_equity", "day_start_equity"):
            changes[name] = (getattr(account, name) * after / account.equity).quantize(WORTH_STEP)
    return changes


def order_moved(
    order: OrderRecord, state: OrderState, ts_ms: int, reason: str, venue_order_id: str | None
) -> dict[str, Any]:
    """What a move changes of its order; nothing where it says nothing new.

    The order keeps why it was made until it ends, then why it did.
    """
    changes: dict[str, Any] = {}
    if venue_order_id is not None and venue_order_id != order.venue_order_id:
        changes["venue_order_id"] = venue_order_id
    if order.state is not state:
        changes["state"] = state
        if reason and state in ENDED:
            changes["reason"] = reason
    if changes:
        changes["updated_ms"] = ts_ms
    return changes


def order_filled(order: OrderRecord, fill: Fill, state: OrderState | None) -> dict[str, Any]:
    """What a fill changes of its order: filled quantity, average price (USDT) and, where told, state."""
    filled = order.filled + fill.quantity
    spent = (order.avg_price or Decimal(0)) * order.filled + fill.price * fill.quantity
    changes: dict[str, Any] = {"filled": filled, "avg_price": spent / filled, "updated_ms": fill.event_ms}
    if state is not None and order.state is not state:
        changes["state"] = state
    return changes
