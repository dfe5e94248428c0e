"""What a decision reads: the panel of closed bars and the newest readings, as of one instant of the live state.

:meth:`LiveStateReader.refresh` takes one consistent view of the file and reads only rows it has not seen; the panel is
joined by :func:`hydra_core.domain.panel.join_rows`, the very function that joins history. A panel depends on nothing
but the watermarks, the cycle's time and the start of the liquidation capture, so a replay gets the same bits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from hydra_core.domain.clock import ClockAnchor
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.growing import GrowingPanel
from hydra_core.domain.intervals import FORECAST_INTERVAL
from hydra_core.domain.market import (
    FUNDING,
    LONG_SHORT,
    OPEN_INTEREST,
    PUBLICATION_DELAY_MS,
    Liquidation,
    MarketRules,
    MarkReading,
    Panel,
    Quote,
)
from hydra_core.domain.pairs import Pair
from hydra_core.domain.panel import MAX_LOOKBACK_BARS, Sources, reading_start_ms
from hydra_core.domain.series import Bars, Series
from hydra_core.ledger import codec
from hydra_core.ledger.livestate.columns import StampedRows
from hydra_core.ledger.livestate.tables import CLOCK, LIQUIDATIONS_FROM, RULES, HealthReading, Watermarks, connect

_STEP: Final = FORECAST_INTERVAL.ms
_NOTHING: Final = 1 << 62
"""Open time of no bar: nothing has changed."""
_KEEP_MS: Final = (MAX_LOOKBACK_BARS + 64) * _STEP
_FORGET_MS: Final = 288 * _STEP
_FIRST_CANDLES: Final = """
SELECT pair, ts, open, high, low, close, volume FROM candle INDEXED BY candle_order
WHERE interval = ? AND ts >= ? AND id <= ? ORDER BY id"""
_NEW_CANDLES: Final = """
SELECT pair, ts, open, high, low, close, volume FROM candle NOT INDEXED
WHERE interval = ? AND id > ? AND id <= ? ORDER BY id"""
_KINDS: Final = (FUNDING, OPEN_INTEREST, LONG_SHORT)


@dataclass(frozen=True, slots=True)
class Readings:
    """The newest readings of one refresh.

    Parameters
    ----------
    quotes, marks : by pair; pairs never heard of are absent
    health : by stream
    rules : the exchange's filters by pair
    anchor : the venue's clock, None until the trader has written it
    meta : what else the trader passes on, decoded from JSON
    """

    quotes: Mapping[Pair, Quote] = field(default_factory=dict)
    marks: Mapping[Pair, MarkReading] = field(default_factory=dict)
    health: Mapping[str, HealthReading] = field(default_factory=dict)
    rules: Mapping[Pair, MarketRules] = field(default_factory=dict)
    anchor: ClockAnchor | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def quote_ages_ms(self, wall_ms: int) -> dict[Pair, int]:
        """Wall milliseconds since each pair's quote arrived."""
        return {pair: wall_ms - quote.received_wall_ms for pair, quote in self.quotes.items()}

    def mark_ages_ms(self, wall_ms: int) -> dict[Pair, int]:
        """Wall milliseconds since each pair's mark arrived."""
        return {pair: wall_ms - mark.received_wall_ms for pair, mark in self.marks.items()}


