"""An exchange's words as facts: orders, fills, positions, wallet entries, read from REST rows and user-stream messages.

The facts are every exchange's; the readers here take Binance USD-M's spelling, raw so that every number stays exact.
Whatever cannot be read raises ValueError, KeyError, TypeError or ArithmeticError; what to make of that is the caller's.
What a fact changes is decided in ``books``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Side
from hydra_core.execution.orders import Word
from hydra_core.ledger.records import OrderKind

Row = Mapping[str, Any]
MALFORMED: Final = (KeyError, TypeError, ValueError, ArithmeticError, AttributeError)
"""What reading a spoilt row raises."""

FUNDING_FEE: Final = "FUNDING_FEE"
REALIZED_PNL: Final = "REALIZED_PNL"
BOOKED_WITH_FILLS: Final = frozenset({REALIZED_PNL, "COMMISSION"})
"""Kinds of entries that the trades tell of already; other exchanges' are read as the first."""

STATUS: Final[Mapping[str, Word]] = {
    "NEW": Word.WORKING,
    "PARTIALLY_FILLED": Word.PART_FILLED,
    "FILLED": Word.FILLED,
    "CANCELED": Word.CANCELED,
    "EXPIRED": Word.EXPIRED,
    "EXPIRED_IN_MATCH": Word.EXPIRED,
    "REJECTED": Word.REFUSED,
}
ALGO_STATUS: Final[Mapping[str, Word]] = {
    "NEW": Word.WORKING,
    "TRIGGERING": Word.WORKING,
    "TRIGGERED": Word.WORKING,
    "FINISHED": Word.WORKING,  # what became of it is told by the order that it turned into
    "CANCELED": Word.CANCELED,
    "EXPIRED": Word.EXPIRED,
    "REJECTED": Word.EXPIRED,  # it was taken and ended without an effect when its trigger came
}
_SIDES: Final = {"BUY": Side.LONG, "SELL": Side.SHORT}
_KINDS: Final[Mapping[str, OrderKind]] = {"LIMIT": "limit", "MARKET": "market", "LIQUIDATION": "market"}


@dataclass(frozen=True, slots=True)
class OrderFact:
    """An order as the exchange tells of it.

    Parameters
    ----------
    filled : Decimal, base units filled so far by the exchange's count
    algo : bool, whether it is a conditional order that waits for its trigger
    actual_id : str, the exchange's id of the order that a conditional one turned into; empty before
    """

    client_id: str
    venue_id: str
    pair: Pair
    side: Side
    kind: OrderKind
    word: Word
    quantity: Decimal
    filled: Decimal
    reduce_only: bool
    ts_ms: int
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    algo: bool = False
    actual_id: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FillFact:
    """A trade of the account; ``fee`` is None where the exchange did not say."""

    pair: Pair
    trade_id: str
    venue_id: str
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal | None
    fee_asset: str
    realised: Decimal | None
    maker: bool
    ts_ms: int
    order: int = 0
    """Its place among trades of one millisecond, where the exchange numbers them."""


@dataclass(frozen=True, slots=True)
class PositionFact:
    """A position as the exchange holds it: signed base units, USDT."""

    pair: Pair
    quantity: Decimal
    entry: Decimal
    liquidation: Decimal
    updated_ms: int


@dataclass(frozen=True, slots=True)
class IncomeFact:
    """An entry of the wallet's history, USDT.

    Parameters
    ----------
    kind : str, :data:`FUNDING_FEE`, one of :data:`BOOKED_WITH_FILLS`, or the exchange's own word
    told : rate and mark price of a settlement, where the entry says them
    """

    entry_id: str
    pair: Pair | None
    kind: str
    amount: Decimal
    ts_ms: int
    note: str = ""
    told: tuple[Decimal, Decimal] | None = None


def read_order(row: Row) -> OrderFact:
    """A REST row of an order."""
    return OrderFact(
        client_id=named(row["clientOrderId"]),
        venue_id=named(row["orderId"]),
        pair=Pair(row["symbol"]),
        side=_SIDES[row["side"]],
        kind=_KINDS.get(row["type"], "market"),
        word=STATUS[row["status"]],
        quantity=Decimal(row["origQty"]),
        filled=Decimal(row["executedQty"]),
        reduce_only=_flag(row.get("reduceOnly")),
        ts_ms=int(row["updateTime"]),
        limit_price=_price(row.get("price")),
    )


def read_algo(row: Row) -> OrderFact:
    """A REST row of a conditional order."""
    return OrderFact(
        client_id=named(row["clientAlgoId"]),
        venue_id=named(row["algoId"]),
        pair=Pair(row["symbol"]),
        side=_SIDES[row["side"]],
        kind="stop",
        word=ALGO_STATUS[row["algoStatus"]],
        quantity=Decimal(row["quantity"]),
        filled=Decimal(0),
        reduce_only=_flag(row.get("reduceOnly")) or _flag(row.get("closePosition")),
        ts_ms=int(row["updateTime"]),
        stop_price=_price(row.get("triggerPrice")),
        algo=True,
        actual_id=_id(row.get("actualOrderId")),
    )


