"""History and rules over an exchange's REST interface, as frames in the lake's columns.

Reads only: orders are sent by the execution layer. Candles and readings come through ccxt's plain endpoints and are
parsed straight into columns, which is what makes 100,000 candles a pair bearable; every request draws from the shared budget
(:mod:`limits`), and errors stay ccxt's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import polars as pl

from hydra_core.domain.clock import Clock
from hydra_core.domain.errors import Refused, Unsupported, VenueUnavailable
from hydra_core.domain.intervals import MINUTE_MS, Interval, utc
from hydra_core.domain.market import FUNDING, LONG_SHORT, OPEN_INTEREST, MarketRules
from hydra_core.domain.pairs import Pair
from hydra_core.domain.settlements import LONGEST_MS, interval_hours, settled_at
from hydra_core.domain.tables import (
    INDEX,
    MARK,
    PREMIUM,
    REST,
    TS,
    Table,
    candle_table,
    empty_frame,
    known_after_ms,
    schema_of,
    table_of,
)
from hydra_core.market.connect import VENUE_PROTOCOL, lists_as_sent, open_exchange
from hydra_core.market.endpoint import Credentials, Endpoint
from hydra_core.market.errors import START_TOO_EARLY, code_of, read_error
from hydra_core.market.exchanges import Capability, PerpReading, Price, Route, UnsupportedCapability, adapter_for
from hydra_core.market.exchanges.pages import Sent
from hydra_core.market.exchanges.routes import BadAnswer, Paging, Rows
from hydra_core.market.limits import WEIGHT_LIMIT, Lane, RequestBudget, backoff
from hydra_core.market.listings import Listing, read_listings, read_markets

T = TypeVar("T")

AT_ONCE: Final = 8
"""Requests that one client has in flight."""
INFO: Final = "fapiPublicGetExchangeInfo"
TRADES: Final = "fapiPublicGetAggTrades"
PRICES: Final[Mapping[str, Price]] = {MARK: Price.MARK, INDEX: Price.INDEX, PREMIUM: Price.PREMIUM}
"""Kind of reference table -> price; every other table of bars is of traded prices."""
PAGES_BACK: Final = 200
"""Pages that an endpoint which only counts back from now is followed for."""
FUNDING_LEAD_MS: Final = 32 * Interval.D1.ms
"""Settlements before a span that are read along, so that the first ones' intervals do not depend on where a span was cut."""
TRADE_WINDOW_MS: Final = Interval.H1.ms
"""The longest span that one request for trades may cover."""


