"""A unified trading account as Bybit tells of it, REST v5.

Sources: bybit-exchange.github.io/docs/v5 (order/create-order, order/open-order, order/order-list, order/execution,
position, account/wallet-balance, account/transaction-log, enum: orderStatus, execType, createType, cancelType) and the
answers quoted in ccxt 4.5.90 bybit.parse_order, fetch_my_trades, fetch_ledger, parse_position.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from decimal import Decimal
from typing import Any, ClassVar

from account_double import KEY, SECRET, AccountDouble, D, Order, Trade, now_ms
from aiohttp import web

STATUS = {"filled": "Filled", "canceled": "Cancelled", "waiting": "Untriggered", "turned down": "Rejected"}


class BybitDouble(AccountDouble):
    orders_path: ClassVar[str] = "/v5/order/create"
    cancel_path: ClassVar[str] = "/v5/order/cancel"
    symbol: ClassVar[str] = "BTCUSDT"

    def signed(self, request: web.Request, body: str) -> bool:
        """docs/v5/guide: HMAC-SHA256 of timestamp + key + recv window + (query or body), hex."""
        if request.path.startswith("/v5/market/"):
            return True
        told = request.headers
        plain = told["X-BAPI-TIMESTAMP"] + KEY + told["X-BAPI-RECV-WINDOW"] + (body or request.rel_url.raw_query_string)
        right = hmac.new(SECRET.encode(), plain.encode(), hashlib.sha256).hexdigest()
        return told["X-BAPI-API-KEY"] == KEY and hmac.compare_digest(told["X-BAPI-SIGN"], right)

    def answers(self) -> dict[str, Callable[[Any], Any]]:
        return {
            "/v5/market/time": lambda _: {
                **_ok({"timeSecond": str(now_ms() // 1000), "timeNano": f"{now_ms()}000000"})
            },
            "/v5/market/risk-limit": lambda _: _list(
                [
                    {
                        "symbol": self.symbol,
                        "riskLimitValue": "2000000",
                        "maxLeverage": "100.00",
                        **_margins("0.5", "1"),
                    },
                    {
                        "symbol": self.symbol,
                        "riskLimitValue": "9000000",
                        "maxLeverage": "20.00",
                        **_margins("2.5", "5"),
                    },
                ]
            ),
            self.orders_path: self._create,
            self.cancel_path: self._cancel,
            "/v5/order/realtime": lambda asked: self._orders(asked, ended=False),
            "/v5/order/history": lambda asked: self._orders(asked, ended=True),
            "/v5/execution/list": self._executions,
            "/v5/position/list": lambda _: _list([self._position()]),
            "/v5/account/wallet-balance": lambda _: _list(
                [{"accountType": "UNIFIED", "coin": [{"coin": "USDT", "walletBalance": str(self.wallet)}]}]
            ),
            "/v5/account/transaction-log": lambda asked: _list(_since(self.entries, asked, "transactionTime")),
            "/v5/market/instruments-info": lambda _: _list([]),
            "/v5/user/query-api": lambda _: _ok({"unified": 0, "uta": 1}),
            "/v5/account/info": lambda _: _ok({"unifiedMarginStatus": 5, "marginMode": "REGULAR_MARGIN"}),
        }

    def refusal(self, code: str, words: str) -> Any:
        return {"retCode": int(code), "retMsg": words, "result": {}, "retExtInfo": {}, "time": now_ms()}

    def _create(self, asked: dict[str, Any]) -> Any:
        if self.by(client=asked["orderLinkId"]):
            return self.refusal("110072", "OrderLinkedID is duplicate")
        waits = "triggerPrice" in asked
        order = Order(
            f"f5f2d355-9a11-4af3-{self.new_id()}",
            asked["orderLinkId"],
            asked["side"].lower(),
            D(asked["qty"]),
            kind="stop" if waits else asked["orderType"].lower(),
            price=asked.get("price", ""),
            trigger=asked.get("triggerPrice", ""),
            reduce_only=asked["reduceOnly"],
            status="waiting" if waits else "open",
            tif=asked.get("timeInForce", "IOC"),
        )
        self.take(order)
        return _ok({"orderId": order.venue_id, "orderLinkId": order.client})

    def _cancel(self, asked: dict[str, Any]) -> Any:
        order = self.by(asked.get("orderLinkId", ""), asked.get("orderId", ""))
        if order is None or order.status in {"filled", "canceled"}:
            return self.refusal("110001", "order not exists or too late to cancel")
        order.status = "canceled"
        return _ok({"orderId": order.venue_id, "orderLinkId": order.client})

    def _orders(self, asked: dict[str, Any], *, ended: bool) -> Any:
        named = asked.get("orderLinkId"), asked.get("orderId")
        found = [o for o in self.orders.values() if not any(named) or o.client == named[0] or o.venue_id == named[1]]
        live = [o for o in found if o.status in {"open", "waiting"}]
        chosen = [o for o in found if o not in live] if ended else (found if any(named) else live)
        return _paged([self.order_row(order) for order in chosen], asked)

    def order_row(self, order: Order) -> dict[str, Any]:
        """ccxt bybit.parse_order, v5; createType and rejectReason by docs/v5/enum."""
        status = STATUS.get(order.status, "PartiallyFilled" if order.filled else "New")
        if order.status == "canceled" and order.trigger:
            status = "Deactivated"
        return {
            "symbol": self.symbol, "orderType": "Limit" if order.kind == "limit" else "Market",
            "orderId": order.venue_id,
            "orderLinkId": order.client, "cancelType": "UNKNOWN", "avgPrice": "", "orderStatus": status,
            "stopOrderType": "Stop" if order.trigger else "", "takeProfit": "", "triggerDirection": 0,
            "createType": {"liquidation": "CreateByLiq", "adl": "CreateByAdl_PassThrough"}.get(order.made_by,
            "CreateByUser"),
            "rejectReason": "EC_NoEnoughQtyToFill" if order.status == "turned down" else "EC_NoError",
            "price": order.price or "0", "createdTime": str(order.at), "positionIdx": 0, "timeInForce": order.tif,
            "updatedTime": str(order.at), "side": order.side.capitalize(), "triggerPrice": order.trigger,
            "leavesQty": str(order.size - order.filled), "closeOnTrigger": False, "cumExecQty": str(order.filled),
            "reduceOnly": order.reduce_only, "qty": str(order.size), "triggerBy": "MarkPrice" if order.trigger else "",
        }  # fmt: skip

    def _executions(self, asked: dict[str, Any]) -> Any:
        rows = [self.execution_row(trade) for trade in reversed(self.trades)]
        return _paged(_since(rows, asked, "execTime"), asked, self.a_page)

    def execution_row(self, trade: Trade) -> dict[str, Any]:
        """docs/v5/order/execution; ccxt bybit.fetch_my_trades."""
        kind = {"liquidation": "BustTrade", "adl": "AdlTrade"}.get(trade.order.made_by, "Trade")
        return {
            "symbol": self.symbol, "orderType": "Market", "orderLinkId": trade.order.client,
            "side": trade.order.side.capitalize(), "orderId": trade.order.venue_id, "stopOrderType": "UNKNOWN",
            "execTime": str(trade.at), "isMaker": False,
            "execFee": str(trade.fee), "feeCurrency": "", "feeRate": "0.0005", "execId": trade.trade_id,
            "execPrice": str(trade.price), "execValue": str(trade.price * trade.size), "execType": kind,
            "execQty": str(trade.size), "execPnl": str(trade.pnl), "seq": trade.number, "closedSize": "",
        }  # fmt: skip

    def entry_of_trade(self, trade: Trade) -> dict[str, Any]:
        """docs/v5/account/transaction-log; ccxt bybit.fetch_ledger."""
        return {
            "id": f"log-{trade.number}", "symbol": self.symbol, "side": trade.order.side.capitalize(), "funding": "",
            "orderLinkId": trade.order.client, "orderId": trade.order.venue_id, "fee": str(trade.fee),
            "change": str(trade.pnl - trade.fee), "cashFlow": str(trade.pnl), "transactionTime": str(trade.at),
            "type": "TRADE", "feeRate": "0.0005", "size": str(self.held), "qty": str(trade.size),
            "cashBalance": str(self.wallet), "currency": "USDT", "category": "linear", "tradePrice": str(trade.price),
            "tradeId": trade.trade_id,
        }  # fmt: skip

    def settle(self, amount: Decimal) -> None:
        """A settlement of funding: ccxt bybit.fetch_ledger, type SETTLEMENT; it stands among the executions too."""
        self.wallet += amount
        at, number = now_ms(), self.new_id()
        self.entries.append(
            {"id": f"log-{number}", "symbol": self.symbol, "side": "Buy", "funding": str(amount), "orderLinkId": "",
             "orderId": f"{at // 1000}-8-592324-1-2", "fee": "0.00000000", "change": str(amount), "cashFlow": "0",
             "transactionTime": str(at), "type": "SETTLEMENT", "feeRate": "0.0001", "size": str(self.held),
             "qty": str(self.held), "cashBalance": str(self.wallet), "currency": "USDT", "category": "linear",
             "tradePrice": str(self.price), "tradeId": "534c0003-4bf7-486f-aa02-78cee36825e4"}
        )  # fmt: skip

    def deposit(self, amount: Decimal) -> None:
        self.wallet += amount
        self.entries.append(
            {"id": f"log-{self.new_id()}", "symbol": "", "side": "None", "funding": "", "orderId": "", "fee": "0",
             "change": str(amount), "cashFlow": str(amount), "transactionTime": str(now_ms()), "type": "TRANSFER_IN",
             "feeRate": "", "currency": "USDT", "category": "", "tradePrice": "", "tradeId": ""}
        )  # fmt: skip

    def _position(self) -> dict[str, Any]:
        """ccxt bybit.parse_position, unified account."""
        return {
            "symbol": self.symbol, "leverage": "10", "avgPrice": str(self.entry if self.held else 0), "liqPrice": "",
            "riskLimitValue": "2000000", "positionValue": "", "riskId": 1, "unrealisedPnl": "",
            "markPrice": str(self.price),
            "positionIdx": 1 if self.hedged else 0, "updatedTime": str(now_ms()), "tradeMode": 0,
            "side": "Buy" if self.held > 0 else "Sell" if self.held else "", "size": str(abs(self.held)),
        }  # fmt: skip

    def on_stream(self, message: Any) -> Any:
        """docs/v5/ws/connect: auth, subscribe, ping."""
        self.subscribed = self.subscribed or message["op"] == "subscribe"
        return {
            "success": True,
            "ret_msg": "",
            "op": message["op"],
            "conn_id": "c-1",
            "req_id": message.get("req_id", ""),
        }

    def order_event(self, order: Order) -> dict[str, Any]:
        """docs/v5/websocket/private/order."""
        return {
            "id": "e-1", "topic": "order", "creationTime": now_ms(),
            "data": [self.order_row(order) | {"category": "linear"}],
        }  # fmt: skip


def _ok(result: Any) -> dict[str, Any]:
    return {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": now_ms()}


def _list(rows: list[Any]) -> dict[str, Any]:
    return _ok({"category": "linear", "list": rows, "nextPageCursor": ""})


def _since(rows: list[dict[str, Any]], asked: dict[str, Any], at: str) -> list[dict[str, Any]]:
    """docs: a span of at most seven days, both ends inside."""
    start, end = int(asked["startTime"]), int(asked["endTime"])
    assert end - start <= 7 * 86_400_000, "the exchange refuses a longer span"
    return [row for row in rows if start <= int(row[at]) <= end]


def _paged(rows: list[Any], asked: dict[str, Any], most: int = 100) -> dict[str, Any]:
    begin = int(asked.get("cursor") or 0)
    page = rows[begin : begin + most]
    following = str(begin + most) if begin + most < len(rows) else ""
    return _ok({"category": "linear", "list": page, "nextPageCursor": following})


def _margins(maintenance: str, initial: str) -> dict[str, str]:
    """In percents, as the documentation's example has them."""
    return {"maintenanceMargin": maintenance, "initialMargin": initial}
