"""History and rules over an exchange's REST interface, as frames in the lake's columns.

Reads only: orders are sent by the execution layer. Candles and readings come through ccxt's plain endpoints and are
parsed straight into columns, which is what makes 100,000 candles a pair bearable; limits and errors stay ccxt's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from hydra_core.domain.clock import Clock
from hydra_core.domain.errors import Refused, Unsupported, VenueUnavailable
from hydra_core.domain.intervals import Interval
from hydra_core.domain.market import FUNDING, LIQUIDATIONS, LONG_SHORT, OPEN_INTEREST, PUBLICATION_DELAY_MS, MarketRules
from hydra_core.domain.pairs import QUOTE, Pair
from hydra_core.domain.tables import CANDLE_TABLES, READING_INTERVAL, TS, candle_table, empty_frame, schema_of
from hydra_core.market.connect import open_exchange
from hydra_core.market.endpoint import Credentials, Endpoint
from hydra_core.market.errors import START_TOO_EARLY, code_of, read_error
from hydra_core.market.limits import WEIGHT_LIMIT, RequestGauge, backoff

T = TypeVar("T")

KLINES: Final = "fapiPublicGetKlines"
HISTORY: Final[Mapping[str, tuple[str, int, int, Mapping[str, str]]]] = {
    FUNDING: ("fapiPublicGetFundingRate", 1000, 1, {"ts": "fundingTime", "rate": "fundingRate"}),
    OPEN_INTEREST: (
        "fapiDataGetOpenInterestHist",
        500,
        READING_INTERVAL.ms,
        {"ts": "timestamp", "open_interest": "sumOpenInterest", "open_interest_value": "sumOpenInterestValue"},
    ),
    LONG_SHORT: (
        "fapiDataGetGlobalLongShortAccountRatio",
        500,
        READING_INTERVAL.ms,
        {"ts": "timestamp", "long_short_ratio": "longShortRatio"},
    ),
}
"""Table -> endpoint, rows a page, least distance of two rows (ms), and which of its fields fills which column."""

CANDLES_PER_PAGE: Final = 1500
"""The most that one request may ask for."""
CANDLES_PER_PAGE_LIMITED: Final = 499
"""Page with the most candles per unit of request weight: 499 cost 2, 1500 cost 10."""
FUNDING_PAGE_SPAN: Final = Interval.H1.ms
"""Funding settles hourly at most: a page of this many hours never overflows."""


class ExchangeClient:
    """One connection to an exchange's public data.

    Parameters
    ----------
    endpoint : Endpoint
    credentials : Credentials, optional; public data needs none
    limiter : bool, optional, whether requests are spaced out; by default only on the real exchange
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
        concurrency: int = 8,
        attempts: int = 5,
        clock: Clock | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._credentials = credentials
        self._limited = not endpoint.local if limiter is None else limiter
        self._slots = asyncio.Semaphore(concurrency)
        self._attempts = attempts
        self._clock = clock
        self._gauge = RequestGauge(WEIGHT_LIMIT if self._limited else None, clock)
        self._page = CANDLES_PER_PAGE_LIMITED if self._limited else CANDLES_PER_PAGE
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
            gauge=self._gauge,
            now_ms=self._clock.market_ms if self._clock else None,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exchange.close()

    @property
    def exchange(self) -> Any:
        """The ccxt exchange underneath, for calls that this class does not offer."""
        return self._exchange

    def has(self, table: str) -> bool:
        """Whether the exchange keeps a history of a lake table, as far as is known before (or after) asking."""
        schema_of(table)
        return table != LIQUIDATIONS and table not in self._unsupported

    async def server_time(self) -> int:
        """The exchange's time, epoch ms."""
        return await self._call("fapiPublicGetTime", {}, lambda answer: int(answer["serverTime"]))

    async def rules(self) -> dict[Pair, MarketRules]:
        """Filters of every USDT perpetual that is trading."""
        return await self._call("fapiPublicGetExchangeInfo", {}, _rules)

    async def candles(self, pair: Pair, interval: Interval, start_ms: int, end_ms: int, now_ms: int) -> pl.DataFrame:
        """Closed candles with start <= open time < end, in the lake's columns.

        Parameters
        ----------
        pair : Pair
        interval : Interval
        start_ms, end_ms : int, epoch ms, half open
        now_ms : int, epoch ms, market time: a candle that closes after it is left out

        Returns
        -------
        polars.DataFrame : ts, open, high, low, close (USDT), volume (base units); ascending, each open time once

        Raises
        ------
        Unsupported : the exchange has no such interval (its base interval may be coarser)
        Refused, VenueUnavailable
        """
        end = min(end_ms, interval.floor(now_ms))
        params = {"symbol": pair, "interval": str(interval)}
        table = candle_table(interval)
        try:
            pages = await self._pages(KLINES, params, start_ms, end, interval.ms, self._page, _candle_rows)
        except Unsupported:
            self._unsupported.add(table)
            raise
        return _frame(table, pages)

    async def funding(self, pair: Pair, start_ms: int, end_ms: int, now_ms: int) -> pl.DataFrame:
        """Settled funding with start <= settlement < end: ts, rate (fraction per settlement)."""
        return await self.history(FUNDING, pair, start_ms, end_ms, now_ms)

    async def open_interest(self, pair: Pair, start_ms: int, end_ms: int, now_ms: int) -> pl.DataFrame:
        """Readings every 5 minutes: ts, open_interest (base units), open_interest_value (USDT)."""
        return await self.history(OPEN_INTEREST, pair, start_ms, end_ms, now_ms)

    async def long_short(self, pair: Pair, start_ms: int, end_ms: int, now_ms: int) -> pl.DataFrame:
        """Readings every 5 minutes: ts, long_short_ratio (accounts long to accounts short)."""
        return await self.history(LONG_SHORT, pair, start_ms, end_ms, now_ms)

    async def table(self, table: str, pair: Pair, start_ms: int, end_ms: int, now_ms: int) -> pl.DataFrame:
        """Any lake table by its name; raises Unsupported where an exchange has no history of it."""
        if table in CANDLE_TABLES:
            return await self.candles(pair, CANDLE_TABLES[table], start_ms, end_ms, now_ms)
        return await self.history(table, pair, start_ms, end_ms, now_ms)

    async def history(self, table: str, pair: Pair, start_ms: int, end_ms: int, now_ms: int) -> pl.DataFrame:
        """Funding, open interest or long/short readings by table name, published at ``now_ms``; see :attr:`funding`.

        A span that the exchange no longer keeps comes back without rows.
        """
        if table not in HISTORY:
            raise Unsupported(f"{self.endpoint} has no history of {table}", "It is only captured from the stream")
        method, limit, step_ms, fields = HISTORY[table]
        params: dict[str, str] = {"symbol": pair}
        if step_ms == READING_INTERVAL.ms:
            params["period"] = str(READING_INTERVAL)
        end = min(end_ms, now_ms - PUBLICATION_DELAY_MS.get(table, 0) + 1)
        window = limit * (step_ms if step_ms > 1 else FUNDING_PAGE_SPAN)

        def rows(answer: Any) -> Rows:
            return {name: _column([row[field] for row in answer], name) for name, field in fields.items()}

        try:
            pages = await self._pages(method, params, start_ms, end, step_ms, limit, rows, window)
        except Refused as error:
            if code_of(error) != START_TOO_EARLY:
                raise
            return empty_frame(table)
        return _frame(table, pages)

    async def _pages(
        self,
        method: str,
        params: Mapping[str, Any],
        start_ms: int,
        end_ms: int,
        step_ms: int,
        limit: int,
        parse: Callable[[Any], Rows],
        window_ms: int | None = None,
    ) -> list[Rows]:
        """Every page of a span: windows of one page each, asked for at once."""
        window = window_ms or limit * step_ms
        starts = range(start_ms, end_ms, window)
        if not starts:
            return []

        async def read(start: int) -> list[Rows]:
            stop = min(start + window, end_ms)
            pages, at = [], start
            while at < stop:  # a server that sends shorter pages than asked for is followed page by page
                query = {**params, "startTime": at, "endTime": stop - 1, "limit": limit}
                page = await self._call(method, query, parse)
                if not page["ts"].size:
                    break
                newest = int(page["ts"].max())
                if newest < at:
                    raise VenueUnavailable(f"{method} {params}: asked from {at}, got rows up to {newest}")
                pages.append(page)
                at = newest + step_ms
            return pages

        first = await read(starts[0])  # an unsupported interval or pair fails here, once
        others = await together(read(start) for start in starts[1:])
        pages = first + [page for part in others for page in part]
        return [_inside(page, start_ms, end_ms) for page in pages]

    async def _call(self, method: str, params: Mapping[str, Any], parse: Callable[[Any], T]) -> T:
        """One request, tried again with pauses while the exchange gives no usable word."""
        doing = f"{method} {params.get('symbol', '')}".strip()
        pauses = backoff(self._attempts)
        while True:
            await self._gauge.ready()
            try:
                async with self._slots:
                    answer = await getattr(self._exchange, method)(dict(params))
                return parse(answer)
            except self._ccxt_error as error:
                failure = read_error(error, doing)
                cause: BaseException = error
            except (TypeError, ValueError, KeyError, IndexError) as error:
                failure = VenueUnavailable(f"{doing}: malformed answer ({type(error).__name__}: {error})")
                cause = error
            pause = next(pauses, None)
            if pause is None or not isinstance(failure, VenueUnavailable):
                raise failure from cause
            await asyncio.sleep(pause)