class ExchangeClient:
    """One connection to an exchange's public data.

    Parameters
    ----------
    endpoint : Endpoint
    credentials : Credentials, optional; public data needs none
    limiter : bool, optional, whether weight is counted and held back; by default only on the real exchange. A refusal for
        asking too often is obeyed in any case
    limits : Path, optional, the home's folder of budgets, shared by its processes; left out: counted for this client alone
    lane : Lane, what its requests are for, unless they stand in a block of their own
    concurrency : int, requests in flight at once
    attempts : int, tries of one request before its error is raised
    clock : Clock, optional, whose market time signed requests carry and whose wall time limits are counted in

    Examples
    --------
    >>> async with ExchangeClient(Endpoint()) as client:  # doctest: +SKIP
    ...     frame = await client.candles(Pair("BTCUSDT"), Interval.M5, start_ms, end_ms, now_ms)
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        credentials: Credentials | None = None,
        limiter: bool | None = None,
        limits: Path | None = None,
        lane: Lane = Lane.TRADING,
        concurrency: int = AT_ONCE,
        attempts: int = 5,
        clock: Clock | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._credentials = credentials
        self._limited = not endpoint.local if limiter is None else limiter
        self._slots = asyncio.Semaphore(concurrency)
        self._attempts = attempts
        self._clock = clock
        self.budget = RequestBudget.open(
            limits,
            endpoint,
            credentials.key if credentials else "",
            limit=WEIGHT_LIMIT if self._limited else None,
            clock=clock,
            usual=lane,
        )
        self.adapter = adapter_for(endpoint.exchange)
        self._protocol = endpoint.exchange == VENUE_PROTOCOL
        self._unsupported: set[str] = set()
        self._exchange: Any = None
        self._ccxt_error: type[BaseException] = Exception

    async def __aenter__(self) -> ExchangeClient:
        from ccxt.base.errors import BaseError

        self._ccxt_error = BaseError
        self._exchange = open_exchange(
            self.endpoint,
            self._credentials,
            limiter=self._limited,
            gauge=self.budget,
            now_ms=self._clock.market_ms if self._clock else None,
        )
        if self._limited and not self._protocol:  # costs are in the exchange's own units, of which ccxt knows the pace
            self.budget.allow(int(MINUTE_MS / self._exchange.rateLimit))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exchange.close()
        self.budget.close()

    @property
    def exchange(self) -> Any:
        """The ccxt exchange underneath, for calls that this class does not offer."""
        return self._exchange

    def has(self, table: str) -> bool:
        """Whether the exchange keeps a history of a lake table, as far as is known before (or after) asking."""
        schema_of(table)
        return table_of(table).via == REST and table not in self._unsupported

    async def server_time(self) -> int:
        """The exchange's time, epoch ms."""
        return await self._call("fetch_time", {}, int)

    async def listings(self) -> dict[Pair, Listing]:
        """Every USDT perpetual that the exchange lists, whatever its status; its limits are learned on the way.

        The exchange's own list where its protocol is HYDRA's own, else ccxt's reading of it.
        """
        if not self._protocol:
            read_theirs = partial(
                read_markets, quote=self.adapter.quote, counts_contracts=self.adapter.counts_contracts
            )
            return await self._call("fetch_markets", {}, read_theirs)

        def read(answer: Any) -> dict[Pair, Listing]:
            if self._limited:
                self.budget.learn(answer.get("rateLimits"))
            return read_listings(answer)

        return await self._call(INFO, {}, read)

    async def rules(self) -> dict[Pair, MarketRules]:
        """Filters of every USDT perpetual that is trading."""
        return {pair: listing.rules for pair, listing in (await self.listings()).items() if listing.trading}

    async def candles(self, pair: Pair, interval: Interval, start_ms: int, end_ms: int, now_ms: int) -> pl.DataFrame:
        """Closed candles with start <= open time < end; see :meth:`bars`."""
        return await self.bars(candle_table(interval), pair, start_ms, end_ms, now_ms)

    async def bars(
        self, table: str, pair: Pair, start_ms: int, end_ms: int, now_ms: int, aside: list[str] | None = None
    ) -> pl.DataFrame:
        """Closed bars of a candle or reference table with start <= open time < end, in the lake's columns.

        Parameters
        ----------
        table : str
        pair : Pair
        start_ms, end_ms : int, epoch ms, half open
        now_ms : int, epoch ms, market time: a bar that closes after it is left out
        aside : list of str, optional, takes single rows that stay unreadable after every try; without it they fail the call

        Returns
        -------
        polars.DataFrame : ts, open, high, low, close (USDT; premium: fractions), candles also volume (base units);
            ascending, each open time once

        Raises
        ------
        Unsupported : the exchange has no such interval (its base interval may be coarser) or no such series
        Refused, VenueUnavailable
        """
        spec = table_of(table)
        interval = _interval_of(spec)
        price = PRICES.get(table.removesuffix(f"_{interval}"), Price.TRADED)
        end = min(end_ms, interval.floor(now_ms))
        try:
            pages = await self._pages(self.adapter.candles(interval, price), pair, start_ms, end, aside)
        except Unsupported:
            self._unsupported.add(table)
            raise
        return _frame(table, pages)

    async def traded(self, pair: Pair, start_ms: int, end_ms: int, most: int) -> bool | None:
        """Whether the exchange has a trade in a span.

        Parameters
        ----------
        pair : Pair
        start_ms, end_ms : int, epoch ms, half open
        most : int, requests that the answer is worth, an hour of market time each

        Returns
        -------
        bool or None : None where that was not enough to say no, or the exchange has no trades to show
        """
        for asked, at in enumerate(range(start_ms, end_ms, TRADE_WINDOW_MS)):
            if asked >= most or not self._protocol:
                return None
            stop = min(at + TRADE_WINDOW_MS, end_ms)
            query = {"symbol": pair, "startTime": at, "endTime": stop - 1, "limit": 10}
            try:
                found = await self._call(TRADES, query, lambda answer: [int(row["T"]) for row in answer])
            except (Refused, Unsupported, VenueUnavailable):
                return None  # no word on trades is no reason to give up the candles
            if any(start_ms <= stamp < end_ms for stamp in found):
                return True
        return False

    async def funding(self, pair: Pair, start_ms: int, end_ms: int, now_ms: int) -> pl.DataFrame:
        """Settled funding with start <= settlement < end: ts, rate (fraction per settlement), interval_hours.

        What precedes and follows the span is read along: a row's interval is the same wherever a span was cut.
        """
        frame = await self.settlements(pair, start_ms, end_ms, now_ms)
        return frame.filter((pl.col("ts") >= utc(start_ms)) & (pl.col("ts") < utc(end_ms)))

    async def settlements(
        self, pair: Pair, start_ms: int, end_ms: int, now_ms: int, aside: list[str] | None = None
    ) -> pl.DataFrame:
        """As :meth:`funding`, with the settlements beside the span still there: what holes at its edges are seen by."""
        route = self.adapter.history(FUNDING)
        start, until = max(0, start_ms - FUNDING_LEAD_MS), min(end_ms + LONGEST_MS + 1, now_ms + 1)
        pages = await self._pages(route, pair, start, until, aside)
        if not pages:
            return empty_frame(FUNDING)
        rates = {name: np.concatenate([page[name] for page in pages]) for name in route.fields}
        # Pages follow the stamps as sent; only the whole is freed of jitter, so that no row is asked for for ever.
        stamps, first = np.unique(settled_at(rates["ts"]), return_index=True)
        hours = interval_hours(stamps)
        return _frame(FUNDING, [{"ts": stamps, "rate": rates["rate"][first], "interval_hours": hours}])

    async def open_interest(self, pair: Pair, start_ms: int, end_ms: int, now_ms: int) -> pl.DataFrame:
        """Readings every 5 minutes: ts, open_interest (base units), open_interest_value (USDT)."""
        return await self.history(OPEN_INTEREST, pair, start_ms, end_ms, now_ms)

    async def long_short(self, pair: Pair, start_ms: int, end_ms: int, now_ms: int) -> pl.DataFrame:
        """Readings every 5 minutes: ts, long_short_ratio (accounts long to accounts short)."""
        return await self.history(LONG_SHORT, pair, start_ms, end_ms, now_ms)

    async def table(
        self, table: str, pair: Pair, start_ms: int, end_ms: int, now_ms: int, aside: list[str] | None = None
    ) -> pl.DataFrame:
        """Any lake table by its name (``aside``: see :meth:`bars`); raises Unsupported where the exchange has none of it."""
        read = self.bars if table_of(table).bars else self.history
        return await read(table, pair, start_ms, end_ms, now_ms, aside)

    async def history(
        self, table: str, pair: Pair, start_ms: int, end_ms: int, now_ms: int, aside: list[str] | None = None
    ) -> pl.DataFrame:
        """Funding, open interest or long/short readings by table name, as published at ``now_ms``.

        A span that the exchange no longer keeps comes back without rows.
        """
        if table == FUNDING:
            return await self.funding(pair, start_ms, end_ms, now_ms)
        if table_of(table).via != REST:
            raise Unsupported(f"{self.endpoint} has no history of {table}", "It is only captured from the stream")
        end = min(end_ms, now_ms - known_after_ms(table) + 1)
        try:
            pages = await self._pages(self.adapter.history(table), pair, start_ms, end, aside)
        except UnsupportedCapability:
            self._unsupported.add(table)
            raise
        except Refused as error:
            if code_of(error) != START_TOO_EARLY:
                raise
            return empty_frame(table)
        return _frame(table, pages)

    async def present(self, pair: Pair) -> PerpReading:
        """Mark, index, funding and open interest of a pair now, as far as the exchange says; raises VenueError."""
        asks = self.adapter.present()
        found = await together(self._call(ask.method, ask.query(pair), partial(ask.fields, pair=pair)) for ask in asks)
        return PerpReading(pair, **{name: value for part in found for name, value in part.items()})  # type: ignore[arg-type]

    async def top(self, pair: Pair) -> Mapping[str, float | int]:
        """Best ``bid`` and ``ask`` (quote currency) with ``bid_size`` and ``ask_size`` (base units) where no stream tells them.

        Raises
        ------
        UnsupportedCapability : they are followed on a stream there
        VenueError
        """
        ask = self.adapter.top()
        if ask is None:
            raise UnsupportedCapability(self.endpoint.exchange, Capability.ORDER_BOOK, "quotes are on its streams")
        return await self._call(ask.method, ask.query(pair), partial(ask.fields, pair=pair))

    async def _pages(
        self, route: Route, pair: Pair, start_ms: int, end_ms: int, aside: list[str] | None = None
    ) -> list[Rows]:
        """Every page of a span: windows of one page each, asked for at once."""
        salvage = partial(route.read, aside=aside) if aside is not None else None
        if route.paging is not Paging.SPAN:
            pages = await self._pages_back(route, pair, start_ms, end_ms)
            return [_inside(page, start_ms, end_ms) for page in pages]
        limit = route.cheap_limit if self._limited and route.cheap_limit else route.limit
        window = route.page_span_ms if route.step_ms == 1 else min(route.page_span_ms, limit * route.step_ms)
        starts = range(start_ms, end_ms, window)
        if not starts:
            return []

        async def read(start: int) -> list[Rows]:
            stop = min(start + window, end_ms)
            pages, at = [], start
            while at < stop:  # a server that sends shorter pages than asked for is followed page by page
                query = route.query(pair, at, stop, limit)
                page = await self._call(route.method, query, route.read, salvage, bare=route.bare)
                if not page["ts"].size:
                    break
                newest = int(page["ts"].max())
                if newest < at:
                    raise VenueUnavailable(f"{route.method} {pair}: asked from {at}, got rows up to {newest}")
                pages.append(page)
                at = newest + route.step_ms
            return pages

        first = await read(starts[0])  # an unsupported interval or pair fails here, once
        others = await together(read(start) for start in starts[1:])
        pages = first + [page for part in others for page in part]
        return [_inside(page, start_ms, end_ms) for page in pages]

    async def _pages_back(self, route: Route, pair: Pair, start_ms: int, end_ms: int) -> list[Rows]:
        """Pages of an endpoint that knows no span: its newest rows, and where it counts pages, those before them."""
        pages: list[Rows] = []
        for place in range(1, PAGES_BACK + 1 if route.paging is Paging.NUMBERED else 2):
            page = await self._call(route.method, route.query(pair, place, 0, route.limit), route.read)
            pages.append(page)
            if not page["ts"].size or int(page["ts"].min()) <= start_ms:
                return pages
        if route.paging is Paging.NUMBERED:
            raise Unsupported(
                f"{self.endpoint}: {route.method} would take more than {PAGES_BACK} pages back to {utc(start_ms):%Y-%m-%d}",
                "Ask for a later start",
            )
        return pages

    async def ask(self, method: str, params: Mapping[str, Any], parse: Callable[[Any], T]) -> T:
        """One request to one of ccxt's plain endpoints by its method's name; raises VenueError."""
        return await self._call(method, params, parse)

    async def _call(
        self,
        method: str,
        params: Mapping[str, Any],
        parse: Callable[[Any], T],
        salvage: Callable[[Any], T] | None = None,
        bare: bool = False,
    ) -> T:
        """One request, tried again with pauses while the exchange gives no usable word; the last word may be salvaged."""
        doing = f"{method} {params.get('symbol', '')}".strip()
        pauses = backoff(self._attempts)
        while True:
            answer = None
            try:
                async with self._slots:
                    with lists_as_sent() if bare else nullcontext():
                        answer = await getattr(self._exchange, method)(dict(params))
                # A long page is read beside the loop, which asks for the next ones meanwhile.
                return await asyncio.to_thread(parse, answer) if isinstance(answer, Sent) else parse(answer)
            except self._ccxt_error as error:
                failure = read_error(error, doing)
                cause: BaseException = error
            except (TypeError, ValueError, KeyError, IndexError) as error:
                failure = VenueUnavailable(f"{doing}: malformed answer ({type(error).__name__}: {error})")
                cause = error
            pause = next(pauses, None)
            if pause is None and answer is not None and salvage is not None:
                with suppress(BadAnswer):
                    return salvage(answer)
            if pause is None or not isinstance(failure, VenueUnavailable):
                raise failure from cause
            await asyncio.sleep(pause)


