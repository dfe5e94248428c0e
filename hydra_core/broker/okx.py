"""OKX's USDT swaps in net mode with cross margin, REST v5.

Field names and states as www.okx.com/docs-v5 and the answers quoted in ccxt's okx have them. Sizes there are contracts, base
units here. A stop is an algo order with ids of its own; the order that it turns into names it.
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
from hydra_core.domain.errors import OutcomeUnknown, Refused
from hydra_core.domain.intervals import DAY_MS, MINUTE_MS
from hydra_core.domain.market import MarginSteps
from hydra_core.domain.pairs import QUOTE, Pair
from hydra_core.domain.trading import Side
from hydra_core.execution.orders import Word
from hydra_core.ledger.records import OrderRecord

T = TypeVar("T")

SWAP: Final = {"instType": "SWAP"}
CROSS: Final = "cross"
CONTRACT_LEVELS: Final = frozenset({"2", "3"})
"""Account modes with contracts and reduce-only orders: futures, multi-currency."""
A_PAGE: Final = 100
SIZES_MS: Final = 10 * MINUTE_MS
"""Wall time after which the sizes of contracts are read anew."""
RECENT_MS: Final = 2 * DAY_MS
"""How far back the quicker lists reach for certain (fills three days, bills seven)."""
AT_MARKET: Final = "-1"
"""Order price of a stop that turns into a market order."""
_SIDE: Final = {Side.LONG: "buy", Side.SHORT: "sell"}

STATUS: Final[Mapping[str, Word]] = {
    "live": Word.WORKING,
    "partially_filled": Word.PART_FILLED,
    "filled": Word.FILLED,
    "canceled": Word.CANCELED,
    "mmp_canceled": Word.CANCELED,
}
ALGO_STATUS: Final[Mapping[str, Word]] = {
    "live": Word.WORKING,
    "pause": Word.WORKING,
    "partially_effective": Word.WORKING,
    "effective": Word.WORKING,  # what became of it is told by the order that it turned into
    "canceled": Word.CANCELED,
    "order_failed": Word.REFUSED,
    "partially_failed": Word.REFUSED,
}
AT_ONCE: Final = frozenset({"market", "ioc", "fok", "optimal_limit_ioc"})
"""Kinds of which the exchange cancels what does not fill at once: it expires."""
MAKERS: Final[Mapping[str, str]] = {
    "full_liquidation": LIQUIDATED,
    "partial_liquidation": LIQUIDATED,
    "adl": DELEVERAGED,
    "delivery": DELIVERED,
}
"""An order's category where the exchange itself placed it."""
FUNDING_BILL: Final = "8"
TRADE_BILLS: Final = frozenset({"2", "3", "5", "9"})
"""Trade, delivery, liquidation, auto-deleveraging: the trades of a contract tell of them already."""
BILLS: Final[Mapping[str, str]] = {"1": "TRANSFER", "4": "CONVERSION", "7": "INTEREST", "10": "CLAWBACK"}


