"""The tables that market data comes in: names, columns with their units, cadence, source, delay and what is done about gaps.

``docs/data.md`` is written from here, so that it cannot say anything else. No files, no network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import polars as pl

from hydra_core.domain.errors import UsageError
from hydra_core.domain.intervals import Interval
from hydra_core.domain.market import CANDLES, FUNDING, LIQUIDATIONS, LONG_SHORT, OPEN_INTEREST, PUBLICATION_DELAY_MS

Schema = Mapping[str, pl.DataType]

TS: Final = pl.Datetime("ms", "UTC")
TS_COLUMN: Final = "ts"
NUMBER: Final = pl.Float64()
WORD: Final = pl.String()

BOOK: Final = "book"
TRADES: Final = "trades"
MARK: Final = "mark"
INDEX: Final = "index"
PREMIUM: Final = "premium"
REFERENCES: Final = (MARK, INDEX, PREMIUM)
"""Price series that the exchange computes beside the traded one."""
REFERENCE_INTERVALS: Final = (Interval.M5,)
BOOK_LEVELS: Final = 5
READING_INTERVAL: Final = Interval.M5
"""Cadence of open interest and long/short readings."""

CAPTURES: Final = "captures"
REFERENCE_PRICES: Final = "reference_prices"
"""Market assets that no model needs: collected by the job ``reference``."""

REST: Final = "REST"
STREAM: Final = "stream"
EXTERNAL: Final = "external"


@dataclass(frozen=True, slots=True)
class Table:
    """One table, as code and people need to know it.

    Parameters
    ----------
    name : str
    stamp : str, what ``ts`` means
    units : column -> unit or meaning, without ``ts``
    words : columns that hold words, not numbers
    times : columns that hold times
    may_lack : columns whose value may be NaN, because the source may not have it
    interval : Interval or None, the grid that rows stand on; None where they come when they come
    bars : bool, whether a row is a span that is known only once it has closed
    group : str, the market asset that keeps it
    via : :data:`REST`, :data:`STREAM` or :data:`EXTERNAL`
    source, delay, gaps : str, for people
    """

    name: str
    stamp: str
    units: Mapping[str, str]
    interval: Interval | None
    group: str
    source: str
    delay: str
    gaps: str
    bars: bool = False
    via: str = REST
    words: tuple[str, ...] = ()
    times: tuple[str, ...] = ()
    may_lack: tuple[str, ...] = ()

    @property
    def schema(self) -> Schema:
        """Columns and types, ``ts`` first."""
        kinds = {**dict.fromkeys(self.words, WORD), **dict.fromkeys(self.times, TS)}
        return {TS_COLUMN: TS, **{column: kinds.get(column, NUMBER) for column in self.units}}


def candle_table(interval: Interval) -> str:
    """Table of an interval's candles, e.g. ``candles_5m``."""
    return f"{CANDLES}_{interval}"


def reference_table(kind: str, interval: Interval) -> str:
    """Table of a reference price's bars, e.g. ``mark_5m``."""
    return f"{kind}_{interval}"


_PRICES: Final = dict.fromkeys(("open", "high", "low", "close"), "USDT a base unit")
_ON_GRID: Final = (
    "A missing bar is asked for a second time: it is then repaired, verified as no trade (the exchange has no trade in it), or "
    "unresolved. Never filled in; NaN in a panel."
)
_READING_GAPS: Final = (
    "A missing reading is asked for a second time and stays unresolved if it does not come. A panel repeats the last one "
    "for an hour, then has NaN."
)
_REFERENCE_SOURCE: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    MARK: ("mark price klines: what positions are valued and liquidated at", _PRICES),
    INDEX: ("index price klines: the basket of spot prices under the contract", _PRICES),
    PREMIUM: (
        "premium index klines: what funding is computed from",
        dict.fromkeys(_PRICES, "fraction of the index price"),
    ),
}


def _candles(interval: Interval) -> Table:
    return Table(
        candle_table(interval),
        "**open** time of the bar",
        {**_PRICES, "volume": "base units"},
        interval,
        CANDLES,
        "the exchange's klines; the last row it sends is still running and is dropped",
        "known at the bar's close, `ts` plus the interval",
        _ON_GRID,
        bars=True,
    )


def _reference(kind: str, interval: Interval) -> Table:
    source, units = _REFERENCE_SOURCE[kind]
    return Table(
        reference_table(kind, interval),
        "**open** time of the bar",
        units,
        interval,
        REFERENCE_PRICES,
        f"the exchange's {source}; collected by the job `reference`; a recorded market has none",
        "known at the bar's close, `ts` plus the interval",
        "A missing bar is asked for a second time, then unresolved. Never filled in.",
        bars=True,
    )