def _interval_of(spec: Table) -> Interval:
    """The grid of a table of bars; raises Unsupported for any other."""
    if not spec.bars or spec.interval is None:
        raise Unsupported(f"{spec.name} is no table of bars", "Ask for it by its own method")
    return spec.interval


def _inside(page: Rows, start_ms: int, end_ms: int) -> Rows:
    """The page's rows with start <= ts < end."""
    keep = (page["ts"] >= start_ms) & (page["ts"] < end_ms)
    return page if keep.all() else {name: values[keep] for name, values in page.items()}


def _frame(table: str, pages: Sequence[Rows]) -> pl.DataFrame:
    """Pages as one frame, ascending, each stamp once (the row received last counts)."""
    if not pages:
        return empty_frame(table)
    lacking = np.full(sum(page["ts"].size for page in pages), np.nan)
    frame = pl.DataFrame(
        {
            name: np.concatenate([page[name] for page in pages]) if name in pages[0] else lacking
            for name in schema_of(table)
        }
    )
    frame = frame.with_columns(pl.col("ts").cast(TS))
    if frame["ts"].is_sorted() and frame["ts"].n_unique() == frame.height:
        return frame
    return frame.unique("ts", keep="last", maintain_order=True).sort("ts")


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Results of all, in order; the first error cancels the rest and is raised as itself, not as a group."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
