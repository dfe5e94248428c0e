"""A futures account in net mode as OKX tells of it, REST v5; a contract of BTC-USDT-SWAP is 0.01 BTC.

Sources: www.okx.com/docs-v5 (Place order, Order details, Place algo order, Algo order details, Transaction details, Get
positions, Get balance, Bills details, Account configuration) and the answers quoted in ccxt 4.5.90 okx.parse_order,
fetch_order, cancel_orders, parse_trade, parse_ledger_entry, parse_position.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from decimal import Decimal
from typing import Any, ClassVar

from account_double import KEY, PASSPHRASE, SECRET, AccountDouble, D, Order, Trade, now_ms
from aiohttp import web


class OkxDouble(AccountDouble):
    unit: ClassVar[Decimal] = D("0.01")
    orders_path: ClassVar[str] = "/api/v5/trade/order"
    cancel_path: ClassVar[str] = "/api/v5/trade/cancel-order"
    symbol: ClassVar[str] = "BTC-USDT-SWAP"

    def signed(self, request: web.Request, body: str) -> bool:
        """docs-v5, Signature: base64 of HMAC-SHA256 of timestamp + method + path with query + body; the passphrase is plain."""
        if request.path.startswith(("/api/v5/public/", "/api/v5/market/")):
            return True
        told = request.headers
        plain = told["OK-ACCESS-TIMESTAMP"] + request.method + request.raw_path + body
        right = base64.b64encode(hmac.new(SECRET.encode(), plain.encode(), hashlib.sha256).digest()).decode()
        known = (told["OK-ACCESS-KEY"], told["OK-ACCESS-PASSPHRASE"]) == (KEY, PASSPHRASE)
        return known and hmac.compare_digest(told["OK-ACCESS-SIGN"], right)

    def answers(self) -> dict[str, Callable[[Any], Any]]:
        named = {"instId": self.symbol, "instType": "SWAP"}
        return {
            "/api/v5/public/time": lambda _: _ok([{"ts": str(now_ms())}]),
            "/api/v5/public/instruments": lambda _: _ok(
                [{**named, "ctVal": "0.01", "ctMult": "1", "lotSz": "0.1", "settleCcy": "USDT"}]
            ),
            "/api/v5/public/mark-price": lambda _: _ok([{**named, "markPx": str(self.price), "ts": str(now_ms())}]),
            "/api/v5/public/position-tiers": lambda _: _ok(
                [{"maxLever": "100", "maxSz": "4000", "tier": "1"}, {"maxLever": "20", "maxSz": "30000", "tier": "2"}]
            ),
            "/api/v5/trade/order": lambda asked: self._create(asked) if "sz" in asked else self._detail(asked),
            "/api/v5/trade/cancel-order": self._cancel,
            "/api/v5/trade/order-algo": lambda asked: self._create_algo(asked) if "sz" in asked else self._algo(asked),
            "/api/v5/trade/cancel-algos": lambda asked: self._cancel_algo(asked[0]),
            "/api/v5/trade/orders-pending": lambda asked: self._resting(asked, waiting=False),
            "/api/v5/trade/orders-algo-pending": lambda asked: self._resting(asked, waiting=True),
            "/api/v5/trade/fills": self._fills,
            "/api/v5/trade/fills-history": self._fills,
            "/api/v5/account/positions": lambda _: _ok([self._position()]),
            "/api/v5/account/balance": lambda _: _ok([{"details": [{"ccy": "USDT", "cashBal": str(self.wallet)}]}]),
            "/api/v5/account/bills": lambda asked: _ok(_after(self._bills(asked), asked, "billId", 100)),
            "/api/v5/account/bills-archive": lambda asked: _ok(_after(self._bills(asked), asked, "billId", 100)),
            "/api/v5/account/config": lambda _: _ok(
                [{"acctLv": "2", "posMode": "long_short_mode" if self.hedged else "net_mode"}]
            ),
            "/api/v5/account/leverage-info": lambda _: _ok([{**named, "mgnMode": "cross", "lever": "10"}]),
        }

    def refusal(self, code: str, words: str) -> Any:
        """ccxt okx.handle_errors: what is wrong with an order stands in its row, what is wrong with a request above."""
        if code.startswith("50") or code == "51603":
            return {"code": code, "data": [], "msg": words}
        return {"code": "1", "data": [{"clOrdId": "", "ordId": "", "sCode": code, "sMsg": words, "tag": ""}], "msg": ""}

    def _create(self, asked: dict[str, Any]) -> Any:
        assert len(asked["clOrdId"]) <= 32
        assert asked["clOrdId"].isalnum()
        if self.by(client=asked["clOrdId"]):
            return self.refusal("51016", "Duplicated client order ID")
        kind = asked["ordType"]
        order = self.take(
            Order(
                self.new_id(), asked["clOrdId"], asked["side"], D(asked["sz"]), kind="market" if kind == "market" else "limit",
                price=asked.get("px", ""), reduce_only=asked["reduceOnly"], tif=kind,
            )
        )  # fmt: skip
        return _ok([{"clOrdId": order.client, "ordId": order.venue_id, "tag": "", "sCode": "0", "sMsg": ""}])

    def _create_algo(self, asked: dict[str, Any]) -> Any:
        assert (asked["ordType"], asked["slOrdPx"], asked["slTriggerPxType"]) == ("conditional", "-1", "mark")
        order = self.take(
            Order(
                self.new_id(), asked["algoClOrdId"], asked["side"], D(asked["sz"]), kind="stop", status="waiting",
                trigger=asked["slTriggerPx"], reduce_only=asked["reduceOnly"],
            )
        )  # fmt: skip
        return _ok([{"algoId": order.venue_id, "algoClOrdId": order.client, "sCode": "0", "sMsg": "", "tag": ""}])

    def trigger(self, order: Order) -> None:
        """A stop turns into an order with an id of its own, which names the stop."""
        born = Order(
            self.new_id(), "", order.side, order.size, came_from=order.venue_id, reduce_only=True, tif="market"
        )
        order.status, order.became = "effective", born.venue_id
        self.orders[born.venue_id] = born
        for share in self.parts:
            self.fill(born, born.size * share, D(order.trigger))

    def _cancel(self, asked: dict[str, Any]) -> Any:
        order = self.by(asked.get("clOrdId", ""), asked.get("ordId", ""))
        if order is None or order.status != "open":
            ended = order.status if order else ""
            code = {"filled": "51402", "canceled": "51401"}.get(ended, "51400")
            return self.refusal(code, "Cancellation failed as the order has been filled, canceled or does not exist")
        order.status = "canceled"
        return _ok([{"clOrdId": order.client, "ordId": order.venue_id, "sCode": "0", "sMsg": ""}])

    def _cancel_algo(self, asked: dict[str, Any]) -> Any:
        order = self.by(asked.get("algoClOrdId", ""), asked.get("algoId", ""))
        if order is None or order.status != "waiting":
            return self.refusal("51400", "Cancellation failed as the order does not exist")
        order.status = "canceled"
        return _ok([{"algoId": order.venue_id, "sCode": "0", "sMsg": ""}])

    def _detail(self, asked: dict[str, Any]) -> Any:
        order = self.by(asked.get("clOrdId", ""), asked.get("ordId", ""))
        if order is None or order.trigger:
            return self.refusal("51603", "Order does not exist")
        return _ok([self.order_row(order)])

    def _algo(self, asked: dict[str, Any]) -> Any:
        order = self.by(asked.get("algoClOrdId", ""), asked.get("algoId", ""))
        if order is None or not order.trigger:
            return self.refusal("51603", "Order does not exist")
        return _ok([self.algo_row(order)])

    def _resting(self, asked: dict[str, Any], *, waiting: bool) -> Any:
        if waiting and asked["ordType"] != "conditional,oco":
            return _ok([])
        status = "waiting" if waiting else "open"
        rows = [self.algo_row(o) if waiting else self.order_row(o) for o in self.orders.values() if o.status == status]
        return _ok(_after(rows, asked, "algoId" if waiting else "ordId", 100))

    def order_row(self, order: Order) -> dict[str, Any]:
        """ccxt okx.parse_order, fetchClosedOrders."""
        stop = self.orders.get(order.came_from)
        state = {"open": "partially_filled" if order.filled else "live"}.get(order.status, order.status)
        category = {"liquidation": "full_liquidation", "adl": "adl"}.get(order.made_by, "normal")
        return {
            "accFillSz": str(order.filled), "algoClOrdId": stop.client if stop else "",
            "algoId": stop.venue_id if stop else "",
            "avgPx": "", "cancelSource": "", "cancelSourceReason": "", "category": category, "clOrdId": order.client,
            "cTime": str(order.at), "feeCcy": "USDT", "instId": self.symbol, "instType": "SWAP",
            "ordId": order.venue_id,
            "ordType": order.tif or order.kind, "posSide": "net", "px": order.price,
            "reduceOnly": str(order.reduce_only).lower(), "side": order.side, "state": state, "sz": str(order.size),
            "tdMode": "cross", "uTime": str(order.at),
        }  # fmt: skip

    def algo_row(self, order: Order) -> dict[str, Any]:
        """ccxt okx.parse_order, algo orders; docs-v5, Algo order details (algoClOrdId, ordIdList, failCode)."""
        state = {"waiting": "live"}.get(order.status, order.status)
        return {
            "algoId": order.venue_id, "algoClOrdId": order.client, "actualSz": "0", "cTime": str(order.at),
            "failCode": "",
            "instId": self.symbol, "instType": "SWAP", "ordId": order.became or "0", "ordIdList": [],
            "ordType": "conditional",
            "posSide": "net", "reduceOnly": str(order.reduce_only).lower(), "side": order.side, "slOrdPx": "-1",
            "slTriggerPx": order.trigger, "slTriggerPxType": "mark", "state": state, "sz": str(order.size),
            "tdMode": "cross",
            "tpTriggerPx": "", "triggerPx": "", "uTime": str(order.at),
        }  # fmt: skip

    def _fills(self, asked: dict[str, Any]) -> Any:
        rows = [self.fill_row(trade) for trade in reversed(self.trades) if trade.at >= int(asked["begin"])]
        return _ok(_after(rows, asked, "billId", self.a_page))

    def fill_row(self, trade: Trade) -> dict[str, Any]:
        """ccxt okx.parse_trade; docs-v5, Transaction details (fillPnl); a fee that was paid is negative."""
        return {
            "side": trade.order.side, "fillSz": str(trade.size), "fillPx": str(trade.price), "fillPnl": str(trade.pnl),
            "fee": str(-trade.fee), "ordId": trade.order.venue_id, "instType": "SWAP", "instId": self.symbol,
            "clOrdId": trade.order.client, "posSide": "net", "billId": str(trade.number), "tag": "", "execType": "T",
            "tradeId": str(trade.number % 1000), "feeCcy": "USDT", "ts": str(trade.at),
        }  # fmt: skip

    def _bill(self, amount: Decimal, kind: str, contract: bool = True) -> dict[str, Any]:
        """ccxt okx.parse_ledger_entry."""
        return {
            "bal": str(self.wallet), "balChg": str(amount), "billId": self.new_id(), "ccy": "USDT", "fee": "0",
            "from": "",
            "instId": self.symbol if contract else "", "instType": "SWAP" if contract else "", "mgnMode": "cross",
            "notes": "",
            "ordId": "", "pnl": "0", "subType": kind, "ts": str(now_ms()), "type": kind,
        }  # fmt: skip

    def _bills(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        return [row for row in reversed(self.entries) if int(row["ts"]) >= int(asked["begin"])]

    def entry_of_trade(self, trade: Trade) -> dict[str, Any]:
        return self._bill(trade.pnl - trade.fee, "2")

    def settle(self, amount: Decimal) -> None:
        """A settlement of funding."""
        self.wallet += amount
        self.entries.append(self._bill(amount, "8"))

    def deposit(self, amount: Decimal) -> None:
        self.wallet += amount
        self.entries.append(self._bill(amount, "1", contract=False))

    def _position(self) -> dict[str, Any]:
        """ccxt okx.parse_position."""
        return {
            "avgPx": str(self.entry) if self.held else "", "instId": self.symbol, "instType": "SWAP", "lever": "10",
            "liqPx": "", "markPx": str(self.price), "mgnMode": "cross", "pos": str(self.held), "posSide": "net",
            "uTime": str(now_ms()),
        }  # fmt: skip

    def on_stream(self, message: Any) -> Any:
        """docs-v5, WebSocket: login, subscribe."""
        if message["op"] == "login":
            return {"event": "login", "code": "0", "msg": "", "connId": "c-1"}
        self.subscribed = True
        return {"event": "subscribe", "arg": message["args"][0], "connId": "c-1"}

    def order_event(self, order: Order) -> dict[str, Any]:
        """docs-v5, Order channel."""
        return {"arg": {"channel": "orders", "instType": "ANY"}, "data": [self.order_row(order)]}


def _ok(rows: list[Any]) -> dict[str, Any]:
    return {"code": "0", "msg": "", "data": rows}


def _after(rows: list[dict[str, Any]], asked: dict[str, Any], by: str, most: int) -> list[dict[str, Any]]:
    """docs: rows older than the one whose id is ``after``."""
    limit = min(most, int(asked.get("limit", 100)))
    places = [str(row[by]) for row in rows]
    begin = places.index(asked["after"]) + 1 if "after" in asked else 0
    return rows[begin : begin + limit]
