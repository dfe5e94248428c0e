"""The account in the exchange's spelling: REST rows and user-stream messages."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson

from hydra_core.domain.pairs import QUOTE, Pair
from hydra_core.venue.account import CENT, Bracket, Position, bracket_of, maintenance_margin
from hydra_core.venue.events import (
    AccountEvent,
    AlgoEvent,
    LeverageEvent,
    MarginCallEvent,
    OrderEvent,
    ShortTradeEvent,
    TriggerRejectEvent,
    UserEvent,
)
from hydra_core.venue.margin import MarginState, PairMargin
from hydra_core.venue.orders import AlgoOrder, Income, Order, Trade

_SIDES = {1: "BUY", -1: "SELL"}


def usdt(value: Decimal) -> str:
    """A USDT amount with eight decimals."""
    return f"{value.quantize(CENT):f}"


def plain(value: Decimal) -> str:
    """A number without exponent or trailing zeros."""
    return f"{value.normalize():f}" if value else "0"


def order_row(order: Order) -> dict[str, Any]:
    """An order as REST answers it."""
    return {
        "orderId": order.order_id,
        "symbol": order.pair,
        "status": order.status,
        "clientOrderId": order.client_id,
        "price": plain(order.price),
        "avgPrice": plain(order.average.quantize(CENT)),
        "origQty": plain(order.quantity),
        "executedQty": plain(order.filled),
        "cumQty": plain(order.filled),
        "cumQuote": plain(order.quote),
        "timeInForce": order.time_in_force,
        "type": order.kind,
        "reduceOnly": order.reduce_only,
        "closePosition": order.close_position,
        "side": _SIDES[order.side],
        "positionSide": "BOTH",
        "stopPrice": plain(order.stop_price),
        "workingType": "CONTRACT_PRICE",
        "priceProtect": False,
        "origType": order.original_kind,
        "priceMatch": "NONE",
        "selfTradePreventionMode": "NONE",
        "goodTillDate": 0,
        "time": order.created_ms,
        "updateTime": order.updated_ms,
    }


def algo_row(algo: AlgoOrder) -> dict[str, Any]:
    """A conditional order as REST answers it."""
    row = {
        "algoId": algo.algo_id,
        "clientAlgoId": algo.client_id,
        "algoType": "CONDITIONAL",
        "orderType": algo.kind,
        "symbol": algo.pair,
        "side": _SIDES[algo.side],
        "positionSide": "BOTH",
        "timeInForce": algo.time_in_force,
        "quantity": plain(algo.quantity),
        "algoStatus": algo.status,
        "actualOrderId": str(algo.order_id) if algo.order_id else "",
        "triggerPrice": plain(algo.trigger_price),
        "price": plain(algo.price),
        "icebergQuantity": None,
        "selfTradePreventionMode": "NONE",
        "workingType": algo.working_type,
        "priceMatch": "NONE",
        "closePosition": algo.close_position,
        "priceProtect": False,
        "reduceOnly": algo.reduce_only,
        "createTime": algo.created_ms,
        "updateTime": algo.updated_ms,
        "triggerTime": algo.trigger_ms,
        "goodTillDate": 0,
    }
    if algo.kind == "TRAILING_STOP_MARKET":
        row |= {"callbackRate": plain(algo.callback_rate), "activatePrice": plain(algo.activation_price)}
    return row


def trade_row(trade: Trade) -> dict[str, Any]:
    """A fill as ``userTrades`` answers it."""
    return {
        "symbol": trade.pair,
        "id": trade.trade_id,
        "orderId": trade.order_id,
        "side": _SIDES[trade.side],
        "price": plain(trade.price),
        "qty": plain(trade.quantity),
        "realizedPnl": usdt(trade.realised),
        "quoteQty": plain(trade.price * trade.quantity),
        "commission": usdt(trade.commission),
        "commissionAsset": QUOTE,
        "time": trade.ts,
        "positionSide": "BOTH",
        "buyer": trade.side > 0,
        "maker": trade.maker,
    }


def income_row(entry: Income) -> dict[str, Any]:
    """A wallet entry as ``income`` answers it."""
    return {
        "symbol": entry.pair,
        "incomeType": entry.kind,
        "income": usdt(entry.amount),
        "asset": QUOTE,
        "time": entry.ts,
        "info": entry.info or entry.kind,
        "tranId": entry.transaction_id,
        "tradeId": entry.info,
    }


def balance_row(state: MarginState, now_ms: int) -> dict[str, Any]:
    """The USDT asset as ``account`` and ``balance`` answer it."""
    return {
        "asset": QUOTE,
        "accountAlias": "hydra",
        "balance": usdt(state.wallet),
        "walletBalance": usdt(state.wallet),
        "unrealizedProfit": usdt(state.unrealised),
        "marginBalance": usdt(state.balance),
        "maintMargin": usdt(state.maintenance),
        "initialMargin": usdt(state.position_initial + state.order_initial),
        "positionInitialMargin": usdt(state.position_initial),
        "openOrderInitialMargin": usdt(state.order_initial),
        "crossWalletBalance": usdt(state.wallet),
        "crossUnPnl": usdt(state.unrealised),
        "availableBalance": usdt(state.available),
        "maxWithdrawAmount": usdt(min(state.available, state.wallet)),
        "marginAvailable": True,
        "updateTime": now_ms,
    }


def account_body(state: MarginState, positions: list[dict[str, Any]], now_ms: int) -> dict[str, Any]:
    """The answer of ``account``."""
    asset = balance_row(state, now_ms)
    return {
        "totalInitialMargin": asset["initialMargin"],
        "totalMaintMargin": asset["maintMargin"],
        "totalWalletBalance": asset["walletBalance"],
        "totalUnrealizedProfit": asset["unrealizedProfit"],
        "totalMarginBalance": asset["marginBalance"],
        "totalPositionInitialMargin": asset["positionInitialMargin"],
        "totalOpenOrderInitialMargin": asset["openOrderInitialMargin"],
        "totalCrossWalletBalance": asset["crossWalletBalance"],
        "totalCrossUnPnl": asset["crossUnPnl"],
        "availableBalance": asset["availableBalance"],
        "maxWithdrawAmount": asset["maxWithdrawAmount"],
        "assets": [asset],
        "positions": positions,
    }


def position_row(
    pair: Pair,
    held: Position,
    mark: Decimal,
    liquidation: Decimal,
    claim: PairMargin,
    table: tuple[Bracket, ...],
    leverage: int,
) -> dict[str, Any]:
    """A position as ``positionRisk`` v2 answers it; see :func:`without_v2_fields` for v3."""
    notional = held.quantity * mark
    maintenance = maintenance_margin(table, abs(notional)) if held.quantity else Decimal(0)
    return {
        "symbol": pair,
        "positionSide": "BOTH",
        "positionAmt": plain(held.quantity),
        "entryPrice": plain(held.entry.quantize(CENT)),
        "breakEvenPrice": plain(held.entry.quantize(CENT)),
        "markPrice": usdt(mark),
        "unRealizedProfit": usdt(held.unrealised(mark)),
        "unrealizedProfit": usdt(held.unrealised(mark)),
        "liquidationPrice": plain(liquidation.quantize(CENT)),
        "isolatedMargin": "0",
        "notional": usdt(notional),
        "isolatedWallet": "0",
        "initialMargin": usdt(claim.position_initial + claim.order_initial),
        "maintMargin": usdt(maintenance),
        "positionInitialMargin": usdt(claim.position_initial),
        "openOrderInitialMargin": usdt(claim.order_initial),
        "adl": 2,
        "bidNotional": usdt(claim.bid_notional),
        "askNotional": usdt(claim.ask_notional),
        "marginAsset": QUOTE,
        "marginType": "cross",
        "leverage": str(leverage),
        "maxNotionalValue": plain(bracket_of(table, abs(notional)).cap),
        "updateTime": held.updated_ms,
    }


def without_v2_fields(row: dict[str, Any]) -> dict[str, Any]:
    """A position as ``positionRisk`` v3 answers it: leverage and margin type are no longer in it."""
    return {name: value for name, value in row.items() if name not in {"leverage", "marginType", "maxNotionalValue"}}


def bracket_rows(pair: Pair, table: tuple[Bracket, ...]) -> dict[str, Any]:
    """A pair as ``leverageBracket`` answers it."""
    return {
        "symbol": pair,
        "brackets": [
            {
                "bracket": step.number,
                "initialLeverage": step.leverage,
                "notionalCap": int(step.cap),
                "notionalFloor": int(step.floor),
                "maintMarginRatio": float(step.maintenance),
                "cum": float(step.cumulative),
            }
            for step in table
        ],
    }


def event_bytes(event: UserEvent) -> bytes:
    """A user-stream message."""
    if isinstance(event, OrderEvent):
        body = _order_event(event)
    elif isinstance(event, ShortTradeEvent):
        body = _short_trade_event(event)
    elif isinstance(event, MarginCallEvent):
        body = _margin_call_event(event)
    elif isinstance(event, AlgoEvent):
        body = _algo_event(event)
    elif isinstance(event, AccountEvent):
        body = _account_event(event)
    elif isinstance(event, TriggerRejectEvent):
        body = _reject_event(event)
    else:
        body = _leverage_event(event)
    return orjson.dumps(body)


def listen_key_expired(listen_key: str, now_ms: int) -> bytes:
    """The message that ends a user stream."""
    return orjson.dumps({"e": "listenKeyExpired", "E": now_ms, "listenKey": listen_key})


def _order_event(event: OrderEvent) -> dict[str, Any]:
    order, trade = event.order, event.trade
    body: dict[str, Any] = {
        "s": order.pair,
        "c": order.client_id,
        "S": _SIDES[order.side],
        "o": order.kind,
        "f": order.time_in_force,
        "q": plain(order.quantity),
        "p": plain(order.price),
        "ap": plain(order.average.quantize(CENT)),
        "sp": plain(order.stop_price),
        "x": event.execution,
        "X": order.status,
        "i": order.order_id,
        "l": plain(trade.quantity) if trade else "0",
        "z": plain(order.filled),
        "L": plain(trade.price) if trade else "0",
        "T": event.ts,
        "t": trade.trade_id if trade else 0,
        "b": "0",
        "a": "0",
        "m": trade.maker if trade else False,
        "R": order.reduce_only,
        "wt": "CONTRACT_PRICE",
        "ot": order.original_kind,
        "ps": "BOTH",
        "cp": order.close_position,
        "rp": usdt(trade.realised) if trade else "0",
        "pP": False,
        "si": 0,
        "ss": 0,
        "V": "NONE",
        "pm": "NONE",
        "gtd": 0,
    }
    if trade:
        body |= {"N": QUOTE, "n": usdt(trade.commission)}
    return {"e": "ORDER_TRADE_UPDATE", "E": event.ts, "T": event.ts, "o": body}


def _short_trade_event(event: ShortTradeEvent) -> dict[str, Any]:
    order, trade = event.order, event.trade
    return {
        "e": "TRADE_LITE",
        "E": event.ts,
        "T": event.ts,
        "s": order.pair,
        "q": plain(order.quantity),
        "p": plain(order.price),
        "m": trade.maker,
        "c": order.client_id,
        "S": _SIDES[order.side],
        "L": plain(trade.price),
        "l": plain(trade.quantity),
        "t": trade.trade_id,
        "i": order.order_id,
    }


def _margin_call_event(event: MarginCallEvent) -> dict[str, Any]:
    return {
        "e": "MARGIN_CALL",
        "E": event.ts,
        "cw": usdt(event.wallet),
        "p": [
            {
                "s": line.pair,
                "ps": "BOTH",
                "pa": plain(line.quantity),
                "mt": "CROSSED",
                "iw": "0",
                "mp": plain(line.mark),
                "up": usdt(line.unrealised),
                "mm": usdt(line.maintenance),
            }
            for line in event.positions
        ],
    }


def _algo_event(event: AlgoEvent) -> dict[str, Any]:
    algo = event.algo
    body = {
        "caid": algo.client_id,
        "aid": algo.algo_id,
        "at": "CONDITIONAL",
        "o": algo.kind,
        "s": algo.pair,
        "S": _SIDES[algo.side],
        "ps": "BOTH",
        "f": algo.time_in_force,
        "q": plain(algo.quantity),
        "X": algo.status,
        "ai": str(algo.order_id) if algo.order_id else "",
        "ap": "0.00000",
        "aq": "0.00000",
        "act": "0",
        "tp": plain(algo.trigger_price),
        "p": plain(algo.price),
        "V": "NONE",
        "wt": algo.working_type,
        "pm": "NONE",
        "cp": algo.close_position,
        "pP": False,
        "R": algo.reduce_only,
        "tt": algo.trigger_ms,
        "gtd": 0,
        "rm": algo.reason,
    }
    return {"e": "ALGO_UPDATE", "E": event.ts, "T": event.ts, "o": body}


def _account_event(event: AccountEvent) -> dict[str, Any]:
    return {
        "e": "ACCOUNT_UPDATE",
        "E": event.ts,
        "T": event.ts,
        "a": {
            "m": event.reason,
            "B": [{"a": QUOTE, "wb": usdt(event.wallet), "cw": usdt(event.wallet), "bc": usdt(event.change)}],
            "P": [
                {
                    "s": line.pair,
                    "pa": plain(line.quantity),
                    "ep": plain(line.entry.quantize(CENT)),
                    "bep": plain(line.entry.quantize(CENT)),
                    "cr": "0",
                    "up": usdt(line.unrealised),
                    "mt": "cross",
                    "iw": "0",
                    "ps": "BOTH",
                }
                for line in event.positions
            ],
        },
    }


def _leverage_event(event: LeverageEvent) -> dict[str, Any]:
    return {
        "e": "ACCOUNT_CONFIG_UPDATE",
        "E": event.ts,
        "T": event.ts,
        "ac": {"s": event.pair, "l": event.leverage},
    }


def _reject_event(event: TriggerRejectEvent) -> dict[str, Any]:
    return {
        "e": "CONDITIONAL_ORDER_TRIGGER_REJECT",
        "E": event.ts,
        "T": event.ts,
        "or": {"s": event.pair, "i": event.order_id, "r": event.reason},
    }
