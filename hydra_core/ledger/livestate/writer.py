"""The trader's pen: readings are buffered and go to the file in one transaction per flush.

A candle or a series value that comes again with the same numbers is dropped; with other numbers it becomes a new
revision, and the earlier one stays for replays.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np

from hydra_core.domain.clock import ClockAnchor
from hydra_core.domain.intervals import Interval
from hydra_core.domain.market import Liquidation, MarketRules, MarkReading, Quote
from hydra_core.domain.pairs import Pair
from hydra_core.domain.series import Bars, Series
from hydra_core.ledger import codec
from hydra_core.ledger.livestate.tables import CLOCK, LIQUIDATIONS_FROM, RULES, HealthReading, connect

_CANDLE_AT: Final = """
SELECT open, high, low, close, volume, revision FROM candle
WHERE pair = ? AND interval = ? AND ts = ? ORDER BY revision DESC LIMIT 1"""
_ADD_CANDLE: Final = """
INSERT INTO candle (pair, interval, ts, open, high, low, close, volume, revision, received_wall_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_SERIES_AT: Final = """
SELECT value, revision FROM series WHERE kind = ? AND pair = ? AND ts = ? ORDER BY revision DESC LIMIT 1"""
_ADD_SERIES: Final = "INSERT INTO series (kind, pair, ts, value, revision, received_wall_ms) VALUES (?, ?, ?, ?, ?, ?)"
_ADD_LIQUIDATION: Final = """
INSERT OR IGNORE INTO liquidation (pair, event_ms, long_side, quantity, price, received_wall_ms)
VALUES (?, ?, ?, ?, ?, ?)"""
_SET_QUOTE: Final = "INSERT OR REPLACE INTO quote VALUES (?, ?, ?, ?, ?, ?, ?)"
_SET_MARK: Final = "INSERT OR REPLACE INTO mark VALUES (?, ?, ?, ?, ?, ?, ?)"
_SET_HEALTH: Final = "INSERT OR REPLACE INTO health VALUES (?, ?, ?, ?, ?)"
_SET_META: Final = "INSERT OR REPLACE INTO meta VALUES (?, ?)"


class LiveStateWriter:
    """Buffers readings; :meth:`flush` writes them. Adding is cheap and never touches the disk; safe between threads.

    Parameters
    ----------
    path : Path, the live-state file; made when absent

    Raises
    ------
    DataCorrupt : the file is no live state of this layout
    LockHeld : another process keeps it locked
    """

    def __init__(self, path: Path) -> None:
        self._connection = connect(path, create=True)
        self._lock = threading.Lock()
        self._candles: list[tuple[Any, ...]] = []
        self._series: list[tuple[Any, ...]] = []
        self._liquidations: list[tuple[Any, ...]] = []
        self._quotes: dict[str, tuple[Any, ...]] = {}
        self._marks: dict[str, tuple[Any, ...]] = {}
        self._health: dict[str, tuple[Any, ...]] = {}
        self._meta: dict[str, str] = {}

    def add_candle(
        self,
        pair: Pair,
        interval: Interval,
        ts: int,
        open_: float,
        high: float,
        low: float,
        close: float,
        volume: float,
        received_wall_ms: int,
    ) -> None:
        """Add one CLOSED candle by its open time; the running one has no place here."""
        with self._lock:
            self._candles.append((pair, str(interval), ts, open_, high, low, close, volume, received_wall_ms))

    def add_bars(self, pair: Pair, interval: Interval, bars: Bars, received_wall_ms: int) -> None:
        """Add many closed candles of one pair, e.g. the look-back at start."""
        columns = (bars.ts, bars.open, bars.high, bars.low, bars.close, bars.volume)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        with self._lock:
            self._candles.extend((pair, str(interval), *row, received_wall_ms) for row in rows)

    def add_series(self, kind: str, pair: Pair, ts: int, value: float, received_wall_ms: int) -> None:
        """Add one reading of ``funding``, ``open_interest`` or ``long_short`` by its own stamp."""
        with self._lock:
            self._series.append((kind, pair, ts, value, received_wall_ms))

    def add_readings(self, kind: str, pair: Pair, readings: Series, received_wall_ms: int) -> None:
        """Add many readings of one kind and pair."""
        rows = zip(readings.ts.tolist(), np.asarray(readings.value, dtype=np.float64).tolist(), strict=True)
        with self._lock:
            self._series.extend((kind, pair, ts, value, received_wall_ms) for ts, value in rows)

    def add_liquidation(self, liquidation: Liquidation, received_wall_ms: int) -> None:
        """Add one forced order; the very same one again is dropped."""
        one = liquidation
        with self._lock:
            self._liquidations.append(
                (one.pair, one.event_ms, int(one.long_side), one.quantity, one.price, received_wall_ms)
            )

    def add_quote(self, quote: Quote) -> None:
        """Replace the pair's best bid and ask."""
        q = quote
        row = (q.pair, q.bid, q.bid_size, q.ask, q.ask_size, q.event_ms, q.received_wall_ms)
        with self._lock:
            self._quotes[q.pair] = row

    def add_mark(self, mark: MarkReading) -> None:
        """Replace the pair's mark and index price."""
        m = mark
        row = (m.pair, m.mark, m.index, m.funding_rate, m.next_funding_ms, m.event_ms, m.received_wall_ms)
        with self._lock:
            self._marks[m.pair] = row

    def add_health(self, health: HealthReading) -> None:
        """Replace a stream's health."""
        h = health
        with self._lock:
            self._health[h.stream] = (h.stream, int(h.ok), h.event_ms, h.message, h.received_wall_ms)

    def set_clock(self, anchor: ClockAnchor) -> None:
        """Pass on the venue's clock: window runs have no connection of their own (a real exchange: speed 1)."""
        with self._lock:
            self._meta[CLOCK] = codec.dumps(anchor)

    def set_rules(self, rules: Mapping[Pair, MarketRules]) -> None:
        """Pass on the exchange's filters per pair."""
        with self._lock:
            self._meta[RULES] = codec.dumps(rules)

    def set_capture_start(self, market_ms: int) -> None:
        """Say since when every liquidation was captured; bars that open earlier hold NaN, not zero."""
        self.set_meta(LIQUIDATIONS_FROM, market_ms)

    def set_meta(self, name: str, value: Any) -> None:
        """Pass on any other JSON-able word about the feed, e.g. which inputs the market offers."""
        with self._lock:
            self._meta[name] = codec.dumps(value)

    def flush(self) -> int:
        """Write all that is buffered in one transaction; returns how many rows went in.

        Raises
        ------
        sqlite3.Error : the disk or the file fails; what was buffered stays buffered
        """
        with self._lock:
            if not self._pending():
                return 0
            written = self._write()
            for held in (self._candles, self._series, self._liquidations):
                held.clear()
            for latest in (self._quotes, self._marks, self._health, self._meta):
                latest.clear()
            return written

    def newest(self, pair: Pair, interval: Interval) -> int | None:
        """Open time of the newest candle on file: where a start-up backfill goes on; None when there is none."""
        query = "SELECT max(ts) FROM candle WHERE pair = ? AND interval = ?"
        found = self._connection.execute(query, (pair, str(interval))).fetchone()[0]
        return None if found is None else int(found)

    def newest_reading(self, kind: str, pair: Pair) -> int | None:
        """Stamp of the newest series value on file; None when there is none."""
        found = self._connection.execute("SELECT max(ts) FROM series WHERE kind = ? AND pair = ?", (kind, pair))
        value = found.fetchone()[0]
        return None if value is None else int(value)

    def close(self) -> None:
        """Flush and close."""
        try:
            self.flush()
        finally:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _pending(self) -> bool:
        held: Iterable[Any] = (
            self._candles, self._series, self._liquidations, self._quotes, self._marks, self._health, self._meta,
        )  # fmt: skip
        return any(held)

    def _write(self) -> int:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            written = self._write_candles() + self._write_series()
            for statement, rows in (
                (_ADD_LIQUIDATION, self._liquidations),
                (_SET_QUOTE, list(self._quotes.values())),
                (_SET_MARK, list(self._marks.values())),
                (_SET_HEALTH, list(self._health.values())),
                (_SET_META, list(self._meta.items())),
            ):
                written += max(0, connection.executemany(statement, rows).rowcount) if rows else 0
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return written

    def _write_candles(self) -> int:
        written = 0
        for pair, interval, ts, *values, received in self._candles:
            standing = self._connection.execute(_CANDLE_AT, (pair, interval, ts)).fetchone()
            if standing is not None and list(standing[:5]) == values:
                continue
            revision = 0 if standing is None else standing[5] + 1
            self._connection.execute(_ADD_CANDLE, (pair, interval, ts, *values, revision, received))
            written += 1
        return written

    def _write_series(self) -> int:
        written = 0
        for kind, pair, ts, value, received in self._series:
            standing = self._connection.execute(_SERIES_AT, (kind, pair, ts)).fetchone()
            if standing is not None and standing[0] == value:
                continue
            revision = 0 if standing is None else standing[1] + 1
            self._connection.execute(_ADD_SERIES, (kind, pair, ts, value, revision, received))
            written += 1
        return written