class OkxGateway(ReceiptGateway):
    """One account at OKX."""

    weight_limit = 545
    time_method = "publicGetPublicTime"
    no_countdown = "has a countdown for the whole account only, and does not say whether it spares algo orders"
    code_pattern = re.compile(r'"code"\s*:\s*"?(\d+)')
    causes: ClassVar[Mapping[str, Cause]] = {
        **dict.fromkeys(("50102", "50112"), Cause.CLOCK),
        **dict.fromkeys(("51011", "51016", "51065"), Cause.DUPLICATE),
        **dict.fromkeys(("51603", "51400", "51401", "51402", "51503"), Cause.NO_SUCH_ORDER),
        **dict.fromkeys(("51001", "51002", "51012", "51015"), Cause.NO_SUCH_PAIR),
        "51121": Cause.OFF_GRID,
        **dict.fromkeys(
            ("51007", "51020", "51021", "51022", "51027", "51028", "51029", "51030", "51100", "51118", "51120"),
            Cause.FILTER,
        ),
        "51004": Cause.BRACKET,
        **dict.fromkeys(("51008", "51119", "51127", "51131"), Cause.NO_MARGIN),
        **dict.fromkeys(("51023", "51112", "51134", "51169", "51170", "51205"), Cause.NOTHING_TO_REDUCE),
        **dict.fromkeys(("51006", "51116", "51135", "51136", "51137", "51138"), Cause.OUTSIDE_BAND),
        **dict.fromkeys(("51277", "51278", "51279", "51280"), Cause.WOULD_TRIGGER),
        **dict.fromkeys(("50012", "50017", "50019", "50020", "50022", "50023", "50061", "51025"), Cause.OTHER),
    }
    _detail: ClassVar[re.Pattern[str]] = re.compile(r'"sCode"\s*:\s*"?([1-9]\d*)')

    _contracts: dict[Pair, tuple[Decimal, Decimal]] | None = None
    """Base units of one contract, and the step of their number, by pair as they were last read."""
    _contracts_wall = 0

    def _code(self, error: BaseException) -> str:
        """The code of the order itself, else of the whole request."""
        match = self._detail.search(str(error.__cause__ or error))
        return match.group(1) if match else super()._code(error)

    # -- orders --------------------------------------------------------------------------------------------------------

    async def place(self, order: OrderRecord) -> OrderFact:
        """Send an order, and look at what became of it."""
        await self._sizes()
        return await super().place(order)

    async def place_stop(self, order: OrderRecord) -> OrderFact:
        """Send a protective stop, and see that it rests."""
        await self._sizes()
        return await super().place_stop(order)

    def _placing(self, order: OrderRecord) -> Call:
        params: dict[str, Any] = {**self._basics(order), "clOrdId": self._wire_id(order.order_id), "ordType": "market"}
        if order.kind == "limit" and order.limit_price is not None:
            params |= {"px": f"{order.limit_price:f}", "ordType": "ioc" if order.time_in_force == "IOC" else "limit"}
        return Call("privatePostTradeOrder", params | {"reduceOnly": order.reduce_only})

    def _placing_stop(self, order: OrderRecord) -> Call:
        trigger = {
            "algoClOrdId": self._wire_id(order.order_id),
            "ordType": "conditional",
            "slTriggerPx": f"{order.stop_price:f}",
            "slTriggerPxType": "mark",
            "slOrdPx": AT_MARKET,
            "reduceOnly": True,
        }
        return Call("privatePostTradeOrderAlgo", self._basics(order) | trigger)

    def _basics(self, order: OrderRecord) -> dict[str, Any]:
        size, step = (self._contracts or {}).get(order.pair, (None, None))
        if size is None or step is None:
            raise Refused(f"{self.endpoint} lists no {order.pair}")
        contracts = order.quantity / size
        if contracts % step or contracts * size != order.quantity:
            raise Refused(f"{order.quantity:f} {order.pair} is no exact number of contracts of {size:f}")
        return {
            "instId": self.adapter.native(order.pair),
            "tdMode": CROSS,
            "side": _SIDE[order.side],
            "sz": f"{contracts.normalize():f}",
        }

    def _cancelling(self, pair: Pair, name: str, *, algo: bool) -> Call:
        named = {"instId": self.adapter.native(pair)}
        if algo:
            return Call("privatePostTradeCancelAlgos", [named | self._ids(name, "algoClOrdId", "algoId")])
        return Call("privatePostTradeCancelOrder", named | self._ids(name, "clOrdId", "ordId"))

    def _receipt(self, answer: Any) -> str:
        row = answer["data"][0]
        if str(row["sCode"]) != "0":
            raise OutcomeUnknown(f"answer says {row['sCode']} {row.get('sMsg', '')}")
        return words_of(row, "algoId", "ordId")

    async def _find(self, pair: Pair, name: str, *, algo: bool) -> OrderFact | None:
        await self._sizes()
        if algo:
            asked = self._ids(name, "algoClOrdId", "algoId")
            return await self._maybe("privateGetTradeOrderAlgo", asked, lambda answer: self._algo(_data(answer)[0]))
        asked = {"instId": self.adapter.native(pair)} | self._ids(name, "clOrdId", "ordId")
        return await self._maybe("privateGetTradeOrder", asked, lambda answer: self._order_fact(_data(answer)[0]))

    async def open_orders(self) -> list[OrderFact]:
        """Every resting order of the account."""
        await self._sizes()
        pages = self._pages("privateGetTradeOrdersPending", SWAP, "ordId", self._order_fact)
        return [fact async for fact in pages]

    async def open_stops(self) -> list[OrderFact]:
        """Every waiting conditional order of the account, but stops of a whole position set by hand: they have no size."""
        await self._sizes()
        found = []
        for kinds in ("conditional,oco", "trigger"):
            asked = {**SWAP, "ordType": kinds}
            found += [
                fact async for fact in self._pages("privateGetTradeOrdersAlgoPending", asked, "algoId", self._algo)
            ]
        return [fact for fact in found if fact.quantity]

    def _order_fact(self, row: Row) -> OrderFact:
        venue_id, kind = facts.named(row["ordId"]), str(row["ordType"])
        word = STATUS[row["state"]]
        if word is Word.CANCELED and kind in AT_ONCE:
            word = Word.EXPIRED
        limit = kind not in {"market", "optimal_limit_ioc"}
        ours = self.adapter.order_ids.own(words_of(row, "clOrdId"))
        return OrderFact(
            client_id=ours
            or self._name(row.get("algoClOrdId"), venue_id, MAKERS.get(str(row.get("category")), FOREIGN)),
            venue_id=venue_id,
            pair=self.adapter.pair(row["instId"]),
            side=side_of(row["side"]),
            kind="limit" if limit else "market",
            word=word,
            quantity=self._base(row, "sz"),
            filled=self._base(row, "accFillSz"),
            reduce_only=str(row.get("reduceOnly")).lower() == "true",
            ts_ms=int(row["uTime"]),
            limit_price=optional(row.get("px")) if limit else None,
            reason=words_of(row, "cancelSourceReason"),
        )

    def _algo(self, row: Row) -> OrderFact:
        venue_id = facts.named(row["algoId"])
        became = words_of(row, "ordId") or next(iter(row.get("ordIdList") or ()), "")
        return OrderFact(
            client_id=self._name(row.get("algoClOrdId"), venue_id),
            venue_id=venue_id,
            pair=self.adapter.pair(row["instId"]),
            side=side_of(row["side"]),
            kind="stop",
            word=ALGO_STATUS[row["state"]],
            quantity=self._base(row, "sz"),
            filled=Decimal(0),
            reduce_only=str(row.get("reduceOnly")).lower() == "true",
            ts_ms=int(words_of(row, "uTime", "cTime")),
            stop_price=optional(words_of(row, "slTriggerPx", "triggerPx", "tpTriggerPx")),
            algo=True,
            actual_id="" if became == "0" else str(became),
            reason=words_of(row, "failCode"),
        )

    def _base(self, row: Row, field: str) -> Decimal:
        """A number of contracts in base units; 0 for an empty one."""
        return Decimal(row[field] or 0) * self._size(self.adapter.pair(row["instId"]))

    def _size(self, pair: Pair) -> Decimal:
        """Base units of one contract; raises ValueError for a pair that is not listed."""
        if self._contracts is None or pair not in self._contracts:
            self._contracts = None  # read anew at the next request
            raise ValueError(f"the size of a contract of {pair} is not known")
        return self._contracts[pair][0]

    async def _sizes(self) -> None:
        """Know the sizes of contracts."""
        now = self._clock.wall_ms()
        if self._contracts is None or now - self._contracts_wall > SIZES_MS:
            self._contracts = await self._read(
                "publicGetPublicInstruments",
                SWAP,
                lambda answer: {
                    self.adapter.pair(row["instId"]): (
                        Decimal(row["ctVal"]) * Decimal(row.get("ctMult") or 1),
                        Decimal(row["lotSz"]),
                    )
                    for row in _data(answer)
                    if row["settleCcy"] == QUOTE
                },
            )
            self._contracts_wall = now

    # -- account -------------------------------------------------------------------------------------------------------

    async def _fills(self, pair: Pair, start_ms: int, now_ms: int) -> AsyncIterator[FillFact]:
        await self._sizes()
        recent = start_ms > now_ms - RECENT_MS
        asked = {**SWAP, "instId": self.adapter.native(pair), "begin": str(start_ms)}
        method = "privateGetTradeFills" if recent else "privateGetTradeFillsHistory"
        async for fill in self._pages(method, asked, "billId", self._fill):
            yield fill

    def _fill(self, row: Row) -> FillFact:
        fee = optional(row.get("fee"))
        return FillFact(
            pair=self.adapter.pair(row["instId"]),
            trade_id=facts.named(row["billId"]),  # of the account and unique; the trade's own number is the contract's
            venue_id=facts.named(row["ordId"]),
            side=side_of(row["side"]),
            quantity=Decimal(row["fillSz"]) * self._size(self.adapter.pair(row["instId"])),
            price=Decimal(row["fillPx"]),
            fee=None if fee is None else -fee,
            fee_asset=str(row.get("feeCcy") or ""),
            realised=optional(row.get("fillPnl")),
            maker=row.get("execType") == "M",
            ts_ms=int(row["ts"]),
            order=int(row["billId"]),
        )

    async def _positions(self) -> list[PositionFact]:
        await self._sizes()

        def read(answer: Any) -> list[PositionFact]:
            return [self._position(row) for row in _ours(_data(answer))]

        return await self._read("privateGetAccountPositions", SWAP, read)

    def _position(self, row: Row) -> PositionFact:
        quantity = Decimal(row["pos"] or 0)
        if quantity and (row["posSide"], row["mgnMode"]) != ("net", CROSS):
            raise ValueError(
                f"position of {row['instId']} is {row['posSide']} and {row['mgnMode']}: not of net mode, cross"
            )
        return PositionFact(
            pair=self.adapter.pair(row["instId"]),
            quantity=self._base(row, "pos") if quantity else quantity,
            entry=Decimal(row["avgPx"] or 0),
            liquidation=Decimal(row.get("liqPx") or 0),
            updated_ms=int(row.get("uTime") or 0),
        )

    async def wallet(self) -> Decimal:
        """USDT in the wallet, what is not realised yet left out."""

        def read(answer: Any) -> Decimal:
            rows = [row for account in _data(answer) for row in account["details"] if row["ccy"] == QUOTE]
            return Decimal(rows[0]["cashBal"]) if rows else Decimal(0)

        return await self._read("privateGetAccountBalance", {"ccy": QUOTE}, read)

    async def income(self, since_ms: int) -> list[IncomeFact]:
        """Entries of the wallet from shortly before a time on, oldest first."""
        start = since_ms - OVERLAP_MS
        recent = start > self.drift.now_ms() - RECENT_MS
        method = "privateGetAccountBills" if recent else "privateGetAccountBillsArchive"
        asked = {"ccy": QUOTE, "begin": str(start)}
        found = [entry async for entry in self._pages(method, asked, "billId", self._entry)]
        return sorted(found, key=lambda entry: (entry.ts_ms, entry.entry_id))

    def _entry(self, row: Row) -> IncomeFact:
        kind, contract = str(row["type"]), row.get("instType") == "SWAP"
        word = BILLS.get(kind, f"BILL-{kind}")
        if contract and kind in TRADE_BILLS:
            word = REALIZED_PNL
        elif contract and kind == FUNDING_BILL:
            word = FUNDING_FEE
        return IncomeFact(
            entry_id=f"bill-{row['billId']}",
            pair=self.adapter.pair(row["instId"]) if contract else None,
            kind=word,
            amount=Decimal(row["balChg"]),
            ts_ms=int(row["ts"]),
            note=words_of(row, "notes", "subType"),
        )

    async def unfit(self, pairs: Iterable[Pair]) -> str:
        """Long and short side by side, or an account without contracts or without reduce-only orders (portfolio margin)."""
        mode, level = await self._read(
            "privateGetAccountConfig",
            {},
            lambda answer: (str(_data(answer)[0]["posMode"]), str(_data(answer)[0]["acctLv"])),
        )
        if mode != "net_mode":
            return "the account is in hedge mode (long/short)"
        return (
            ""
            if level in CONTRACT_LEVELS
            else f"the account's mode ({level}) has no contracts, or no reduce-only orders"
        )

    async def margin_steps(self, pairs: Iterable[Pair]) -> dict[Pair, MarginSteps]:
        """None: a tier's rate holds for the whole position here, and begins at a number of contracts, not at a notional."""
        return {}

    async def notional_caps(self, pairs: Iterable[Pair]) -> dict[Pair, Decimal]:
        """Largest notional (USDT) that each pair's leverage allows, by its position tiers and its mark now."""
        await self._sizes()
        caps: dict[Pair, Decimal] = {}
        for pair in pairs:
            native = self.adapter.native(pair)
            set_to = await self._first(
                "privateGetAccountLeverageInfo", {"instId": native, "mgnMode": CROSS}, lambda row: Decimal(row["lever"])
            )
            mark = await self._first(
                "publicGetPublicMarkPrice", {**SWAP, "instId": native}, lambda row: Decimal(row["markPx"])
            )
            steps = await self._read(
                "publicGetPublicPositionTiers",
                {**SWAP, "tdMode": CROSS, "instFamily": native.removesuffix("-SWAP")},
                lambda answer: [(Decimal(row["maxLever"]), Decimal(row["maxSz"])) for row in _data(answer)],
            )
            if pair in (self._contracts or {}):
                caps[pair] = largest(steps, set_to) * self._size(pair) * mark
        return caps

    # -- requests ------------------------------------------------------------------------------------------------------

    def _time(self, answer: Any) -> int:
        return int(_data(answer)[0]["ts"])

    async def _first(self, method: str, params: Mapping[str, Any], parse: Callable[[Row], T]) -> T:
        return await self._read(method, params, lambda answer: parse(_data(answer)[0]))

    async def _pages(
        self, method: str, params: Mapping[str, Any], by: str, parse: Callable[[Row], T]
    ) -> AsyncIterator[T]:
        """Rows of every page of a list, newest first; a page that cannot be read raises, nothing is cut short."""

        def read(answer: Any) -> tuple[list[T], list[str]]:
            rows = _data(answer)
            return [parse(row) for row in _ours(rows)], [str(row[by]) for row in rows]

        after: dict[str, str] = {}
        while True:
            found, places = await self._read(method, {**params, "limit": str(A_PAGE), **after}, read)
            for one in found:
                yield one
            if len(places) < A_PAGE:
                return
            after = {"after": places[-1]}


def _ours(rows: Iterable[Row]) -> list[Row]:
    """Rows without those of contracts that another coin settles."""
    return [row for row in rows if row.get("instType") != "SWAP" or row["instId"].endswith(f"-{QUOTE}-SWAP")]


def _data(answer: Any) -> list[Row]:
    rows = answer["data"]
    if not isinstance(rows, list):
        raise ValueError(f"a list was expected, got {type(rows).__name__}")
    return rows