def read_fill(row: Row) -> FillFact:
    """A REST row of a trade of ours."""
    return FillFact(
        pair=Pair(row["symbol"]),
        trade_id=named(row["id"]),
        venue_id=named(row["orderId"]),
        side=_SIDES[row["side"]],
        quantity=Decimal(row["qty"]),
        price=Decimal(row["price"]),
        fee=_optional(row.get("commission")),
        fee_asset=str(row.get("commissionAsset") or ""),
        realised=_optional(row.get("realizedPnl")),
        maker=_flag(row.get("maker")),
        ts_ms=int(row["time"]),
    )


def read_position(row: Row) -> PositionFact:
    """A REST row of a position; raises ValueError for one of hedge mode."""
    if row.get("positionSide", "BOTH") != "BOTH":
        raise ValueError(f"position of {row['symbol']} is of hedge mode")
    return PositionFact(
        pair=Pair(row["symbol"]),
        quantity=Decimal(row["positionAmt"]),
        entry=Decimal(row["entryPrice"]),
        liquidation=Decimal(row.get("liquidationPrice") or 0),
        updated_ms=int(row.get("updateTime") or 0),
    )


def read_income(row: Row) -> IncomeFact:
    """A REST row of the wallet's history."""
    symbol = row.get("symbol")
    return IncomeFact(
        entry_id=f"{row['incomeType']}-{row['tranId']}",
        pair=Pair(symbol) if symbol else None,
        kind=named(row["incomeType"]),
        amount=Decimal(row["income"]),
        ts_ms=int(row["time"]),
        note=str(row.get("info") or ""),
    )


def read_order_event(message: Row) -> tuple[OrderFact, FillFact | None]:
    """An ``ORDER_TRADE_UPDATE`` of the user stream: the order, and the fill when it tells of one."""
    told = message["o"]
    order = OrderFact(
        client_id=named(told["c"]),
        venue_id=named(told["i"]),
        pair=Pair(told["s"]),
        side=_SIDES[told["S"]],
        kind=_KINDS.get(told["o"], "market"),
        word=STATUS[told["X"]],
        quantity=Decimal(told["q"]),
        filled=Decimal(told["z"]),
        reduce_only=_flag(told.get("R")),
        ts_ms=int(told["T"]),
        limit_price=_price(told.get("p")),
    )
    if told["x"] != "TRADE" and not int(told.get("t") or 0):
        return order, None
    fill = FillFact(
        pair=order.pair,
        trade_id=str(int(told["t"])),
        venue_id=order.venue_id,
        side=order.side,
        quantity=Decimal(told["l"]),
        price=Decimal(told["L"]),
        fee=_optional(told.get("n")),
        fee_asset=str(told.get("N") or ""),
        realised=_optional(told.get("rp")),
        maker=_flag(told.get("m")),
        ts_ms=int(told["T"]),
    )
    return order, fill


def read_algo_event(message: Row) -> OrderFact:
    """An ``ALGO_UPDATE`` of the user stream."""
    told = message["o"]
    return OrderFact(
        client_id=named(told["caid"]),
        venue_id=named(told["aid"]),
        pair=Pair(told["s"]),
        side=_SIDES[told["S"]],
        kind="stop",
        word=ALGO_STATUS[told["X"]],
        quantity=Decimal(told["q"]),
        filled=Decimal(0),
        reduce_only=_flag(told.get("R")) or _flag(told.get("cp")),
        ts_ms=int(message["T"]),
        stop_price=_price(told.get("tp")),
        algo=True,
        actual_id=_id(told.get("ai")),
        reason=str(told.get("rm") or ""),
    )


def read_short_trade(message: Row) -> tuple[Pair, str]:
    """Pair and number of a ``TRADE_LITE``: a trade without its fee, which is told in full behind it and booked from there."""
    return Pair(message["s"]), str(int(message["t"]))


def read_margin_call(message: Row) -> str:
    """A ``MARGIN_CALL`` in words: the positions whose margin is nearly used up."""
    held = [
        f"{row['s']} {Decimal(row['pa']):f} at mark {Decimal(row['mp']):f}, needs {Decimal(row['mm']):f} USDT"
        for row in message["p"]
    ]
    return f"margin call: {'; '.join(held)}"


def answering(client_id: str, read: Callable[[Row], OrderFact]) -> Callable[[Row], OrderFact]:
    """A reader of answers about one order; raises ValueError for an answer that speaks of another."""

    def checked(row: Row) -> OrderFact:
        fact = read(row)
        if fact.client_id != client_id:
            raise ValueError(f"asked about {client_id}, it speaks of {fact.client_id}")
        return fact

    return checked


def named(value: Any) -> str:
    """An id, which is a word or a number; raises ValueError for anything else, so that no order is called ``None``."""
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise ValueError(f"{value!r} is no id")
    return str(value)


def _flag(value: Any) -> bool:
    return value is True or (isinstance(value, str) and value.lower() == "true")


def _optional(value: Any) -> Decimal | None:
    return None if value in (None, "") else Decimal(value)


def _price(value: Any) -> Decimal | None:
    """A price, None for the zero that stands for none."""
    read = _optional(value)
    return read if read else None


def _id(value: Any) -> str:
    return "" if value in (None, "", "0", 0) else str(value)
