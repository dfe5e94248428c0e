"""Captures on their way into the lake: what streams tell, appended line by line until a lake table takes it up.

One file a table, pair and UTC day of market time, ``spool/<table>/<pair>/<day>.jsonl``; a line is an object with ``ts`` (epoch
ms) and the table's columns. A line that a crash cut off is skipped when read, and a line written twice counts once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import polars as pl
from loguru import logger

from hydra_core.domain.intervals import DAY_MS, Interval, iso
from hydra_core.domain.market import LIQUIDATIONS, Liquidation, Quote
from hydra_core.domain.pairs import Pair
from hydra_core.domain.tables import BOOK, BOOK_LEVELS, TS, Schema, candle_table, schema_of
from hydra_core.domain.trading import Fill

TRADES: Final = "trades"
TRADE_SCHEMA: Final[Schema] = {
    "ts": TS,
    "trade_id": pl.Int64(),
    "price": pl.Float64(),
    "quantity": pl.Float64(),
    "side": pl.String(),
}
"""Captured public trades; ``side`` is the taker's, ``buy`` or ``sell``."""
OWN_FILLS: Final = "own_fills"
OWN_FILL_SCHEMA: Final[Schema] = {
    "ts": TS,
    "trade_id": pl.String(),
    "order_id": pl.String(),
    **{name: pl.Float64() for name in ("bid", "bid_size", "ask", "ask_size", "day_notional", "day_volatility")},
}
"""The book in which an order of ours filled, and the pair's turnover (USDT) and volatility of a day as known then."""
_OWN: Final[Mapping[str, Schema]] = {TRADES: TRADE_SCHEMA, OWN_FILLS: OWN_FILL_SCHEMA}
BUFFER_BYTES: Final = 1 << 16
"""Text of one file that may wait for the next :meth:`Spool.flush`."""


class Spool:
    """Appends captures.

    Forced orders, which nothing could bring back, are handed to the operating system at once; what REST could tell again
    waits for :meth:`flush`, which the trader calls several times a second.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[Path, _File] = {}
        self.lines = 0
        """Lines appended since the start."""

    def add(self, liquidation: Liquidation) -> None:
        """Append one forced order, at once."""
        line = {
            "ts": liquidation.event_ms,
            "side": "long" if liquidation.long_side else "short",
            "quantity": liquidation.quantity,
            "price": liquidation.price,
        }
        self._append(LIQUIDATIONS, liquidation.pair, line, at_once=True)

    def add_trade(
        self, pair: Pair, trade_id: int, ts_ms: int, price: float, quantity: float, buyer_maker: bool
    ) -> None:
        """Append one public trade."""
        line = {
            "ts": ts_ms,
            "trade_id": trade_id,
            "price": price,
            "quantity": quantity,
            "side": "sell" if buyer_maker else "buy",
        }
        self._append(TRADES, pair, line)

    def add_own_fill(self, fill: Fill, quote: Quote, day_notional: float, day_volatility: float) -> None:
        """Append the book in which an order of ours filled, at once: what its price is judged against later.

        Parameters
        ----------
        day_notional, day_volatility : of the pair as known then, USDT and a fraction; 0 where unknown
        """
        line = {
            "ts": fill.event_ms,
            "trade_id": fill.trade_id,
            "order_id": fill.order_id,
            "bid": quote.bid,
            "bid_size": quote.bid_size,
            "ask": quote.ask,
            "ask_size": quote.ask_size,
            "day_notional": day_notional,
            "day_volatility": day_volatility,
        }
        self._append(OWN_FILLS, fill.pair, line, at_once=True)

    def add_candle(self, pair: Pair, interval: Interval, ts_ms: int, values: Sequence[float]) -> None:
        """Append a closed candle or a correction of one: open, high, low, close, volume."""
        line = {"ts": ts_ms, **dict(zip(("open", "high", "low", "close", "volume"), values, strict=True))}
        self._append(candle_table(interval), pair, line)

    def add_book(
        self, pair: Pair, ts_ms: int, bids: Sequence[tuple[float, float]], asks: Sequence[tuple[float, float]]
    ) -> None:
        """Append the best levels of a book in sequence; levels that it lacks are null."""
        line: dict[str, Any] = {"ts": ts_ms}
        for side, rows in (("bid", bids), ("ask", asks)):
            for level in range(1, BOOK_LEVELS + 1):
                price, size = rows[level - 1] if level <= len(rows) else (None, None)
                line |= {f"{side}_{level}": price, f"{side}_size_{level}": size}
        self._append(BOOK, pair, line)

    def flush(self) -> None:
        """Hand everything that waits to the operating system."""
        for file in self._open.values():
            file.flush()

    def close(self) -> None:
        """Flush and close the files."""
        for file in self._open.values():
            file.close()
        self._open.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _append(self, table: str, pair: Pair, line: Mapping[str, Any], *, at_once: bool = False) -> None:
        file = self._file(spool_file(self._folder, pair, line["ts"], table))
        file.write(json.dumps(line) + "\n")
        self.lines += 1
        if at_once:
            file.flush()

    def _file(self, path: Path) -> _File:
        file = self._open.get(path)
        if file is None:
            for older in [held for held in self._open if held.parent == path.parent]:
                self._open.pop(older).close()
            file = self._open[path] = _File(path)
        return file


class _File:
    """An open file of the spool and the text that waits for it; whole lines go out together."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)
        # A line that a crash cut off stays a line of its own.
        self._waiting = ["\n"] if self._file.tell() else []
        self._bytes = 0

    def write(self, line: str) -> None:
        self._waiting.append(line)
        self._bytes += len(line)
        if self._bytes >= BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            data = "".join(self._waiting).encode()
            while data:
                data = data[self._file.write(data) or 0 :]
            self._waiting.clear()
            self._bytes = 0

    def close(self) -> None:
        try:
            self.flush()
        finally:
            self._file.close()