Rows = dict[str, npt.NDArray[Any]]


def _candle_rows(answer: Any) -> Rows:
    """Columns of a klines answer: rows of open time, o, h, l, c, v and more."""
    names = list(schema_of(candle_table(Interval.M1)))
    columns = list(zip(*answer, strict=True)) or [()] * len(names)
    return {name: _column(columns[place], name) for place, name in enumerate(names)}


def _column(values: Sequence[Any], name: str) -> npt.NDArray[Any]:
    """Values as they come, strings mostly: epoch ms as int64, everything else as float64."""
    if name == "ts":
        return np.fromiter(map(int, values), np.int64, len(values))
    return np.fromiter(map(float, values), np.float64, len(values))


def _inside(page: Rows, start_ms: int, end_ms: int) -> Rows:
    """The page's rows with start <= ts < end."""
    keep = (page["ts"] >= start_ms) & (page["ts"] < end_ms)
    return page if keep.all() else {name: values[keep] for name, values in page.items()}


def _frame(table: str, pages: Sequence[Rows]) -> pl.DataFrame:
    """Pages as one frame, ascending, each stamp once (the row received last counts)."""
    if not pages:
        return empty_frame(table)
    frame = pl.DataFrame({name: np.concatenate([page[name] for page in pages]) for name in schema_of(table)})
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


def _rules(answer: Any) -> dict[Pair, MarketRules]:
    """Filters out of an exchangeInfo answer, exact."""
    found: dict[Pair, MarketRules] = {}
    for market in answer["symbols"]:
        if market.get("status") != "TRADING" or market.get("quoteAsset") != QUOTE:
            continue
        if market.get("contractType") != "PERPETUAL":
            continue
        filters = {entry["filterType"]: entry for entry in market["filters"]}
        pair = Pair(market["symbol"])
        try:
            found[pair] = MarketRules(
                pair=pair,
                tick_size=Decimal(filters["PRICE_FILTER"]["tickSize"]),
                step_size=Decimal(filters["LOT_SIZE"]["stepSize"]),
                min_quantity=Decimal(filters["LOT_SIZE"]["minQty"]),
                min_notional=Decimal(filters["MIN_NOTIONAL"]["notional"]),
            )
        except InvalidOperation as error:
            raise ValueError(f"{pair}: a filter is not a number") from error
    return found
