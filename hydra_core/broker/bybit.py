"""Bybit's linear perpetuals of a unified trading account, REST v5.

Field names and states as bybit-exchange.github.io/docs/v5 and the answers quoted in ccxt's bybit have them. A conditional order
keeps its client id when it is triggered. Sizes are in base units.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, ClassVar, Final, TypeVar

from hydra_core.broker import facts
from hydra_core.broker.facts import FUNDING_FEE, REALIZED_PNL, FillFact, IncomeFact, OrderFact, PositionFact, Row
from hydra_core.broker.gateway import Cause
from hydra_core.broker.receipts import (
    DELEVERAGED,
    DELIVERED,
    FOREIGN,
    LIQUIDATED,
    OVERLAP_MS,
    Call,
    ReceiptGateway,
    largest,
    optional,
    side_of,
    words_of,
)
from hydra_core.domain.market import MarginSteps
from hydra_core.domain.pairs import QUOTE, Pair
from hydra_core.domain.trading import Side
from hydra_core.execution.orders import Word
from hydra_core.ledger.records import OrderRecord

T = TypeVar("T")

LINEAR: Final = {"category": "linear"}
SETTLED_IN_USDT: Final = {**LINEAR, "settleCoin": QUOTE}
A_PAGE: Final = {"order": 50, "execution": 100, "position": 200, "log": 50}
"""Rows a page, at most, by list."""
FIRST_UNIFIED: Final = 3
"""Least unifiedMarginStatus of a unified trading account."""
CROSS: Final = "REGULAR_MARGIN"
"""Margin mode of an account whose positions share all of it."""
_SIDE: Final = {Side.LONG: "Buy", Side.SHORT: "Sell"}
RISES, FALLS = 1, 2
"""triggerDirection."""

STATUS: Final[Mapping[str, Word]] = {
    "Created": Word.WORKING,
    "New": Word.WORKING,
    "Active": Word.WORKING,
    "Untriggered": Word.WORKING,
    "Triggered": Word.WORKING,
    "PartiallyFilled": Word.PART_FILLED,
    "PendingCancel": Word.WORKING,
    "Filled": Word.FILLED,
    "PartiallyFilledCanceled": Word.CANCELED,
    "Cancelled": Word.CANCELED,
    "Deactivated": Word.CANCELED,
    "Rejected": Word.REFUSED,
}
PASSED: Final = frozenset({"Triggered", "New", "PartiallyFilled", "Filled", "PartiallyFilledCanceled"})
"""States of a conditional order whose trigger has come."""
NO_STOP: Final = frozenset({"", "UNKNOWN"})
AT_ONCE: Final = frozenset({"IOC", "FOK"})
"""What does not fill at once is cancelled by the exchange: it expires."""
TRADED: Final = frozenset({"TRADE", "LIQUIDATION", "ADL", "DELIVERY"})
"""Types of the transaction log that the trades of a contract tell of already."""


class BybitGateway(ReceiptGateway):
    """One account at Bybit."""

    weight_limit = 3000
    time_method = "publicGetV5MarketTime"
    no_countdown = "has a countdown only for a private stream that breaks off, and for the whole account"
    code_pattern = re.compile(r'"(?:retCode|ret_code)"\s*:\s*"?(\d+)')
    causes: ClassVar[Mapping[str, Cause]] = {
        "10002": Cause.CLOCK,
        **dict.fromkeys(("110072", "110030", "10014"), Cause.DUPLICATE),
        "110001": Cause.NO_SUCH_ORDER,
        "10001": Cause.OFF_GRID,  # a parameter is off: the filters are read anew, and told apart by name below
        **dict.fromkeys(("110094", "110074", "110023", "110042", "110063", "110066"), Cause.FILTER),
        **dict.fromkeys(("110013", "110016", "110031"), Cause.BRACKET),
        **dict.fromkeys(
            ("110004", "110006", "110007", "110012", "110014", "110044", "110045", "110051", "110052", "110053"),
            Cause.NO_MARGIN,
        ),
        **dict.fromkeys(("110017", "110034"), Cause.NOTHING_TO_REDUCE),
        "110003": Cause.OUTSIDE_BAND,
        **dict.fromkeys(("110092", "110093"), Cause.WOULD_TRIGGER),
        "110071": Cause.OTHER,
        "110073": Cause.OTHER,
    }

    def cause(self, error: BaseException) -> Cause:
        """What a refusal says; one code covers every spoilt parameter, an unknown symbol too."""
        found = super().cause(error)
        return Cause.NO_SUCH_PAIR if found is Cause.OFF_GRID and "symbol" in str(error).lower() else found

    # -- orders --------------------------------------------------------------------------------------------------------

    def _placing(self, order: OrderRecord) -> Call:
        params: dict[str, Any] = {**self._basics(order), "orderType": "Limit" if order.kind == "limit" else "Market"}
        if order.kind == "limit" and order.limit_price is not None:
            params |= {"price": f"{order.limit_price:f}", "timeInForce": order.time_in_force or "GTC"}
        return Call("privatePostV5OrderCreate", params | {"reduceOnly": order.reduce_only})

    def _placing_stop(self, order: OrderRecord) -> Call:
        trigger = {
            "orderType": "Market",
            "triggerPrice": f"{order.stop_price:f}",
            "triggerDirection": FALLS if order.side is Side.SHORT else RISES,
            "triggerBy": "MarkPrice",
            "reduceOnly": True,
        }
        return Call("privatePostV5OrderCreate", self._basics(order) | trigger)

    def _basics(self, order: OrderRecord) -> dict[str, Any]:
        return {
            **LINEAR,
            "symbol": self.adapter.native(order.pair),
            "side": _SIDE[order.side],
            "qty": f"{order.quantity:f}",
            "positionIdx": 0,
            "orderLinkId": self._wire_id(order.order_id),
        }

    def _cancelling(self, pair: Pair, name: str, *, algo: bool) -> Call:
        ids = self._ids(name, "orderLinkId", "orderId")
        return Call("privatePostV5OrderCancel", {**LINEAR, "symbol": self.adapter.native(pair), **ids})

    def _receipt(self, answer: Any) -> str:
        return str(answer["result"]["orderId"])

    async def _find(self, pair: Pair, name: str, *, algo: bool) -> OrderFact | None:
        params = {**LINEAR, "symbol": self.adapter.native(pair), **self._ids(name, "orderLinkId", "orderId")}
        for method in (
            "privateGetV5OrderRealtime",
            "privateGetV5OrderHistory",
        ):  # what rests or has just ended, the rest
            rows = await self._read(method, params, lambda answer: [self._order_fact(row) for row in _list(answer)])
            if rows:
                return rows[0]
        return None

    async def open_orders(self) -> list[OrderFact]:
        """Every resting order of the account that waits for no trigger."""
        return [fact for fact in await self._open() if not fact.algo]

    async def open_stops(self) -> list[OrderFact]:
        """Every waiting conditional order of the account, but stops of a whole position set by hand: they have no size."""
        return [fact for fact in await self._open() if fact.algo and fact.quantity]

    async def _open(self) -> list[OrderFact]:
        asked = {**SETTLED_IN_USDT, "openOnly": 0}
        return [fact async for fact in self._pages("privateGetV5OrderRealtime", asked, "order", self._order_fact)]

    def _order_fact(self, row: Row) -> OrderFact:
        status, venue_id = row["orderStatus"], facts.named(row["orderId"])
        stop = row.get("stopOrderType", "") not in NO_STOP
        word = STATUS[status]
        if word is Word.CANCELED and row.get("timeInForce") in AT_ONCE and not stop:
            word = Word.EXPIRED
        filled = Decimal(row["cumExecQty"] or 0)
        made = str(row.get("createType", ""))
        beginning = LIQUIDATED if "Liq" in made else DELEVERAGED if "Adl" in made else FOREIGN
        if "Settle" in made or "Delivery" in made:
            beginning = DELIVERED
        passed = stop and (status in PASSED or bool(filled))
        return OrderFact(
            client_id=self._name(row.get("orderLinkId"), venue_id, beginning),
            venue_id=venue_id,
            pair=self.adapter.pair(row["symbol"]),
            side=side_of(row["side"]),
            kind="stop" if stop else "limit" if row["orderType"] == "Limit" else "market",
            word=word,
            quantity=Decimal(row["qty"]),
            filled=filled,
            reduce_only=row.get("reduceOnly") is True or row.get("closeOnTrigger") is True,
            ts_ms=int(row["updatedTime"]),
            limit_price=(optional(row.get("price")) or None) if row["orderType"] == "Limit" else None,
            stop_price=optional(row.get("triggerPrice")) or None,
            algo=stop,
            actual_id=venue_id if passed else "",
            reason="" if row.get("rejectReason") in (None, "", "EC_NoError") else str(row["rejectReason"]),
        )

    # -- account -------------------------------------------------------------------------------------------------------

    async def _fills(self, pair: Pair, start_ms: int, now_ms: int) -> AsyncIterator[FillFact]:
        for start, end in self._windows(start_ms):
            span = {**LINEAR, "symbol": self.adapter.native(pair), "startTime": start, "endTime": end}
            async for fill in self._pages("privateGetV5ExecutionList", span, "execution", self._fill):
                if fill is not None:
                    yield fill

    def _fill(self, row: Row) -> FillFact | None:
        """A trade; None for a settlement of funding, which stands here too and is an entry of the wallet."""
        if row["execType"] == "Funding":
            return None
        return FillFact(
            pair=self.adapter.pair(row["symbol"]),
            trade_id=facts.named(row["execId"]),
            venue_id=facts.named(row["orderId"]),
            side=side_of(row["side"]),
            quantity=Decimal(row["execQty"]),
            price=Decimal(row["execPrice"]),
            fee=optional(row.get("execFee")),
            fee_asset=str(row.get("feeCurrency") or ""),
            realised=optional(row.get("execPnl")),
            maker=row.get("isMaker") is True,
            ts_ms=int(row["execTime"]),
            order=int(row.get("seq") or 0),
        )

    async def _positions(self) -> list[PositionFact]:
        rows = self._pages("privateGetV5PositionList", SETTLED_IN_USDT, "position", self._position)
        return [row async for row in rows]

    def _position(self, row: Row) -> PositionFact:
        if int(row["positionIdx"]) != 0:
            raise ValueError(f"position of {row['symbol']} is of hedge mode")
        size = Decimal(row["size"] or 0)
        return PositionFact(
            pair=self.adapter.pair(row["symbol"]),
            quantity=size * side_of(row["side"]) if size else Decimal(0),
            entry=Decimal(row["avgPrice"] or 0),
            liquidation=Decimal(row.get("liqPrice") or 0),
            updated_ms=int(row.get("updatedTime") or 0),
        )

    async def wallet(self) -> Decimal:
        """USDT in the wallet, what is not realised yet left out."""

        def read(answer: Any) -> Decimal:
            coins = [coin for account in _list(answer) for coin in account["coin"] if coin["coin"] == QUOTE]
            return Decimal(coins[0]["walletBalance"]) if coins else Decimal(0)

        return await self._read("privateGetV5AccountWalletBalance", {"accountType": "UNIFIED", "coin": QUOTE}, read)

    async def income(self, since_ms: int) -> list[IncomeFact]:
        """Entries of the wallet from shortly before a time on, oldest first."""
        found: dict[str, IncomeFact] = {}
        for start, end in self._windows(since_ms - OVERLAP_MS):
            span = {"accountType": "UNIFIED", "currency": QUOTE, "startTime": start, "endTime": end}
            async for entry in self._pages("privateGetV5AccountTransactionLog", span, "log", self._entry):
                found[entry.entry_id] = entry
        return sorted(found.values(), key=lambda entry: (entry.ts_ms, entry.entry_id))

    def _entry(self, row: Row) -> IncomeFact:
        kind, contract = str(row["type"]), row.get("category") == "linear"
        funding = kind == "SETTLEMENT" and contract
        rate, mark = optional(row.get("feeRate")), optional(row.get("tradePrice"))
        return IncomeFact(
            entry_id=f"{kind}-{words_of(row, 'id', 'tradeId', 'orderId')}-{row['transactionTime']}"[:80],
            pair=self.adapter.pair(row["symbol"]) if row.get("symbol") else None,
            kind=FUNDING_FEE if funding else REALIZED_PNL if contract and kind in TRADED else kind,
            amount=Decimal(row["change"]),
            ts_ms=int(row["transactionTime"]),
            note="" if funding else words_of(row, "orderId"),
            told=(rate, mark) if funding and rate is not None and mark else None,
        )

    async def unfit(self, pairs: Iterable[Pair]) -> str:
        """Classic account, isolated or portfolio margin, or a pair in hedge mode."""
        status, margin = await self._read(
            "privateGetV5AccountInfo",
            {},
            lambda answer: (int(answer["result"]["unifiedMarginStatus"]), str(answer["result"]["marginMode"])),
        )
        if status < FIRST_UNIFIED:
            return "the account is no unified trading account"
        if margin != CROSS:
            return f"the account's margin mode is {margin}"
        for pair in pairs:
            if any(await self._about(pair, "privateGetV5PositionList", lambda row: int(row["positionIdx"]))):
                return f"the account is in hedge mode for {pair}"
        return ""

    async def margin_steps(self, pairs: Iterable[Pair]) -> dict[Pair, MarginSteps]:
        """Maintenance margin tables, as in ``MarketRules.margin_steps``: each risk tier begins where the one before ends."""
        tables: dict[Pair, MarginSteps] = {}
        for pair in pairs:
            tiers = await self._about(
                pair,
                "publicGetV5MarketRiskLimit",
                lambda row: (float(row["riskLimitValue"]), _maintenance(row)),
            )
            if tiers:
                tiers.sort()
                floors = (0.0, *(cap for cap, _ in tiers[:-1]))
                tables[pair] = tuple((floor, rate) for floor, (_, rate) in zip(floors, tiers, strict=True))
        return tables

    async def notional_caps(self, pairs: Iterable[Pair]) -> dict[Pair, Decimal]:
        """Largest notional (USDT) that each pair's leverage allows, by its risk tiers."""
        caps: dict[Pair, Decimal] = {}
        for pair in pairs:
            set_to = await self._about(pair, "privateGetV5PositionList", lambda row: Decimal(row["leverage"] or 1))
            steps = await self._about(
                pair,
                "publicGetV5MarketRiskLimit",
                lambda row: (Decimal(row["maxLeverage"]), Decimal(row["riskLimitValue"])),
            )
            caps[pair] = largest(steps, max(set_to, default=Decimal(1)))
        return caps

    # -- requests ------------------------------------------------------------------------------------------------------

    def _time(self, answer: Any) -> int:
        return int(answer["time"])

    async def _about(self, pair: Pair, method: str, parse: Callable[[Row], T]) -> list[T]:
        """What the rows about one pair say; none where the exchange does not list it."""
        asked = {**LINEAR, "symbol": self.adapter.native(pair)}
        return await self._read(method, asked, lambda answer: [parse(row) for row in _list(answer)])

    async def _pages(
        self, method: str, params: Mapping[str, Any], kind: str, parse: Callable[[Row], T]
    ) -> AsyncIterator[T]:
        """Rows of every page of a list; a page that cannot be read raises, nothing is cut short."""

        def read(answer: Any) -> tuple[list[T], str]:
            return [parse(row) for row in _list(answer)], str(answer["result"].get("nextPageCursor") or "")

        cursor: dict[str, str] = {}
        while True:
            rows, following = await self._read(method, {**params, "limit": A_PAGE[kind], **cursor}, read)
            for row in rows:
                yield row
            if not following or not rows or following == cursor.get("cursor"):
                return
            cursor = {"cursor": following}


def _maintenance(row: Row) -> float:
    """A risk tier's maintenance margin as a fraction: the documented rows state percents, others fractions; what tells them
    apart is that the initial margin is one over the leverage."""
    percents = float(row["initialMargin"]) * float(row["maxLeverage"]) > 10
    return float(row["maintenanceMargin"]) / (100 if percents else 1)


def _list(answer: Any) -> list[Row]:
    rows = answer["result"]["list"]
    if not isinstance(rows, list):
        raise ValueError(f"a list was expected, got {type(rows).__name__}")
    return rows
