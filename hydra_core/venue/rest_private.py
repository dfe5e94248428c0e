"""Signed REST endpoints: orders, account, listen keys; conditional orders are in ``rest_algo.py``."""

from __future__ import annotations

from typing import Any, Final

import orjson

from hydra_core.domain.pairs import Pair
from hydra_core.venue import account_formats as spell
from hydra_core.venue import refusals
from hydra_core.venue.account import ZERO, liquidation_price
from hydra_core.venue.admission import flag, read_amendment, read_order, required, whole
from hydra_core.venue.countdowns import Countdowns
from hydra_core.venue.engine import Engine
from hydra_core.venue.feed import Feed
from hydra_core.venue.listen_keys import ListenKeys
from hydra_core.venue.margin import PairMargin, margin_state
from hydra_core.venue.orders import Order
from hydra_core.venue.paging import few_or_many, listed_pair, window
from hydra_core.venue.routes import Access, Answer, Params, Route

MAX_BATCH: Final = 10
_NO_CLAIM: Final = PairMargin(ZERO, ZERO, ZERO, ZERO, ZERO)


class PrivateApi:
    """Answers from the account.

    Parameters
    ----------
    feed : Feed
    engine : Engine
        Brought up to now by the caller before each request.
    keys : ListenKeys
    countdowns : Countdowns
    """

    def __init__(self, feed: Feed, engine: Engine, keys: ListenKeys, countdowns: Countdowns) -> None:
        self._countdowns = countdowns
        self._feed = feed
        self._engine = engine
        self._book = engine.book
        self._keys = keys

    def routes(self) -> dict[tuple[str, str], Route]:
        """Every private endpoint by method and path."""
        signed, key = Access.SIGNED, Access.KEY
        return {
            ("GET", "/fapi/v3/account"): Route(self.account, 5, signed),
            ("GET", "/fapi/v2/account"): Route(self.account, 5, signed),
            ("GET", "/fapi/v3/balance"): Route(self.balance, 5, signed),
            ("GET", "/fapi/v2/balance"): Route(self.balance, 5, signed),
            ("GET", "/fapi/v3/positionRisk"): Route(self.positions, 5, signed),
            ("GET", "/fapi/v2/positionRisk"): Route(self.positions_v2, 5, signed),
            ("GET", "/fapi/v1/leverageBracket"): Route(self.leverage_brackets, 1, signed),
            ("GET", "/fapi/v1/symbolConfig"): Route(self.symbol_config, 5, signed),
            ("GET", "/fapi/v1/accountConfig"): Route(self.account_config, 5, signed),
            ("GET", "/fapi/v1/commissionRate"): Route(self.commission_rate, 20, signed),
            ("POST", "/fapi/v1/leverage"): Route(self.set_leverage, 1, signed),
            ("POST", "/fapi/v1/marginType"): Route(self.set_margin_type, 1, signed),
            ("GET", "/fapi/v1/positionSide/dual"): Route(
                lambda _: {"dualSidePosition": self._engine.hedged}, 30, signed
            ),
            ("POST", "/fapi/v1/positionSide/dual"): Route(self.set_position_mode, 1, signed),
            ("GET", "/fapi/v1/multiAssetsMargin"): Route(lambda _: {"multiAssetsMargin": False}, 30, signed),
            ("POST", "/fapi/v1/order"): Route(self.place, 1, signed, order=True),
            ("POST", "/fapi/v1/order/test"): Route(self.test_order, 1, signed),
            ("PUT", "/fapi/v1/order"): Route(self.amend, 1, signed, order=True),
            ("GET", "/fapi/v1/order"): Route(self.order, 1, signed),
            ("DELETE", "/fapi/v1/order"): Route(self.cancel, 1, signed),
            ("GET", "/fapi/v1/openOrder"): Route(self.open_order, 1, signed),
            ("GET", "/fapi/v1/openOrders"): Route(self.open_orders, few_or_many, signed),
            ("GET", "/fapi/v1/allOrders"): Route(self.all_orders, 5, signed),
            ("DELETE", "/fapi/v1/allOpenOrders"): Route(self.cancel_all, 1, signed),
            ("POST", "/fapi/v1/countdownCancelAll"): Route(self.countdown, 10, signed),
            ("POST", "/fapi/v1/batchOrders"): Route(self.place_batch, 5, signed, order=True),
            ("DELETE", "/fapi/v1/batchOrders"): Route(self.cancel_batch, 1, signed),
            ("GET", "/fapi/v1/userTrades"): Route(self.trades, 5, signed),
            ("GET", "/fapi/v1/income"): Route(self.income, 30, signed),
            ("GET", "/fapi/v1/forceOrders"): Route(self.force_orders, few_or_many, signed),
            ("POST", "/fapi/v1/listenKey"): Route(lambda _: {"listenKey": self._keys.create()}, 1, key),
            ("PUT", "/fapi/v1/listenKey"): Route(lambda _: {"listenKey": self._keys.keep_alive()}, 1, key),
            ("DELETE", "/fapi/v1/listenKey"): Route(self.end_listen_key, 1, key),
        }

    # -- account -----------------------------------------------------------------------------------------------------

    def account(self, params: Params) -> Answer:
        """Balances and margins."""
        rows = [spell.without_v2_fields(row) for row in self._position_rows(()) if row["positionAmt"] != "0"]
        return spell.account_body(self._engine.margin(), rows, self._engine.now_ms)

    def balance(self, params: Params) -> Answer:
        """The USDT balance."""
        return [spell.balance_row(self._engine.margin(), self._engine.now_ms)]

    def positions(self, params: Params) -> Answer:
        """Positions and pairs with resting orders."""
        rows = self._position_rows((self._pair(params),) if params.get("symbol") else ())
        return [
            spell.without_v2_fields(row)
            for row in rows
            if row["positionAmt"] != "0" or row["openOrderInitialMargin"] != spell.usdt(ZERO)
        ]

    def positions_v2(self, params: Params) -> Answer:
        """Every pair's position, flat ones included."""
        return self._position_rows((self._pair(params),) if params.get("symbol") else ())

    def _position_rows(self, pairs: tuple[Pair, ...]) -> list[dict[str, Any]]:
        account, feed, now = self._engine.account, self._feed, self._engine.now_ms
        marks = feed.marks(now, feed.market.pairs)
        state = margin_state(account, self._book.open_orders(), marks, feed.rules, feed.tables)
        return [
            spell.position_row(
                pair,
                account.position(pair),
                marks[pair],
                liquidation_price(account, pair, marks, feed.tables),
                state.pairs.get(pair, _NO_CLAIM),
                feed.tables[pair],
                account.leverage_of(pair, feed.rules[pair]),
            )
            for pair in pairs or feed.pairs
        ]

    def leverage_brackets(self, params: Params) -> Answer:
        """Leverage tables."""
        pairs = (self._pair(params),) if params.get("symbol") else self._feed.pairs
        return [spell.bracket_rows(pair, self._feed.tables[pair]) for pair in pairs]

    def symbol_config(self, params: Params) -> Answer:
        """Leverage and margin type by pair."""
        pairs = (self._pair(params),) if params.get("symbol") else self._feed.pairs
        account = self._engine.account
        return [
            {
                "symbol": pair,
                "marginType": "CROSSED",
                "isAutoAddMargin": False,
                "leverage": account.leverage_of(pair, self._feed.rules[pair]),
                "maxNotionalValue": spell.plain(self._feed.tables[pair][-1].cap),
            }
            for pair in pairs
        ]

    def account_config(self, params: Params) -> Answer:
        """What the account may do."""
        return {
            "feeTier": 0,
            "canTrade": True,
            "canDeposit": False,
            "canWithdraw": False,
            "dualSidePosition": self._engine.hedged,
            "updateTime": 0,
            "multiAssetsMargin": False,
            "tradeGroupId": -1,
        }

    def commission_rate(self, params: Params) -> Answer:
        """Fees of a pair."""
        rules = self._feed.rules[self._pair(params)]
        return {
            "symbol": rules.pair,
            "makerCommissionRate": str(rules.maker_fee),
            "takerCommissionRate": str(rules.taker_fee),
        }

    def set_leverage(self, params: Params) -> Answer:
        """Set a pair's leverage."""
        pair = self._pair(params)
        required(params, "leverage")
        leverage = whole(params, "leverage") or 0
        cap = self._engine.set_leverage(pair, leverage)
        return {"symbol": pair, "leverage": leverage, "maxNotionalValue": spell.plain(cap)}

    def set_margin_type(self, params: Params) -> Answer:
        """Cross margin is what the account has; isolated is refused."""
        self._pair(params)
        wanted = required(params, "marginType")
        if wanted not in {"CROSSED", "ISOLATED"}:
            raise refusals.illegal_parameter("marginType")
        raise refusals.same_margin_mode() if wanted == "CROSSED" else refusals.cross_only()

    def set_position_mode(self, params: Params) -> Answer:
        """Back to one-way mode; hedge mode is refused, for this venue nets each pair into one position."""
        required(params, "dualSidePosition")
        wanted = flag(params, "dualSidePosition")
        if wanted == self._engine.hedged:
            raise refusals.same_position_mode()
        if wanted:
            raise refusals.only_one_way()
        if self._engine.account.open_pairs():
            raise refusals.has_position()
        self._engine.hedged = False
        return {"code": 200, "msg": "success"}

    def end_listen_key(self, params: Params) -> Answer:
        """Close the user stream's key."""
        self._keys.expire()
        return {}

    # -- orders --------------------------------------------------------------------------------------------------------

    def place(self, params: Params) -> Answer:
        """Take a market or limit order in."""
        return spell.order_row(self._place(params))

    def _place(self, params: Params) -> Order:
        pair = self._pair(params)
        mark = self._feed.mark(pair, self._engine.now_ms)
        band, hedged = self._feed.listings[pair].band, self._engine.hedged
        return self._engine.place(read_order(params, self._feed.rules[pair], mark, band, hedged=hedged))

    def test_order(self, params: Params) -> Answer:
        """Hold an order against the filters without taking it in."""
        pair = self._pair(params)
        read_order(params, self._feed.rules[pair], self._feed.mark(pair, self._engine.now_ms))
        return {}

    def amend(self, params: Params) -> Answer:
        """Give a resting limit order another quantity and price."""
        order = self._find(params)
        required(params, "side")
        if order is None or not order.is_open:
            raise refusals.unknown_order()
        pair = order.pair
        mark = self._feed.mark(pair, self._engine.now_ms)
        quantity, price = read_amendment(params, self._feed.rules[pair], mark, self._feed.listings[pair].band)
        return spell.order_row(self._engine.amend(order, quantity, price))

    def order(self, params: Params) -> Answer:
        """Look an order up."""
        order = self._find(params)
        if order is None:
            raise refusals.unknown_order()
        return spell.order_row(order)

    def open_order(self, params: Params) -> Answer:
        """Look a resting order up."""
        order = self._find(params)
        if order is None or not order.is_open:
            raise refusals.unknown_order()
        return spell.order_row(order)

    def cancel(self, params: Params) -> Answer:
        """Take a resting order out."""
        order = self._find(params)
        if order is None:
            raise refusals.cannot_cancel()
        return spell.order_row(self._engine.cancel(order))

    def open_orders(self, params: Params) -> Answer:
        """Resting orders of one pair, or of all."""
        pair = self._pair(params) if params.get("symbol") else None
        return [spell.order_row(order) for order in self._book.open_orders(pair)]

    def all_orders(self, params: Params) -> Answer:
        """Every order of a pair."""
        pair, from_id = self._pair(params), whole(params, "orderId") or 0
        chosen = [one for one in self._book.orders.values() if one.pair == pair and one.order_id >= from_id]
        return [spell.order_row(order) for order in window(chosen, params, lambda one: one.created_ms, from_id > 0)]

    def cancel_all(self, params: Params) -> Answer:
        """Take every resting order of a pair out."""
        for order in self._book.open_orders(self._pair(params)):
            self._engine.cancel(order)
        return {"code": 200, "msg": "The operation of cancel all open order is done."}

    def countdown(self, params: Params) -> Answer:
        """Cancel what rests in a pair unless this is called again in time."""
        pair = self._pair(params)
        required(params, "countdownTime")
        ms = whole(params, "countdownTime") or 0
        if ms < 0:
            raise refusals.illegal_parameter("countdownTime")
        self._countdowns.set(pair, ms)
        return {"symbol": pair, "countdownTime": str(ms)}

    def place_batch(self, params: Params) -> Answer:
        """Take several orders in, each on its own."""
        out: list[Any] = []
        for one in _json_list(params, "batchOrders"):
            if not isinstance(one, dict):
                raise refusals.illegal_parameter("batchOrders")
            try:
                out.append(spell.order_row(self._place({name: str(value) for name, value in one.items()})))
            except refusals.VenueRefusal as refusal:
                out.append(refusal.body)
        return out

    def cancel_batch(self, params: Params) -> Answer:
        """Take several orders out, each on its own."""
        # The exchange takes these two names in either spelling; ccxt writes them in lower case.
        lists = {name.lower(): text for name, text in params.items()}
        by_id = "orderidlist" in lists
        out: list[Any] = []
        for one in _json_list(lists, "orderidlist" if by_id else "origclientorderidlist"):
            named = {"symbol": params.get("symbol", ""), "orderId" if by_id else "origClientOrderId": str(one)}
            try:
                out.append(self.cancel(named))
            except refusals.VenueRefusal as refusal:
                out.append(refusal.body)
        return out

    # -- history -------------------------------------------------------------------------------------------------------

    def trades(self, params: Params) -> Answer:
        """Fills of a pair."""
        pair, from_id = self._pair(params), whole(params, "fromId") or 0
        chosen = [trade for trade in self._book.trades_of(pair, whole(params, "orderId")) if trade.trade_id >= from_id]
        return [spell.trade_row(trade) for trade in window(chosen, params, lambda one: one.ts, from_id > 0)]

    def income(self, params: Params) -> Answer:
        """Entries of the wallet."""
        kind, pair = params.get("incomeType", ""), self._pair(params) if params.get("symbol") else None
        chosen = [
            entry
            for entry in self._book.income
            if (not kind or entry.kind == kind) and (pair is None or entry.pair == pair)
        ]
        return [spell.income_row(entry) for entry in window(chosen, params, lambda one: one.ts, False)]

    def force_orders(self, params: Params) -> Answer:
        """Liquidations of this account."""
        pair = self._pair(params) if params.get("symbol") else None
        chosen = [
            order
            for order in self._book.orders.values()
            if order.kind == "LIQUIDATION" and (pair is None or order.pair == pair)
        ]
        return [spell.order_row(order) for order in window(chosen, params, lambda one: one.created_ms, False)]

    # -- reading -------------------------------------------------------------------------------------------------------

    def _pair(self, params: Params) -> Pair:
        return listed_pair(self._feed, params)

    def _find(self, params: Params) -> Order | None:
        pair = self._pair(params)
        order_id, client_id = whole(params, "orderId"), params.get("origClientOrderId", "")
        if order_id is None and not client_id:
            raise refusals.missing_parameter("orderId")
        return self._book.find(pair, order_id, client_id)


def _json_list(params: Params, name: str) -> list[Any]:
    try:
        rows = orjson.loads(required(params, name))
    except orjson.JSONDecodeError:
        raise refusals.illegal_parameter(name) from None
    if not isinstance(rows, list) or not 0 < len(rows) <= MAX_BATCH:
        raise refusals.illegal_parameter(name)
    return rows
