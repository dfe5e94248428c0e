"""The wire log: every REST request with its answer and every stream message, as they went over the socket, numbered.

It is evidence for tests and drills, off unless the control plane turns it on, and bounded: in memory the oldest rows go
first, on disk it stops at its limit and counts what it left out. Credentials and signatures are never in it.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final

import orjson

from hydra_core.domain.clock import Clock

ROWS: Final = 200_000
"""Rows kept by default."""
BODY_LIMIT: Final = 64_000
"""Characters of an answer that are kept."""
_SECRET: Final = re.compile(r"(signature|listenKey)=[^&]*")

Row = dict[str, Any]


class WireLog:
    """What went over the wire, in order.

    Parameters
    ----------
    clock : Clock
        Wall and market time of each row.
    folder : Path
        Where the log lies when it is kept on disk, as ``wire.jsonl``.
    """

    def __init__(self, clock: Clock, folder: Path) -> None:
        self._clock = clock
        self._path = folder / "wire.jsonl"
        self._rows: deque[Row] = deque()
        self._file: IO[bytes] | None = None
        self._limit = ROWS
        self._kept = 0
        self.on = False
        self.sequence = 0
        self.left_out = 0
        self.counts: Counter[str] = Counter()

    def start(self, limit: int = ROWS, *, disk: bool = False) -> None:
        """Begin anew with an empty log of at most ``limit`` rows; the numbers go on from where they were."""
        self.stop()
        self._rows.clear()
        self.counts.clear()
        self._limit, self._kept, self.left_out = limit, 0, 0
        if disk:
            self._file = self._path.open("wb")
        self.on = True

    def stop(self) -> None:
        """Log no more; what is there stays readable."""
        self.on = False
        if self._file is not None:
            self._file.close()
            self._file = None

    def request(self, method: str, path: str, query: str, body: str, status: int, answer: bytes, **more: Any) -> None:
        """Note a REST request and what was answered (status 0: the connection was cut)."""
        if self.on:
            told = answer[:BODY_LIMIT].decode(errors="replace")
            asked = {"method": method, "path": path, "query": _masked(query), "body": _masked(body)}
            self._keep({"channel": "rest", **asked, "status": status, "answer": told, **more}, f"{method} {path}")

    def message(self, connection: int, stream: str, data: bytes, *, inbound: bool = False) -> None:
        """Note a stream message; ``stream`` is empty for answers to frames, ``user`` on a user stream."""
        if self.on:
            row = {"channel": "ws_in" if inbound else "ws", "connection": connection, "stream": stream}
            self._keep(
                {**row, "data": data[:BODY_LIMIT].decode(errors="replace")},
                stream or ("answers" if not inbound else "frames"),
            )

    def connection(self, connection: int, what: str, path: str, **more: Any) -> None:
        """Note that a connection was opened, refused or closed."""
        if self.on:
            self._keep({"channel": "socket", "connection": connection, "what": what, "path": path, **more}, what)

    def rows(self, wanted: Mapping[str, str], since: int = 0, limit: int = ROWS) -> list[Row]:
        """Rows numbered above ``since`` whose fields match the regular expressions in ``wanted`` wholly, oldest first."""
        patterns = {name: re.compile(pattern, re.DOTALL) for name, pattern in wanted.items()}
        found: list[Row] = []
        for row in self._rows:
            if len(found) >= limit:
                break
            if row["seq"] > since and all(p.fullmatch(str(row.get(name, ""))) for name, p in patterns.items()):
                found.append(row)
        return found

    def state(self) -> dict[str, Any]:
        """What the log is and holds."""
        kept = {"seq": self.sequence, "kept": self._kept if self._file else len(self._rows), "left_out": self.left_out}
        return {"on": self.on, **kept, "file": str(self._path) if self._file else "", "counts": dict(self.counts)}

    def flush(self) -> None:
        """Have everything so far on disk, where it is kept there."""
        if self._file is not None:
            self._file.flush()

    def _keep(self, row: Row, counted_as: str) -> None:
        self.sequence += 1
        self.counts[counted_as] += 1
        row = {"seq": self.sequence, "wall_ms": self._clock.wall_ms(), "market_ms": self._clock.market_ms(), **row}
        if self._file is not None:
            if self._kept >= self._limit:
                self.left_out += 1
            else:
                self._kept += 1
                self._file.write(orjson.dumps(row) + b"\n")
            return
        self._rows.append(row)
        if len(self._rows) > self._limit:
            self._rows.popleft()
            self.left_out += 1


def _masked(text: str) -> str:
    return _SECRET.sub(r"\1=…", text)
