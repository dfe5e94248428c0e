"""Binance USD-M: one method a request, answers as facts; everything of the account is told by its user stream."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, ClassVar, Final, TypeVar

from hydra_core.broker import facts
from hydra_core.broker.facts import FillFact, IncomeFact, OrderFact, PositionFact
from hydra_core.broker.gateway import Cause
from hydra_core.broker.wire import Wire
from hydra_core.domain.errors import OutcomeUnknown, Unsupported
from hydra_core.domain.market import MarginSteps
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Side
from hydra_core.ledger.records import EXTERNAL, OrderRecord

T = TypeVar("T")

FILLS_A_PAGE: Final = 1000
INCOME_A_PAGE: Final = 1000
_SIDE: Final = {Side.LONG: "BUY", Side.SHORT: "SELL"}


class BinanceGateway(Wire):
    """One account at Binance USD-M, or at the local venue."""

    listen_s = math.inf
    cash_grain = Decimal(0)
    time_method = "fapiPublicGetTime"
    causes: ClassVar[Mapping[str, Cause]] = {
        "-1021": Cause.CLOCK,
        "-4116": Cause.DUPLICATE,
        "-2011": Cause.NO_SUCH_ORDER,
        "-2013": Cause.NO_SUCH_ORDER,
        "-1121": Cause.NO_SUCH_PAIR,
        "-1111": Cause.OFF_GRID,
        "-4014": Cause.OFF_GRID,
        **dict.fromkeys(("-4003", "-4004", "-4005", "-4164", "-4140", "-4141"), Cause.FILTER),
        **dict.fromkeys(("-2027", "-2028"), Cause.BRACKET),
        "-2019": Cause.NO_MARGIN,
        **dict.fromkeys(("-2022", "-4118"), Cause.NOTHING_TO_REDUCE),
        **dict.fromkeys(("-4131", "-4016", "-4024"), Cause.OUTSIDE_BAND),
        "-2021": Cause.WOULD_TRIGGER,
    }

    # -- orders --------------------------------------------------------------------------------------------------------

    async def place(self, order: OrderRecord) -> OrderFact:
        """Send an order; raises Refused, OutcomeUnknown, or VenueUnavailable where it was certainly not taken."""
        params: dict[str, Any] = {
            "symbol": order.pair,
            "side": _SIDE[order.side],
            "type": "LIMIT" if order.kind == "limit" else "MARKET",
            "quantity": f"{order.quantity:f}",
            "newClientOrderId": order.order_id,
            "newOrderRespType": "RESULT",
        }
        if order.kind == "limit" and order.limit_price is not None:
            params |= {"price": f"{order.limit_price:f}", "timeInForce": order.time_in_force or "GTC"}
        if order.reduce_only:
            params["reduceOnly"] = "true"
        return await self._order(
            "fapiPrivatePostOrder",
            params,
            facts.answering(order.order_id, facts.read_order),
            protective=order.reduce_only,
            about=order.pair,
        )

    async def place_stop(self, order: OrderRecord) -> OrderFact:
        """Send a protective stop: a market order that waits for the mark price to reach its trigger."""
        params = {
            "algoType": "CONDITIONAL",
            "symbol": order.pair,
            "side": _SIDE[order.side],
            "type": "STOP_MARKET",
            "quantity": f"{order.quantity:f}",
            "triggerPrice": f"{order.stop_price:f}",
            "workingType": "MARK_PRICE",
            "reduceOnly": "true",
            "clientAlgoId": order.order_id,
        }
        return await self._order(
            "fapiPrivatePostAlgoOrder", params, facts.answering(order.order_id, facts.read_algo), about=order.pair
        )

    async def cancel(self, order: OrderRecord) -> OrderFact:
        """Cancel an order by its client id; errors as :meth:`place`."""
        read = facts.answering(order.order_id, facts.read_order)
        params = {"symbol": order.pair, "origClientOrderId": order.order_id}
        if order.plan_id == EXTERNAL and order.venue_order_id is not None:  # its name may be in use again
            read, params = facts.read_order, {"symbol": order.pair, "orderId": order.venue_order_id}
        return await self._order("fapiPrivateDeleteOrder", params, read, about=order.pair)

    async def cancel_stop(self, order: OrderRecord) -> None:
        """Cancel a waiting stop; errors as :meth:`place`."""
        await self._drop(order.order_id)

    async def drop_stop(self, stop: OrderFact) -> None:
        """Cancel a waiting conditional order, whoever placed it; errors as :meth:`place`."""
        await self._drop(stop.client_id)

    async def _drop(self, client_id: str) -> None:
        await self._order("fapiPrivateDeleteAlgoOrder", {"clientAlgoId": client_id}, lambda row: str(row["code"]))

    async def cancel_all(self, pair: Pair) -> None:
        """Cancel every resting order of a pair; protective stops stay."""
        await self._order("fapiPrivateDeleteAllOpenOrders", {"symbol": pair}, lambda row: str(row["code"]), about=pair)

    async def countdown(self, pair: Pair, ms: int) -> None:
        """Have the exchange cancel the pair's resting orders in ``ms`` unless told again; 0 ends the countdown.

        Raises
        ------
        Unsupported : the exchange has no such countdown
        """
        try:
            await self._order(
                "fapiPrivatePostCountdownCancelAll",
                {"symbol": pair, "countdownTime": str(ms)},
                lambda row: row,
                about=pair,
            )
        except OutcomeUnknown as error:
            if "404" in str(error):  # a path that is not there is answered by a page, not by a code
                raise Unsupported(f"{self.endpoint} has no countdown that cancels orders") from error
            raise

    async def look_up(self, pair: Pair, client_id: str, *, algo: bool = False) -> OrderFact | None:
        """An order by its client id; None where the exchange knows none of that id now."""
        if algo:
            read = facts.answering(client_id, facts.read_algo)
            return await self._maybe("fapiPrivateGetAlgoOrder", {"clientAlgoId": client_id}, read)
        params = {"symbol": pair, "origClientOrderId": client_id}
        return await self._maybe("fapiPrivateGetOrder", params, facts.answering(client_id, facts.read_order))

    async def order_by_venue_id(self, pair: Pair, venue_id: str) -> OrderFact | None:
        """An order by the exchange's id; None where it knows none of that id now."""
        return await self._maybe("fapiPrivateGetOrder", {"symbol": pair, "orderId": venue_id}, facts.read_order)

    async def open_orders(self) -> list[OrderFact]:
        """Every resting order of the account."""
        return await self._rows("fapiPrivateGetOpenOrders", {}, facts.read_order)

    async def open_stops(self) -> list[OrderFact]:
        """Every waiting conditional order of the account."""
        return await self._rows("fapiPrivateGetOpenAlgoOrders", {}, facts.read_algo)

    # -- account -------------------------------------------------------------------------------------------------------

    async def fills(self, pair: Pair, mark: int, floor_ms: int) -> tuple[list[FillFact], int]:
        """Every trade of a pair with an id above ``mark``, by id, and the highest; see :class:`.gateway.Gateway`."""
        found: list[FillFact] = []
        while True:
            params = {"symbol": pair, "fromId": str(mark + 1), "limit": str(FILLS_A_PAGE)}
            page = await self._rows("fapiPrivateGetUserTrades", params, facts.read_fill)
            found += sorted(page, key=_by_id)
            mark = max((int(fill.trade_id) for fill in page), default=mark)
            if len(page) < FILLS_A_PAGE:
                return found, mark

    async def newest_fill(self, pair: Pair) -> int:
        """Id of the pair's newest trade; 0 where there is none."""
        page = await self._rows("fapiPrivateGetUserTrades", {"symbol": pair, "limit": "1"}, facts.read_fill)
        return max((int(fill.trade_id) for fill in page), default=0)

    async def positions(self) -> dict[Pair, PositionFact]:
        """Open positions by pair."""
        rows = await self._rows("fapiPrivateV3GetPositionRisk", {}, facts.read_position)
        return {row.pair: row for row in rows if row.quantity}

    async def wallet(self) -> Decimal:
        """USDT in the wallet: balance after realised profit, fees and funding."""
        return await self._read("fapiPrivateV3GetAccount", {}, lambda answer: Decimal(answer["totalWalletBalance"]))

    async def income(self, since_ms: int) -> list[IncomeFact]:
        """Entries of the wallet from a time on, oldest first."""
        found: dict[str, IncomeFact] = {}
        while True:
            params = {"startTime": str(since_ms), "limit": str(INCOME_A_PAGE)}
            page = await self._rows("fapiPrivateGetIncome", params, facts.read_income)
            fresh = {entry.entry_id: entry for entry in page if entry.entry_id not in found}
            found |= fresh
            if len(page) < INCOME_A_PAGE or not fresh:
                return sorted(found.values(), key=lambda entry: (entry.ts_ms, entry.entry_id))
            since_ms = max(entry.ts_ms for entry in page)

    async def funding_rate(self, pair: Pair, ts_ms: int) -> tuple[Decimal, Decimal] | None:
        """Rate and mark price of a settlement near a time; None where the exchange does not tell."""
        params = {"symbol": pair, "startTime": str(ts_ms - 60_000), "endTime": str(ts_ms + 60_000), "limit": "1"}

        def read(answer: Any) -> tuple[Decimal, Decimal] | None:
            if not answer or not answer[-1].get("markPrice"):
                return None
            return Decimal(answer[-1]["fundingRate"]), Decimal(answer[-1]["markPrice"])

        return await self._read("fapiPublicGetFundingRate", params, read)

    async def unfit(self, pairs: Iterable[Pair]) -> str:
        """Whether the account is in hedge mode."""
        hedged = await self._read(
            "fapiPrivateGetPositionSideDual", {}, lambda answer: str(answer["dualSidePosition"]).lower() == "true"
        )
        return "the account is in hedge mode" if hedged else ""

    async def margin_steps(self, pairs: Iterable[Pair]) -> dict[Pair, MarginSteps]:
        """Maintenance margin tables, as in ``MarketRules.margin_steps``."""
        tables = await self._read("fapiPrivateGetLeverageBracket", {}, _steps)
        return {pair: tables[pair] for pair in pairs if pair in tables}

    async def notional_caps(self, pairs: Iterable[Pair]) -> dict[Pair, Decimal]:
        """Largest notional (USDT) that each pair's leverage allows; of every pair, asked for or not."""
        brackets = await self._read("fapiPrivateGetLeverageBracket", {}, _caps)
        leverage = await self._read(
            "fapiPrivateGetSymbolConfig",
            {},
            lambda answer: {Pair(row["symbol"]): int(row["leverage"]) for row in answer},
        )
        return {
            pair: max((cap for most, cap in steps if most >= leverage.get(pair, 1)), default=Decimal(0))
            for pair, steps in brackets.items()
        }

    # -- requests -------------------------------------------------------------------------------------------------------

    async def _rows(self, method: str, params: Mapping[str, Any], parse: Callable[[Any], T]) -> list[T]:
        def read(answer: Any) -> list[T]:
            if not isinstance(answer, list):
                raise ValueError(f"a list was expected, got {type(answer).__name__}")
            return [parse(row) for row in answer]

        return await self._read(method, params, read)


def _by_id(fill: FillFact) -> int:
    return int(fill.trade_id)


def _steps(answer: Any) -> dict[Pair, MarginSteps]:
    return {
        Pair(row["symbol"]): tuple(
            sorted((float(step["notionalFloor"]), float(step["maintMarginRatio"])) for step in row["brackets"])
        )
        for row in answer
    }


def _caps(answer: Any) -> dict[Pair, list[tuple[int, Decimal]]]:
    return {
        Pair(row["symbol"]): [
            (int(step["initialLeverage"]), Decimal(str(step["notionalCap"]))) for step in row["brackets"]
        ]
        for row in answer
    }