def spool_file(folder: Path, pair: Pair, ts_ms: int, table: str = LIQUIDATIONS) -> Path:
    """The file that holds a pair's captures of one table and UTC day."""
    return folder / table / pair / f"{iso(ts_ms - ts_ms % DAY_MS)[:10]}.jsonl"


def read_spool(folder: Path, pair: Pair, start_ms: int, end_ms: int, table: str = LIQUIDATIONS) -> pl.DataFrame:
    """Captured rows of a pair with start <= ts < end, in the table's columns, sorted, without repeats.

    A candle that was corrected has several rows, the newest last.
    """
    schema = dict(_OWN[table] if table in _OWN else schema_of(table))
    days = [path for path in sorted((folder / table / pair).glob("*.jsonl")) if _touches(path, start_ms, end_ms)]
    rows = [row for row in _lines(days, schema) if start_ms <= row[0] < end_ms]
    frame = pl.DataFrame(rows, schema=list(schema), orient="row", infer_schema_length=None)
    frame = frame.cast(schema).unique(maintain_order=True)  # type: ignore[arg-type]
    if table.startswith("candles_"):
        return frame.sort("ts", maintain_order=True)
    return frame.sort(list(schema))


def _touches(path: Path, start_ms: int, end_ms: int) -> bool:
    """Whether a day's file can hold rows of the span."""
    return iso(start_ms)[:10] <= path.stem <= iso(max(start_ms, end_ms - 1))[:10]


def _lines(files: Sequence[Path], schema: Schema) -> Iterator[tuple[Any, ...]]:
    kinds = {name: _READ.get(type(kind), float) for name, kind in schema.items()}
    for path in files:
        for number, text in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if not text.strip():
                continue
            try:
                row = json.loads(text)
                yield tuple(float("nan") if row[name] is None else read(row[name]) for name, read in kinds.items())
            except (ValueError, KeyError, TypeError):
                logger.warning("{}:{}: not a whole line, skipped", path, number)


_READ: Final[Mapping[type[Any], Any]] = {pl.Datetime: int, pl.Int64: int, pl.String: str, pl.Float64: float}