_DELAY: Final = f"{PUBLICATION_DELAY_MS[OPEN_INTEREST] // 1000} s after `ts`"
_BOOK_SIDES: Final = {
    f"{side}{what}_{level}": unit
    for level in range(1, BOOK_LEVELS + 1)
    for side in ("bid", "ask")
    for what, unit in (("", "USDT a base unit"), ("_size", "base units"))
}

TABLES: Final[Mapping[str, Table]] = {
    table.name: table
    for table in (
        *(_candles(interval) for interval in Interval),
        *(_reference(kind, interval) for kind in REFERENCES for interval in REFERENCE_INTERVALS),
        Table(
            FUNDING,
            "the settlement; a stamp that lies up to a minute beside the full hour is the hour's",
            {
                "rate": "fraction of notional that longs pay shorts at that settlement; 0.0001 is one basis point",
                "interval_hours": "hours that the rate was charged for: the contract's own interval then, not always 8",
            },
            None,
            FUNDING,
            "the exchange's funding history, with each contract's true settlement times",
            "none; a rate is known from its settlement on",
            "A step longer than the contract's interval is a hole: asked for a second time, then unresolved. In a panel a rate "
            "holds for its own interval and is NaN until the next settlement that is known.",
        ),
        Table(
            OPEN_INTEREST,
            "stamp of the reading",
            {"open_interest": "base units", "open_interest_value": "USDT"},
            READING_INTERVAL,
            OPEN_INTEREST,
            "the exchange's history of open interest, which reaches back about 30 days: collect it while it is there",
            _DELAY,
            _READING_GAPS,
        ),
        Table(
            LONG_SHORT,
            "stamp of the reading",
            {"long_short_ratio": "accounts long over accounts short, a plain number"},
            READING_INTERVAL,
            LONG_SHORT,
            "the exchange's global account ratio, about 30 days back",
            _DELAY,
            _READING_GAPS,
        ),
        Table(
            LIQUIDATIONS,
            "time of the forced order",
            {
                "side": "`long` or `short`: the side that was **liquidated**",
                "quantity": "base units",
                "price": "USDT a base unit",
            },
            None,
            LIQUIDATIONS,
            "the trader's capture of the forced-order stream; no exchange offers a history of it",
            "none",
            "What happened while no trader ran is missing for ever. In a panel they are summed to USDT a bar, 0 in a quiet bar "
            "since the capture began, NaN before.",
            via=STREAM,
            words=("side",),
        ),
        Table(
            BOOK,
            "event time of the book",
            _BOOK_SIDES,
            None,
            CAPTURES,
            f"the trader's maintained order book, its best {BOOK_LEVELS} levels a side, while it was in sequence",
            "none",
            "Rows exist only while a trader ran and its book was synchronised; nothing is made up for the rest. A level that "
            "the book did not have is NaN.",
            via=STREAM,
            may_lack=tuple(name for name in _BOOK_SIDES if not name.endswith("_1")),
        ),
        Table(
            TRADES,
            "time of the trade",
            {
                "trade_id": "the exchange's number of it, a whole number",
                "price": "USDT a base unit",
                "quantity": "base units",
                "side": "`buy` or `sell`: the side of the taker",
            },
            None,
            CAPTURES,
            "the trader's capture of the trade stream",
            "none",
            "Rows exist only while a trader ran; what was missed is asked for again over REST by the trader while it can be.",
            via=STREAM,
            words=("side",),
        ),
    )
}
"""Every table, finest candles first."""

ONCHAIN: Final = "onchain"
DERIVATIVES: Final = "derivatives"
NEWS: Final = "news"
NEWS_SENTIMENT: Final = "news_sentiment"
CROSS_FUNDING: Final = "cross_funding"
CROSS_BASIS: Final = "cross_basis"
_POINT_IN_TIME: Final = {
    "published": "when it could be known: the provider's rule, or when it was seen where that was later or it was revised",
    "seen": "when it was fetched",
}


def _external(
    name: str, stamp: str, units: Mapping[str, str], words: tuple[str, ...], source: str, delay: str, gaps: str,
    may_lack: tuple[str, ...] = (),
) -> Table:  # fmt: skip
    """A table of what comes from elsewhere: several rows may have one stamp, and each says when it could be known."""
    columns = {**_POINT_IN_TIME, **units}
    times = tuple(_POINT_IN_TIME)
    return Table(
        name,
        stamp,
        columns,
        None,
        EXTERNAL,
        source,
        delay,
        gaps,
        via=EXTERNAL,
        words=words,
        times=times,
        may_lack=may_lack,
    )


