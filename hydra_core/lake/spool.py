"""Captures on their way into the lake: what only a stream tells, appended line by line until a lake table takes it up.

One file a pair and UTC day of market time, ``spool/liquidations/<pair>/<day>.jsonl``; a line that a crash cut off is skipped
when read, and a line written twice counts once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import polars as pl
from loguru import logger

from hydra_core.domain.intervals import DAY_MS, iso
from hydra_core.domain.market import LIQUIDATIONS, Liquidation
from hydra_core.domain.pairs import Pair
from hydra_core.domain.tables import schema_of


class Spool:
    """Appends captures; every line is handed to the operating system at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[Path, IO[str]] = {}

    def add(self, liquidation: Liquidation) -> None:
        """Append one forced order."""
        line = {
            "ts": liquidation.event_ms,
            "side": "long" if liquidation.long_side else "short",
            "quantity": liquidation.quantity,
            "price": liquidation.price,
        }
        handle = self._file(spool_file(self._folder, liquidation.pair, liquidation.event_ms))
        handle.write(json.dumps(line) + "\n")
        handle.flush()

    def close(self) -> None:
        """Close the files."""
        for handle in self._open.values():
            handle.close()
        self._open.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _file(self, path: Path) -> IO[str]:
        handle = self._open.get(path)
        if handle is None:
            for older in [held for held in self._open if held.parent == path.parent]:
                self._open.pop(older).close()
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = self._open[path] = path.open("a")
            if handle.tell():
                handle.write("\n")  # a line that a crash cut off stays a line of its own
        return handle


def spool_file(folder: Path, pair: Pair, ts_ms: int) -> Path:
    """The file that holds a pair's forced orders of one UTC day."""
    return folder / LIQUIDATIONS / pair / f"{iso(ts_ms - ts_ms % DAY_MS)[:10]}.jsonl"


def read_spool(folder: Path, pair: Pair, start_ms: int, end_ms: int) -> pl.DataFrame:
    """Captured forced orders of a pair with start <= event < end, in the lake's columns, sorted, without repeats."""
    rows = [row for row in _lines(folder / LIQUIDATIONS / pair) if start_ms <= row[0] < end_ms]
    schema = schema_of(LIQUIDATIONS)
    frame = pl.DataFrame(rows, schema=["ts", "side", "quantity", "price"], orient="row")
    return frame.cast(dict(schema)).unique().sort(list(schema))  # type: ignore[arg-type]


def _lines(folder: Path) -> Iterator[tuple[int, str, float, float]]:
    for path in sorted(folder.glob("*.jsonl")):
        for number, text in enumerate(path.read_text().splitlines(), 1):
            if not text.strip():
                continue
            try:
                row = json.loads(text)
                yield int(row["ts"]), str(row["side"]), float(row["quantity"]), float(row["price"])
            except (ValueError, KeyError, TypeError):
                logger.warning("{}:{}: not a whole line, skipped", path, number)
