"""Signed requests to an exchange, one method a request, answers as facts, failures as decisions.

Binance USD-M's endpoints through unmodified ccxt, called plainly so that sizes and prices travel as the exact text that was
decided. Nothing is repeated here but reads: whether an order may be sent again is the broker's to know. No state is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from hydra_core.broker import facts
from hydra_core.broker.facts import FillFact, IncomeFact, OrderFact, PositionFact
from hydra_core.domain.clock import Clock
from hydra_core.domain.errors import OutcomeUnknown, Refused, Unsupported, VenueError, VenueUnavailable
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Side
from hydra_core.ledger.records import OrderRecord
from hydra_core.market.connect import open_exchange
from hydra_core.market.drift import ClockDrift
from hydra_core.market.endpoint import Credentials, Endpoint
from hydra_core.market.errors import code_of, read_error
from hydra_core.market.limits import WEIGHT_LIMIT, Lane, RequestBudget, backoff, lane
from hydra_core.risk.margin import Tier

T = TypeVar("T")

NO_SUCH_ORDER: Final = frozenset({-2013, -2011})
CLOCK_IS_OFF: Final = -1021
FILLS_A_PAGE: Final = 1000
INCOME_A_PAGE: Final = 1000
READ_ATTEMPTS: Final = 3
_SIDE: Final = {Side.LONG: "BUY", Side.SHORT: "SELL"}


class Gateway:
    """One account at one exchange; use it as an async context manager.

    Parameters
    ----------
    endpoint : Endpoint
    credentials : Credentials
    clock : Clock, whose market time requests are stamped with
    timeout_ms : int, wall time after which a request counts as unanswered
    budget_folder : Path, optional, where the processes of a home share the count of their requests
    """

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: Credentials,
        clock: Clock,
        *,
        timeout_ms: int = 10_000,
        budget_folder: Path | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._credentials = credentials
        self._clock = clock
        self._timeout_ms = timeout_ms
        self.drift = ClockDrift(clock)
        limit = None if endpoint.local else WEIGHT_LIMIT
        self._budget = RequestBudget.open(budget_folder, endpoint, credentials.key, limit=limit, clock=clock)
        self._exchange: Any = None
        self._ccxt_error: type[BaseException] = Exception

    async def __aenter__(self) -> Self:
        from ccxt.base.errors import BaseError

        self._ccxt_error = BaseError
        self._exchange = open_exchange(
            self.endpoint,
            self._credentials,
            gauge=self._budget,
            now_ms=self.drift.now_ms,
            timeout_ms=self._timeout_ms,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exchange.close()
        self._budget.close()

    @property
    def offset_ms(self) -> int:
        """By how much the exchange's clock was last found ahead of ours."""
        return self.drift.offset_ms

    @property
    def wait_s(self) -> float:
        """Wall seconds for which the exchange asked to be left alone."""
        return self._budget.wait_s

    async def synchronise(self) -> int:
        """Take the exchange's time as that of requests; returns the distance found, ms."""

        async def ask() -> int:
            return await self._read("fapiPublicGetTime", {}, lambda answer: int(answer["serverTime"]))

        return await self.drift.measure(ask)

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
        return await self._order("fapiPrivatePostOrder", params, facts.read_order, protective=order.reduce_only)

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
        return await self._order("fapiPrivatePostAlgoOrder", params, facts.read_algo)

    async def cancel(self, order: OrderRecord) -> OrderFact:
        """Cancel an order by its client id; errors as :meth:`place`."""
        params = {"symbol": order.pair, "origClientOrderId": order.order_id}
        return await self._order("fapiPrivateDeleteOrder", params, facts.read_order)

    async def cancel_stop(self, order: OrderRecord) -> None:
        """Cancel a waiting stop; errors as :meth:`place`."""
        await self.cancel_stop_by_id(order.order_id)

    async def cancel_stop_by_id(self, client_id: str) -> None:
        """Cancel a waiting conditional order by its client id; errors as :meth:`place`."""
        await self._order("fapiPrivateDeleteAlgoOrder", {"clientAlgoId": client_id}, lambda row: str(row["code"]))

    async def cancel_all(self, pair: Pair) -> None:
        """Cancel every resting order of a pair; protective stops stay."""
        await self._order("fapiPrivateDeleteAllOpenOrders", {"symbol": pair}, lambda row: str(row["code"]))

    async def countdown(self, pair: Pair, ms: int) -> None:
        """Have the exchange cancel the pair's resting orders in ``ms`` unless told again; 0 ends the countdown.

        Raises
        ------
        Unsupported : the exchange has no such countdown
        """
        try:
            await self._order(
                "fapiPrivatePostCountdownCancelAll", {"symbol": pair, "countdownTime": str(ms)}, lambda row: row
            )
        except OutcomeUnknown as error:
            if "404" in str(error):  # a path that is not there is answered by a page, not by a code
                raise Unsupported(f"{self.endpoint} has no countdown that cancels orders") from error
            raise

    async def look_up(self, pair: Pair, client_id: str, *, algo: bool = False) -> OrderFact | None:
        """An order by its client id; None where the exchange knows none of that id now."""
        if algo:
            return await self._maybe("fapiPrivateGetAlgoOrder", {"clientAlgoId": client_id}, facts.read_algo)
        params = {"symbol": pair, "origClientOrderId": client_id}
        return await self._maybe("fapiPrivateGetOrder", params, facts.read_order)

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

    async def fills(self, pair: Pair, from_id: int) -> list[FillFact]:
        """Every trade of a pair with an id of at least ``from_id``; a page that fails raises, nothing is cut short."""
        found: list[FillFact] = []
        while True:
            params = {"symbol": pair, "fromId": str(from_id), "limit": str(FILLS_A_PAGE)}
            page = await self._rows("fapiPrivateGetUserTrades", params, facts.read_fill)
            found += page
            if len(page) < FILLS_A_PAGE:
                return found
            from_id = max(fill.trade_id for fill in page) + 1

    async def newest_fill(self, pair: Pair) -> int:
        """Id of the pair's newest trade; 0 where there is none."""
        page = await self._rows("fapiPrivateGetUserTrades", {"symbol": pair, "limit": "1"}, facts.read_fill)
        return max((fill.trade_id for fill in page), default=0)

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

    async def hedged(self) -> bool:
        """Whether the account holds long and short of a pair side by side (hedge mode)."""
        return await self._read(
            "fapiPrivateGetPositionSideDual", {}, lambda answer: str(answer["dualSidePosition"]).lower() == "true"
        )

    async def tiers(self) -> dict[Pair, tuple[Tier, ...]]:
        """Maintenance margin tables by pair."""
        return await self._read("fapiPrivateGetLeverageBracket", {}, _tiers)

    async def notional_caps(self) -> dict[Pair, Decimal]:
        """Largest notional (USDT) that each pair's leverage allows."""
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

    # -- requests ------------------------------------------------------------------------------------------------------

    async def _order(
        self, method: str, params: Mapping[str, Any], parse: Callable[[Any], T], *, protective: bool = True
    ) -> T:
        """One request that changes something; sent once."""
        doing = f"{method} {params.get('symbol', '')}".strip()
        try:
            with lane(Lane.PROTECTIVE if protective else Lane.TRADING):
                answer = await getattr(self._exchange, method)(dict(params))
            return parse(answer)
        except self._ccxt_error as error:
            raise read_error(error, doing, order=True) from error
        except facts.MALFORMED as error:
            raise OutcomeUnknown(f"{doing}: malformed answer ({type(error).__name__}: {error})") from error

    async def _read(self, method: str, params: Mapping[str, Any], parse: Callable[[Any], T]) -> T:
        """One request that changes nothing, tried again a few times while there is no usable word."""
        doing = f"{method} {params.get('symbol', '')}".strip()
        pauses = backoff(READ_ATTEMPTS, first_s=0.1)
        while True:
            try:
                return parse(await getattr(self._exchange, method)(dict(params)))
            except self._ccxt_error as error:
                failure: VenueError = read_error(error, doing)
                cause: BaseException = error
                if code_of(error) == CLOCK_IS_OFF and method != "fapiPublicGetTime":
                    await self.synchronise()
            except facts.MALFORMED as error:
                failure = VenueUnavailable(f"{doing}: malformed answer ({type(error).__name__}: {error})")
                cause = error
            pause = next(pauses, None)
            if pause is None or not isinstance(failure, VenueUnavailable):
                raise failure from cause
            await asyncio.sleep(pause)

    async def _rows(self, method: str, params: Mapping[str, Any], parse: Callable[[Any], T]) -> list[T]:
        def read(answer: Any) -> list[T]:
            if not isinstance(answer, list):
                raise ValueError(f"a list was expected, got {type(answer).__name__}")
            return [parse(row) for row in answer]

        return await self._read(method, params, read)

    async def _maybe(self, method: str, params: Mapping[str, Any], parse: Callable[[Any], T]) -> T | None:
        try:
            return await self._read(method, params, parse)
        except Refused as error:
            if refusal_code(error) in NO_SUCH_ORDER:
                return None
            raise


def refusal_code(error: VenueError) -> int:
    """The exchange's own code behind a refusal, 0 where there is none."""
    return code_of(error.__cause__ or error) or 0


def _tiers(answer: Any) -> dict[Pair, tuple[Tier, ...]]:
    return {
        Pair(row["symbol"]): tuple(
            Tier(float(step["notionalFloor"]), float(step["maintMarginRatio"]), float(step.get("cum") or 0.0))
            for step in sorted(row["brackets"], key=lambda step: float(step["notionalFloor"]))
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