_ABSENT: Final = "Nothing is made up: what the provider lacks is absent."
EXTERNAL_TABLES: Final[Mapping[str, Table]] = {
    table.name: table
    for table in (
        _external(
            ONCHAIN,
            "start of the interval that the value is of",
            {"metric": "the provider's path of the metric", "value": "the metric's own unit"},
            ("metric",),
            "Glassnode, with a key",
            "`published`: end of the interval plus an hour",
            f"{_ABSENT} A value that was revised has two rows; a reader at a past time gets the one known then.",
        ),
        _external(
            DERIVATIVES,
            "start of the interval that the value is of",
            {"metric": "name of the series", "value": "USD; a fraction for funding"},
            ("metric",),
            "Coinglass, with a key",
            "`published`: end of the interval plus five minutes",
            f"{_ABSENT} Revisions as in `onchain`.",
        ),
        _external(
            NEWS,
            "when it was first seen: a feed's own date can be wrong or forged, and is only kept in `dated`",
            {
                "id": "hash of the entry's own id or link",
                "feed": "host of the feed",
                "title": "plain text, at most 200 characters: markup, control characters and entities are gone",
                "link": "http(s) address, empty where it was none",
                "pairs": "pairs that it speaks of, separated by blanks; `ALL` for the whole market",
                "dated": "the feed's own date, ISO; empty where it gave none",
            },
            ("id", "feed", "title", "link", "pairs", "dated"),
            "RSS and Atom feeds of the settings",
            "none: known from the moment it is seen",
            "What no feed showed while nobody looked is missing.",
        ),
        _external(
            NEWS_SENTIMENT,
            "when the entry was first seen",
            {
                "id": "the entry in `news`",
                "score": "-1 (bad for holders) to 1 (good)",
                "relevance": "1 where the pair is named, 0.5 where the whole market is",
            },
            ("id",),
            "VADER's score of the title, with words of this trade added",
            "none",
            "As in `news`.",
        ),
        _external(
            CROSS_FUNDING,
            "the settlement",
            {
                "exchange": "name of the exchange in the settings",
                "rate": "fraction of notional at that settlement",
                "interval_hours": "hours that it was charged for",
                "rate_8h": "the rate scaled to 8 h",
                "rate_year": "the rate scaled to 365 days, simple",
            },
            ("exchange",),
            "funding histories of the exchanges compared",
            "none; a rate is known from its settlement on",
            "As in `funding`, each exchange for itself.",
        ),
        _external(
            CROSS_BASIS,
            "time of the reading",
            {
                "exchange": "name of the exchange in the settings",
                "mark": "mark price there",
                "index": "index price there",
                "basis": "mark over index, less 1",
                "against_reference": "mark over the reference exchange's mark of the same look, less 1",
            },
            ("exchange",),
            "present readings of the exchanges compared, one look an hour",
            "none",
            "A look that failed is missing; it is not repeated later, because no exchange tells what was.",
            ("mark", "index", "basis", "against_reference"),
        ),
    )
}
"""Tables of what comes from elsewhere; kept in the lake under their source's name."""

APPENDED: Final = frozenset((*(table.name for table in TABLES.values() if table.via == STREAM), *EXTERNAL_TABLES))
"""Tables that only gain rows, several of which may have one stamp."""

SCHEMAS: Final[Mapping[str, Schema]] = {name: table.schema for name, table in TABLES.items()}
"""Columns of every table; ``ts`` first."""

CANDLE_TABLES: Final[Mapping[str, Interval]] = {candle_table(interval): interval for interval in Interval}
"""Candle tables and their interval, finest first."""

REFERENCE_TABLES: Final = tuple(table.name for table in TABLES.values() if table.group == REFERENCE_PRICES)
"""Bars of mark, index and premium: collected by a job of their own, no model needs them."""

STREAM_TABLES: Final = tuple(table.name for table in TABLES.values() if table.via == STREAM)
"""What only a stream tells, and only while somebody listens."""

EXCHANGE_TABLES: Final = tuple(name for name in TABLES if name not in (*REFERENCE_TABLES, *STREAM_TABLES))
"""Tables that are collected from an exchange's REST interface unless others are asked for."""


def schema_of(table: str) -> Schema:
    """Columns of a table; raises UsageError naming the known ones."""
    return table_of(table).schema


def table_of(name: str) -> Table:
    """A table by its name; raises UsageError naming the known ones."""
    table = TABLES.get(name) or EXTERNAL_TABLES.get(name)
    if table is None:
        raise UsageError(f"unknown table {name!r}", f"Known: {', '.join((*TABLES, *EXTERNAL_TABLES))}")
    return table


def cadence_of(table: str) -> Interval | None:
    """Grid that a table's rows stand on; None where rows come when they come."""
    return TABLES[table].interval if table in TABLES else None


def known_after_ms(table: str) -> int:
    """How long after its stamp a row is complete and published, ms."""
    spec = table_of(table)
    return spec.interval.ms if spec.bars and spec.interval else PUBLICATION_DELAY_MS.get(table, 0)


def empty_frame(table: str) -> pl.DataFrame:
    """A table's columns without rows."""
    return pl.DataFrame(schema=dict(schema_of(table)))