class LiveStateReader:
    """Reads the live state; keeps what it has read in memory and asks the file only for what is new.

    Parameters
    ----------
    path : Path, the live-state file
    pairs : sequence of Pair, columns of the panels
    upto : Watermarks, optional, never look beyond these ids (a replay)

    Raises
    ------
    InputMissing : the file is not there yet
    DataCorrupt : the file is no live state of this layout
    """

    def __init__(self, path: Path, pairs: Sequence[Pair], upto: Watermarks | None = None) -> None:
        self._path = path
        self._pairs = tuple(pairs)
        self._upto = upto
        self._connection = connect(path, create=False)
        self._candles = {pair: StampedRows(5) for pair in pairs}
        self._series = {kind: {pair: StampedRows(1) for pair in pairs} for kind in _KINDS}
        self._liquidations: dict[Pair, dict[int, list[Liquidation]]] = {pair: {} for pair in pairs}
        self._first_liquidation: int | None = None
        self._seen = Watermarks(0, 0, 0)
        self._file_version = -1
        self._readings = Readings()
        self._meta_text: dict[str, str] = {}
        self._meta: dict[str, Any] = {}
        self._rules: Mapping[Pair, MarketRules] = {}
        self._growing = GrowingPanel(self._pairs, FORECAST_INTERVAL)
        self._changed_ms = 0
        self._panel: Panel | None = None
        self._panel_key: tuple[int, int, int | None] | None = None

    def refresh(self) -> bool:
        """Take in what was written since the last call, as one consistent view; False when nothing was."""
        version = int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        if version == self._file_version:
            return False
        self._connection.execute("BEGIN")
        try:
            self._take_candles()
            self._take_series()
            self._take_liquidations()
            self._take_readings()
        finally:
            self._connection.execute("COMMIT")
        self._file_version = version
        self._forget()
        return True

    def advance(self, upto: Watermarks) -> None:
        """Read on to later watermarks and no further (a replay that goes from one decision to the next)."""
        self._upto = upto
        self._file_version = -1
        self.refresh()

    def watermarks(self) -> Watermarks:
        """Newest ids taken in so far."""
        return self._seen

    def readings(self) -> Readings:
        """The newest quotes, marks, health, rules and clock, as of the last refresh."""
        return self._readings

    def capture_start_ms(self) -> int | None:
        """Market time since when liquidations were captured: the trader's word, else the first one's bar."""
        told = self._readings.meta.get(LIQUIDATIONS_FROM)
        if told is not None:
            return int(told)
        return None if self._first_liquidation is None else FORECAST_INTERVAL.floor(self._first_liquidation)

    def complete(self, cycle_ms: int) -> bool:
        """Whether every pair's newest closed bar at ``cycle_ms`` has arrived."""
        last = FORECAST_INTERVAL.last_closed(cycle_ms)
        heard = [rows for rows in self._candles.values() if len(rows)]
        return bool(heard) and all(rows.has(last) for rows in heard)

    def panel(self, cycle_ms: int, capture_start_ms: int | None = None) -> Panel:
        """The last ``MAX_LOOKBACK_BARS`` closed bars known at ``cycle_ms``; the same object while nothing changed.

        A bar that has not arrived for every pair yet is left out for as long as the one before it is whole: a bar's
        close and its arrival are apart. Later it is taken in with NaN for the pairs that lack it.

        Parameters
        ----------
        cycle_ms : int, market time
        capture_start_ms : int, optional, start of the liquidation capture; by default as known now

        Raises
        ------
        InputMissing : no candle has arrived yet
        """
        end = self._end(cycle_ms)
        first = min(int(rows.ts[0]) for rows in self._candles.values() if len(rows))
        start = max(end - MAX_LOOKBACK_BARS * _STEP, first)
        capture = self.capture_start_ms() if capture_start_ms is None else capture_start_ms
        key = (start, end, capture)
        if self._panel is not None and self._panel_key == key:
            return self._panel
        self._panel = self._growing.panel(start, end, self._changed_ms, self._sources, capture)
        self._panel_key, self._changed_ms = key, _NOTHING
        return self._panel

    def _sources(self, start: int, end: int) -> Sources:
        """What the rows of the bars from ``start`` to before ``end`` are joined from."""
        slow = {
            kind: {pair: _values(rows, reading_start_ms(start), end) for pair, rows in by_pair.items()}
            for kind, by_pair in self._series.items()
        }
        bars = range(start, end, _STEP)
        return Sources(
            {pair: _bars(rows, start, end) for pair, rows in self._candles.items()},
            slow[FUNDING],
            slow[OPEN_INTEREST],
            slow[LONG_SHORT],
            {
                pair: [event for bar in bars for event in by_bar.get(bar, ())] if by_bar else []
                for pair, by_bar in self._liquidations.items()
            },
        )

    def at(self, watermarks: Watermarks) -> LiveStateReader:
        """A reader of the state at earlier watermarks; only its panel is of then, its readings are today's."""
        past = LiveStateReader(self._path, self._pairs, watermarks)
        past.refresh()
        return past

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _end(self, cycle_ms: int) -> int:
        """End of the newest row to show: the newest whole bar, unless bars have failed to become whole for long."""
        heard = [rows for rows in self._candles.values() if len(rows)]
        if not heard:
            raise InputMissing(f"no {FORECAST_INTERVAL} candle in {self._path} yet", "Wait for the trader's backfill")
        closed = FORECAST_INTERVAL.floor(cycle_ms)
        for end in (closed, closed - _STEP):
            if all(rows.has(end - _STEP) for rows in heard):
                return end
        return min(closed, max(int(rows.ts[-1]) for rows in heard) + _STEP)

    def _bounds(self, table: str, seen: int, upto: int | None) -> tuple[int, int]:
        newest = self._connection.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()[0]
        return seen, int(newest if upto is None else min(newest, upto))

    def _take_candles(self) -> None:
        seen, upto = self._bounds("candle", self._seen.candle, self._upto.candle if self._upto else None)
        ask, interval = self._connection.execute, str(FORECAST_INTERVAL)
        if seen == 0:
            newest = ask("SELECT coalesce(max(ts), 0) FROM candle WHERE interval = ? AND id <= ?", (interval, upto))
            rows = ask(_FIRST_CANDLES, (interval, newest.fetchone()[0] - _KEEP_MS, upto))
        else:
            rows = ask(_NEW_CANDLES, (interval, seen, upto))
        for pair, ts, *values in rows:
            if pair in self._candles:
                self._candles[pair].put(ts, tuple(values))
                self._changed_ms = min(self._changed_ms, ts)
                self._panel = None
        self._seen = Watermarks(upto, self._seen.series, self._seen.liquidation)

    def _take_series(self) -> None:
        seen, upto = self._bounds("series", self._seen.series, self._upto.series if self._upto else None)
        oldest = self._oldest_reading() if seen == 0 else 0
        query = "SELECT kind, pair, ts, value FROM series WHERE id > ? AND id <= ? AND ts >= ? ORDER BY id"
        for kind, pair, ts, value in self._connection.execute(query, (seen, upto, oldest)):
            if kind in self._series and pair in self._series[kind]:
                self._series[kind][pair].put(ts, (value,))
                self._outdate(ts + PUBLICATION_DELAY_MS.get(kind, 0))
        self._seen = Watermarks(self._seen.candle, upto, self._seen.liquidation)

    def _take_liquidations(self) -> None:
        seen, upto = self._bounds("liquidation", self._seen.liquidation, self._upto.liquidation if self._upto else None)
        if seen == 0 and upto > 0:
            self._first_liquidation = self._connection.execute(
                "SELECT event_ms FROM liquidation WHERE id <= ? ORDER BY id LIMIT 1", (upto,)
            ).fetchone()[0]
        oldest = self._oldest_reading() if seen == 0 else 0
        query = """SELECT pair, event_ms, long_side, quantity, price FROM liquidation
                   WHERE id > ? AND id <= ? AND event_ms >= ? ORDER BY id"""
        for pair, event_ms, long_side, quantity, price in self._connection.execute(query, (seen, upto, oldest)):
            if pair in self._liquidations:
                event = Liquidation(pair, event_ms, bool(long_side), quantity, price)
                self._liquidations[pair].setdefault(FORECAST_INTERVAL.floor(event_ms), []).append(event)
                self._outdate(event_ms)
        self._seen = Watermarks(self._seen.candle, self._seen.series, upto)

    def _outdate(self, effect_ms: int) -> None:
        """Drop the panel in memory when something new takes effect before its end; note the first row that may say so."""
        self._changed_ms = min(self._changed_ms, -(-effect_ms // _STEP) * _STEP - _STEP)
        if self._panel is not None and self._panel.ts.size and effect_ms <= int(self._panel.ts[-1]) + _STEP:
            self._panel = None

    def _take_readings(self) -> None:
        ask = self._connection.execute
        for name, text in ask("SELECT name, value FROM meta").fetchall():
            if self._meta_text.get(name) == text:
                continue
            self._meta_text[name] = text
            self._meta[name] = json.loads(text)
            if name == RULES:
                self._rules = {Pair(pair): codec.decode(MarketRules, one) for pair, one in self._meta[name].items()}
        self._readings = Readings(
            quotes={Pair(row[0]): Quote(*row) for row in ask("SELECT * FROM quote ORDER BY pair")},
            marks={Pair(row[0]): MarkReading(*row) for row in ask("SELECT * FROM mark ORDER BY pair")},
            health={
                row[0]: HealthReading(row[0], bool(row[1]), *row[2:])
                for row in ask("SELECT * FROM health ORDER BY stream")
            },
            rules=self._rules,
            anchor=codec.decode(ClockAnchor, self._meta[CLOCK]) if CLOCK in self._meta else None,
            meta={name: value for name, value in self._meta.items() if name not in (CLOCK, RULES)},
        )

    def _newest_candle(self) -> int:
        return max((int(rows.ts[-1]) for rows in self._candles.values() if len(rows)), default=0)

    def _oldest_reading(self) -> int:
        return reading_start_ms(self._newest_candle() - _KEEP_MS)

    def _forget(self) -> None:
        """Drop what no panel can need any more, a day's worth at a time."""
        oldest = self._newest_candle() - _KEEP_MS
        for rows in self._candles.values():
            if len(rows) and rows.ts[0] < oldest - _FORGET_MS:
                rows.forget_before(oldest)
        for by_pair in self._series.values():
            for rows in by_pair.values():
                if len(rows) and rows.ts[0] < reading_start_ms(oldest) - _FORGET_MS:
                    rows.forget_before(reading_start_ms(oldest))
        for pair, by_bar in self._liquidations.items():
            if by_bar and next(iter(by_bar)) < oldest - _FORGET_MS:
                self._liquidations[pair] = {bar: events for bar, events in by_bar.items() if bar >= oldest}


def _bars(rows: StampedRows, start: int, end: int) -> Bars:
    ts, values = rows.between(start, end)
    return Bars(ts, *values.T)


def _values(rows: StampedRows, start: int, end: int) -> Series:
    ts, values = rows.between(start, end)
    return Series(ts, values[:, 0])
